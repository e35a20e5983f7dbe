// A page that is open says when its session has ended, without a click: the server
// closes the web socket.  All else works without this script.
const AGAIN = 4000; // ask again
const ENDED = 4001; // there is no such session

let pause = 500;

function showEnd() {
	const { content } = document.querySelector('#ended');
	document.querySelector('main').replaceChildren(content.cloneNode(true));
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
