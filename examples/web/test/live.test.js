// Pages that are open: they hear of the end of their session without a click.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { promisify } from 'node:util';
import pg from 'pg';
import WebSocket from 'ws';
import { PASSWORD, admin, assertLoggedOut, house, logIn, person, signUp } from './support.js';

const web = house();

const PATIENCE = 30_000;
const AGAIN = 4000;
const ENDED = 4001;

// Loads a page and waits until the server knows whose it is.  No socket of the page
// before, which may still be on its way, passes for its own.
async function openPage(page, path = '/notes') {
	await page.goto('/icon.svg');
	const opened = page.waitForEvent('websocket').then((socket) => socket.waitForEvent('framereceived'));
	await page.goto(path);
	await opened;
}

async function assertShowsEnd({ page }) {
	await page.getByText('Your session has ended').waitFor();
	assert.equal(await page.locator('main h1').innerText(), 'Your session has ended');
	assert.equal(await page.locator('.note').count(), 0);
}

const showsEnd = ({ page }) => page.locator('main [role=alert]').count();

const idOf = async (somebody) =>
	(await admin('SELECT narvik_session_id($1) AS id', (await somebody.cookie()).value))[0].id;

// A socket without a browser around it.
async function connect(somebody, { origin = web.url, path = '/live' } = {}) {
	const cookie = await somebody.cookie();
	const socket = new WebSocket(`${web.url.replace('http', 'ws')}${path}`, {
		origin: origin ?? undefined, rejectUnauthorized: false, headers: cookie ? { cookie: `${cookie.name}=${cookie.value}` } : {},
	});
	socket.refused = new Promise((resolve) => {
		socket.on('error', ({ message }) => resolve(message));
		socket.on('open', () => resolve('open'));
	});
	socket.closed = new Promise((resolve) => {
		socket.on('close', resolve);
		setTimeout(resolve, PATIENCE, 'open').unref();
	});
	return socket;
}

async function connected(somebody) {
	const socket = await connect(somebody);
	assert.deepEqual(await Promise.race([once(socket, 'message').then(([text]) => String(text)), socket.closed]), 'open');
	assert.equal(socket.readyState, WebSocket.OPEN);
	return socket;
}

test('logging out everywhere else closes the open pages of the other browsers within a second', async () => {
	const laptop = await signUp('alice');
	const phone = await logIn(laptop.name);
	const bob = await signUp('bob');
	await phone.fill({ 'New note': 'a secret' });
	await phone.click('Add note');
	for (const somebody of [phone, bob]) await openPage(somebody.page);
	await openPage(laptop.page, '/sessions');
	const socket = await connected(phone);
	const closed = socket.closed.then(() => Date.now());
	// How long the database takes is not measured.
	const listener = new pg.Client({ user: 'webapp' });
	await listener.connect();
	await listener.query('LISTEN narvik');
	const told = new Promise((resolve) => {
		listener.on('notification', ({ payload }) => payload.includes('except_session_id') && resolve(Date.now()));
	});

	await laptop.click('Log out everywhere else');
	assert.equal(await laptop.notice(), 'One session was ended.');
	const late = await closed - await told;
	await listener.end();
	assert.ok(late < 1000, `${late} ms`);
	await assertShowsEnd(phone);
	await phone.follow('Log in again');
	await assertLoggedOut(phone);
	assert.deepEqual([await showsEnd(laptop), await showsEnd(bob)], [0, 0]);
});

test('a session that is ended alone, and no other', async () => {
	const laptop = await signUp('alice');
	const phone = await logIn(laptop.name);
	for (const somebody of [laptop, phone]) await openPage(somebody.page);
	await admin('SELECT narvik_invalidate_session($1)', await idOf(phone));
	await assertShowsEnd(phone);
	assert.equal(await showsEnd(laptop), 0);
});

test('logging out in one tab shows in the others, also if the session has a new token meanwhile', async () => {
	const alice = await signUp('alice');
	const other = { page: await alice.context.newPage() };
	await openPage(other.page);
	await alice.follow('Password');
	await alice.fill({ 'Old password': PASSWORD, 'New password': 'battery staple' });
	await alice.click('Change password');
	await alice.notice();
	assert.equal(await showsEnd(other), 0);
	await alice.click('Log out');
	await assertShowsEnd(other);
});

test('who is deleted sees it', async () => {
	const alice = await signUp('alice');
	await openPage(alice.page);
	await admin('DELETE FROM users WHERE name = $1', alice.name);
	await assertShowsEnd(alice);
});

test('a socket is for pages of ours and for who is logged in', async () => {
	const alice = await signUp('alice');
	const nobody = await person();
	assert.equal(await (await connect(nobody)).closed, ENDED);
	await nobody.post('/draft', { body: 'a guest' });
	assert.equal(await (await connect(nobody)).closed, ENDED);
	for (const options of [{ origin: 'https://example.org' }, { origin: null }, { origin: web.url.replace('https:', 'http:') },
		{ path: '/elsewhere' }]) {
		assert.match(await (await connect(alice, options)).refused, /403/, JSON.stringify(options));
	}
});

test('an open page neither extends the session nor counts as activity', async () => {
	const alice = await signUp('alice');
	await admin(`UPDATE narvik_sessions SET created_at = now() - interval '2 hours', expires_at = now() + interval '1 hour'
		WHERE id = decode($1, 'hex')`, await idOf(alice));
	const row = async () => (await admin(`SELECT active_at, expires_at, xmin FROM narvik_sessions
		WHERE id = decode($1, 'hex')`, await idOf(alice)))[0];
	const before = await row();
	await connected(alice);
	assert.deepEqual(await row(), before);
});

test('when its time is over, a socket is closed', async () => {
	const alice = await signUp('alice');
	await admin("SELECT narvik_update_session_expiry($1, now() + interval '10 seconds')", await idOf(alice));
	assert.equal(await (await connected(alice)).closed, AGAIN);
	assert.equal(await (await connect(alice)).closed, ENDED);
});

test('the end of a guest, or of somebody else, closes nothing', async () => {
	const alice = await connected(await signUp('alice'));
	const bob = await connected(await signUp('bob'));
	await admin('SELECT narvik_invalidate_session(id) FROM narvik_create_guest_session()');
	await admin("SELECT narvik_delete_sessions_for_user(id::text) FROM users WHERE name LIKE 'bob%'");
	assert.equal(await bob.closed, AGAIN);
	assert.equal(alice.readyState, WebSocket.OPEN);
});

test('nonsense on the channel ends no session', async () => {
	const alice = await signUp('alice');
	await openPage(alice.page);
	for (const text of ['', 'no JSON', 'null', '7', '[]', '"text"', '{"user_id": 7}']) {
		await admin("SELECT pg_notify('narvik', $1)", text);
	}
	await connected(alice);
	assert.equal(await showsEnd(alice), 0);
});

// ---- a server that goes and comes -------------------------------------------

test('what ended while nobody listened is seen when the connection is back', async () => {
	const laptop = await signUp('alice');
	const phone = await logIn(laptop.name);
	for (const somebody of [laptop, phone]) await openPage(somebody.page);
	await admin('ALTER ROLE webapp NOLOGIN');
	try {
		await admin("SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE usename = 'webapp'");
		await admin('SELECT narvik_invalidate_session($1)', await idOf(phone));
	} finally {
		await admin('ALTER ROLE webapp LOGIN');
	}
	await assertShowsEnd(phone);
	assert.equal(await showsEnd(laptop), 0);
});

test('after a restart of the server it listens again', async () => {
	const laptop = await signUp('alice');
	const phone = await logIn(laptop.name);
	for (const somebody of [laptop, phone]) await openPage(somebody.page);
	const [{ folder }] = await admin("SELECT current_setting('data_directory') AS folder");
	await promisify(execFile)('pg_ctl', ['-D', folder, '-l', `${folder}/../server.log`, '-m', 'fast', '-w', 'restart']);
	const listening = `SELECT FROM pg_stat_activity WHERE usename = 'webapp' AND query = 'LISTEN narvik'`;
	const until = Date.now() + PATIENCE;
	while ((await admin(listening)).length === 0 && Date.now() < until) await laptop.page.waitForTimeout(50);
	assert.equal(await showsEnd(phone), 0);
	await connected(phone);
	await admin('SELECT narvik_invalidate_session($1)', await idOf(phone));
	await assertShowsEnd(phone);
	assert.equal(await showsEnd(laptop), 0);
});
