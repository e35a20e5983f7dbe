// A page that is open says when its session has ended, without a click: the server
// closes the web socket.  All else works without this script.
const AGAIN = 4000; // ask again
const ENDED = 4001; // there is no such session

let pause = 500;

// What was typed and not sent stays, in a form that keeps it until log-in.
function showEnd() {
	const end = document.querySelector('#ended').content.cloneNode(true);
	const typed = document.querySelector('#body')?.value ?? '';
	if (typed.trim()) end.querySelector('textarea').value = typed;
	else end.querySelector('form').remove();
	document.querySelector('main').replaceChildren(end);
}

function open() {
	const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/live`);
	socket.onmessage = () => { pause = 500; };
	socket.onclose = ({ code }) => {
		if (code === ENDED) return showEnd();
		if (code === AGAIN) return open();
		pause = Math.min(2 * pause, 30_000);
		setTimeout(open, pause * (0.5 + Math.random()));
	};
}

open();
