// Pages that are open hear at once that their session has ended.  Each has a web
// socket; narvik says with NOTIFY whose sessions end, and one connection listens for
// all of them.
//
// A notification is no more than a reason to ask again: the user's sockets are closed,
// the pages come back, and the database says who they are.  So nothing is trusted that
// anybody can send with NOTIFY, and a session that got a new token is found as well.
import pg from 'pg';
import { WebSocketServer } from 'ws';
import { transaction } from './database.js';
import { isFromHere } from './origin.js';

const AGAIN = 4000; // ask again
const ENDED = 4001; // there is no such session
const LATER = 1013; // the database does not answer

const wss = new WebSocketServer({ noServer: true, maxPayload: 1024 });
const longest = 2 ** 31 - 1; // of a timer, in milliseconds

// ---- who it is --------------------------------------------------------------

// Its user is known only when the database has answered.  Whose sessions have ended
// meanwhile is kept until then.
async function admit(socket, request) {
	socket.missed = [];
	socket.alive = true;
	socket.on('pong', () => { socket.alive = true; });
	socket.on('error', () => {}); // it closes, too
	try {
		// Its being open is no activity.
		const { me } = await transaction(request, (db, me) => ({ me }), 'READ ONLY');
		if (socket.readyState !== socket.OPEN) return;
		if (!me.id) {
			socket.close(ENDED);
			return;
		}
		Object.assign(socket, { user: me.id, session: me.session_id });
		if (socket.missed.some((ended) => concerns(ended, socket))) {
			socket.close(AGAIN);
			return;
		}
		const timer = setTimeout(() => socket.close(AGAIN), Math.min(me.expires_at - Date.now(), longest));
		socket.on('close', () => clearTimeout(timer));
		socket.send('open');
	} catch {
		socket.close(LATER);
	}
}

function upgrade(request, stream, head) {
	stream.on('error', () => {});
	if (request.url !== '/live' || !isFromHere(request)) {
		stream.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n');
		return;
	}
	wss.handleUpgrade(request, stream, head, (socket) => admit(socket, request));
}

export function live(servers) {
	for (const server of servers) server.on('upgrade', upgrade);
	listen();
	// Who is gone without a word.
	setInterval(() => {
		for (const socket of wss.clients) {
			if (!socket.alive) socket.terminate();
			socket.alive = false;
			socket.ping();
		}
	}, 30_000);
}

// ---- what the database says -------------------------------------------------

// Without a user it is about a guest's session, or about all sessions.
const concerns = ({ session_id, user_id, except_session_id }, { user, session }) =>
	(user_id ?? session_id ?? user) === user && except_session_id !== session;

function hear(ended) {
	for (const socket of wss.clients) {
		if (socket.user === undefined) socket.missed.push(ended);
		else if (concerns(ended, socket)) socket.close(AGAIN);
	}
}

function parsed(text) {
	try {
		return JSON.parse(text) ?? {};
	} catch {
		return {};
	}
}

// For as long as nobody listens, ends go unheard.  So all ask again afterwards.
let listening = true;

async function listen() {
	const client = new pg.Client({ keepAlive: true });
	let lost = false;
	const again = (error) => {
		if (lost) return;
		lost = true;
		if (listening) console.error('not listening:', error?.message ?? 'the connection was closed');
		listening = false;
		client.end().catch(() => {});
		setTimeout(listen, 1000);
	};
	client.on('error', again);
	client.on('end', again);
	client.on('notification', ({ payload }) => hear(parsed(payload)));
	try {
		await client.connect();
		await client.query('LISTEN narvik');
		listening = true;
		hear({});
	} catch (error) {
		again(error);
	}
}
