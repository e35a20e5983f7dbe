// What the application refuses, and how it says so.
import assert from 'node:assert/strict';
import http from 'node:http';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { PASSWORD, admin, during, house, logIn, person, signUp, startApp, tls, violationsSeen } from './support.js';

const web = house();

const notesOf = (name) => admin('SELECT body FROM notes JOIN users ON users.id = owner WHERE name = $1', name);

// A page of somebody else, on another port or another host.
async function withPage(content, work) {
	const server = http.createServer((req, res) => {
		res.setHeader('Content-Type', 'text/html').end(`<!doctype html><title>x</title>${content}`);
	});
	await new Promise((resolve) => { server.listen(0, 'localhost', resolve); });
	try {
		await work(`http://localhost:${server.address().port}`);
	} finally {
		server.closeAllConnections();
		server.close();
	}
}

const form = (action, fields) => `<form method="post" action="${web.url}${action}">${Object.entries(fields)
	.map(([name, value]) => `<input name="${name}" value="${value}">`).join('')}<button>Win a prize</button></form>`;

// ---- forms from elsewhere ---------------------------------------------------

test('a form on another site is refused, even with a form token that is right', async () => {
	const alice = await signUp('alice');
	const fields = { body: 'forged', form_token: await alice.formToken() };
	await withPage(form('/notes', fields), async (url) => {
		await alice.page.goto(url);
		const [request] = await Promise.all([alice.page.waitForRequest(`${web.url}/notes`), alice.click('Win a prize')]);
		assert.equal((await request.response()).status(), 403);
		assert.match(await alice.heading(), /not ours/);
	});
	assert.deepEqual(await notesOf(alice.name), []);
});

test('a form on another site cannot log anybody in', async () => {
	const mallory = await signUp('mallory');
	const alice = await person();
	await withPage(form('/log-in', { name: mallory.name, password: PASSWORD }), async (url) => {
		await alice.page.goto(url);
		await alice.click('Win a prize');
		assert.match(await alice.heading(), /not ours/);
	});
	assert.equal(await alice.cookie(), undefined);
});

test('forms need the form token of this session', async () => {
	const alice = await signUp('alice');
	const bob = await signUp('bob');
	const old = await alice.formToken();
	for (const form_token of ['', 'made-up', await bob.formToken()]) {
		for (const path of ['/notes', '/notes/delete', '/sessions/end', '/sessions/end-others', '/password',
			'/account/confirm', '/account/delete', '/log-out']) {
			assert.equal((await alice.post(path, { body: 'forged', form_token })).status(), 403, path);
		}
	}
	assert.deepEqual(await notesOf(alice.name), []);
	assert.equal((await alice.post('/notes', { body: 'mine', form_token: old })).status(), 303);

	await alice.click('Log out');
	const again = await logIn(alice.name);
	assert.equal((await again.post('/notes', { body: 'forged', form_token: old })).status(), 403);
	assert.deepEqual(await notesOf(alice.name), [{ body: 'mine' }]);
});

test('a POST without Origin, or with one that is no address, is refused', async () => {
	const alice = await signUp('alice');
	const form_token = await alice.formToken();
	for (const origin of [null, 'null', 'localhost', `${web.url}0`, web.url.replace('localhost', 'localhost.example'),
		web.url.replace('https:', 'http:')]) {
		assert.equal((await alice.post('/notes', { body: 'forged', form_token }, { origin })).status(), 403, origin);
	}
	assert.deepEqual(await notesOf(alice.name), []);
});

test('nothing is changed by GET', async () => {
	const alice = await signUp('alice');
	for (const path of ['/log-out', '/notes/delete', '/sessions/end', '/sessions/end-others', '/account/delete']) {
		assert.equal((await alice.page.goto(path)).status(), 404);
		assert.equal(await alice.heading(), 'There is nothing here');
	}
	await alice.follow('Back to the start');
	assert.equal(await alice.heading(), 'Notes');
});

// ---- content security policy ------------------------------------------------

test('every answer has the policy, and pages are not kept', async () => {
	const alice = await signUp('alice');
	const get = (path) => alice.context.request.get(path, { maxRedirects: 0 });
	for (const path of ['/', '/notes', '/sessions', '/password', '/nowhere', '/style.css', '/live.js', '/icon.svg']) {
		const headers = (await get(path)).headers();
		assert.match(headers['content-security-policy'],
			/^default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'$/, path);
		assert.equal(headers['x-content-type-options'], 'nosniff');
		assert.match(headers['strict-transport-security'], /^max-age=\d{8}/);
		assert.equal(headers['x-powered-by'], undefined);
		if (!path.includes('.')) assert.equal(headers['cache-control'], 'no-store', path);
	}
});

// The browser may say so later than the page is there.
async function violationsOf({ page }, number) {
	const until = Date.now() + 30_000;
	const seen = violationsSeen();
	while (seen.length < number && Date.now() < until) {
		await page.waitForTimeout(50);
		seen.push(...violationsSeen());
	}
	return seen;
}

test('a script, a style or a frame in a page is stopped by the browser', async () => {
	const alice = await signUp('alice');
	for (const [tag, text] of [['script', 'document.title = "owned"'], ['style', 'h1 { color: red }'], ['iframe', '']]) {
		await alice.page.evaluate(([tag, text]) => {
			const element = document.createElement(tag);
			element.textContent = text;
			if (tag === 'iframe') element.src = '/notes';
			document.body.append(element);
		}, [tag, text]);
	}
	assert.notEqual(await alice.page.title(), 'owned');
	const seen = await violationsOf(alice, 3);
	assert.equal(seen.length, 3, seen.join('\n'));
});

test('no other site can show a page of ours in a frame', async () => {
	const alice = await person();
	await withPage(`<iframe src="${web.url}/log-in"></iframe>`, async (url) => {
		await alice.page.goto(url);
		await alice.page.waitForLoadState('load');
		assert.equal(await alice.page.frames()[1].locator('form').count(), 0);
	});
	assert.match((await violationsOf(alice, 1)).join('\n'), /frame-ancestors/);
});

// ---- error pages ------------------------------------------------------------

test('requests that cannot be understood get an error page', async () => {
	const alice = await signUp('alice');
	const form_token = await alice.formToken();
	for (const [status, answer] of [
		[404, alice.context.request.get('/nowhere')],
		[404, alice.context.request.put('/notes')],
		[404, alice.post('/notes/delete', { id: '1', form_token })],
		[400, alice.post('/notes/delete', { id: 'one', form_token })],
		[400, alice.post('/notes', { body: 'a\u0000b', form_token })],
		[400, alice.post('/notes', {}, { 'content-type': 'application/x-www-form-urlencoded; charset=x' })],
		[404, alice.context.request.get('/%ff')],
		[413, alice.post('/notes', { body: 'x'.repeat(50_000), form_token })],
	]) {
		const response = await answer;
		assert.equal(response.status(), status);
		assert.match(await response.text(), new RegExp(`<p class="status">${status}</p>`));
	}
	assert.equal(web.complaints, '');
});

test('error pages have the navigation of who is logged in, and of nobody else', async () => {
	const alice = await signUp('alice');
	const visitor = await person();
	await alice.page.goto('/nowhere');
	await alice.follow('Sessions');
	assert.equal(await alice.heading(), 'Your sessions');
	await alice.page.goto('/nowhere');
	await alice.click('Log out');
	for (const somebody of [alice, visitor]) {
		assert.equal((await somebody.page.goto('/nowhere')).status(), 404);
		assert.equal(await somebody.page.locator('nav').count(), 0);
	}
});

test('with ORIGIN, behind a proxy that ends TLS, forms are those of that address, and cookies Secure', async () => {
	const { name } = await signUp('alice');
	const app = await startApp({ ORIGIN: 'https://notes.example' });
	try {
		const visitor = await person({ baseURL: app.url });
		const form = { name, password: PASSWORD };
		assert.equal((await visitor.post('/log-in', form, { origin: app.url })).status(), 403);
		const answer = await visitor.post('/log-in', form, { origin: 'https://notes.example' });
		assert.equal(answer.status(), 303);
		const set = answer.headersArray().filter((header) => header.name.toLowerCase() === 'set-cookie');
		assert.equal(set.length, 2);
		for (const { value } of set) assert.match(value, /^__Host-.*; Secure/);
	} finally {
		await app.stop();
	}
});

test('both addresses of localhost answer', async () => {
	const app = await startApp({});
	try {
		const { port } = new URL(app.url);
		const loopback = networkInterfaces().lo.map(({ address }) => address);
		assert.ok(loopback.includes('127.0.0.1'));
		for (const address of loopback) {
			const answer = await fetch(`http://${address.includes(':') ? `[${address}]` : address}:${port}/`);
			assert.equal(answer.status, 200, address);
		}
	} finally {
		await app.stop();
	}
});

test('an error of ours shows nothing of the inside, and is in the log', async () => {
	const alice = await signUp('alice');
	const app = await startApp(tls);
	try {
		await admin('REVOKE SELECT ON notes FROM webapp');
		const response = await alice.context.request.get(`${app.url}/notes`);
		assert.equal(response.status(), 500);
		const text = await response.text();
		assert.match(text, /Something went wrong/);
		assert.doesNotMatch(text.replace('/live.js', ''), /permission|denied|webapp|SELECT|\.js/);
		assert.match(app.complaints, /permission denied for table notes/);
		assert.ok(!app.complaints.includes((await alice.cookie()).value));
	} finally {
		await admin('GRANT SELECT ON notes TO webapp');
		await app.stop();
	}
	await alice.page.reload();
	assert.equal(await alice.heading(), 'Notes');
});

test('without a database there is a page that says so', async () => {
	const app = await startApp({ ...tls, PGHOST: '/nowhere' });
	try {
		const visitor = await person({ baseURL: app.url });
		assert.equal((await visitor.page.goto('/notes')).status(), 503);
		assert.match(await visitor.page.locator('main').innerText(), /database does not answer/);
	} finally {
		await app.stop();
	}
});

test('a connection lost in the middle of a request costs this request, not the application', async () => {
	const alice = await signUp('alice');
	await during('LOCK TABLE notes', async () => {
		const answer = alice.context.request.get('/notes');
		let ended = [];
		while (ended.length === 0) {
			ended = await admin(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE usename = 'webapp' AND wait_event_type = 'Lock'`);
		}
		assert.equal((await answer).status(), 503);
	});
	await alice.page.goto('/notes');
	assert.equal(await alice.heading(), 'Notes');
	assert.match(web.complaints, /connection lost/);
});

test('idle connections that are lost are replaced', async () => {
	const alice = await signUp('alice');
	await admin("SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE usename = 'webapp'");
	await alice.page.goto('/sessions');
	await alice.page.goto('/notes');
	assert.equal(await alice.heading(), 'Notes');
});
