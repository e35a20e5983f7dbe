// Listens.  With TLS_KEY and TLS_CERT, two files, it speaks https.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { app } from './app.js';
import { live } from './live.js';

const { TLS_KEY, TLS_CERT, HOST = 'localhost', PORT = '3000' } = process.env;
const server = TLS_KEY
	? https.createServer({ key: readFileSync(TLS_KEY), cert: readFileSync(TLS_CERT) }, app)
	: http.createServer(app);

live(server);
server.listen(Number(PORT), HOST, () => {
	console.log(`listening on ${TLS_KEY ? 'https' : 'http'}://${HOST}:${server.address().port}`);
});
