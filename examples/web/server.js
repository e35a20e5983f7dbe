// Listens.  With TLS_KEY and TLS_CERT, two files, it speaks https.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { app } from './app.js';
import { live } from './live.js';

const { TLS_KEY, TLS_CERT, HOST = 'localhost', PORT = '3000' } = process.env;
const makeServer = () => TLS_KEY
	? https.createServer({ key: readFileSync(TLS_KEY), cert: readFileSync(TLS_CERT) }, app)
	: http.createServer(app);

const servers = [];
let port = Number(PORT);

async function listen(address) {
	const server = makeServer();
	// Who keeps connections, as proxies do for a minute, would else use one that is about
	// to be closed.
	server.keepAliveTimeout = 120_000;
	server.listen(port, address);
	await once(server, 'listening');
	({ port } = server.address());
	servers.push(server);
}

// Browsers take either address of localhost.  Not every machine has the second.
await listen(HOST === 'localhost' ? '127.0.0.1' : HOST);
if (HOST === 'localhost') {
	await listen('::1').catch((error) => {
		if (!['EADDRNOTAVAIL', 'EAFNOSUPPORT'].includes(error.code)) throw error;
	});
}
live(servers);
console.log(`listening on ${TLS_KEY ? 'https' : 'http'}://${HOST}:${port}`);
