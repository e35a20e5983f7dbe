// Logs the users in and prints the Cookie header of each.
//
//   node log_in.js <port> <users>
const [port, users] = process.argv.slice(2);
for (let user = 1; user <= users; user++) {
	const response = await fetch(`http://127.0.0.1:${port}/log-in/user${user}`);
	console.log(response.headers.getSetCookie()[0].split(';')[0]);
}
