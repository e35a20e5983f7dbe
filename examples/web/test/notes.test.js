// Signing up, logging in and out, and notes that are their owner's alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ENDED, PASSWORD, admin, asRole, assertLoggedOut, freshName, house, person, signUp } from './support.js';

house();

async function noteTexts({ page }) {
	await page.waitForLoadState('load');
	return page.locator('.note p').allInnerTexts();
}

async function addNote(somebody, text) {
	await somebody.fill({ 'New note': text });
	await somebody.click('Add note');
}

test('the welcome page leads to sign-up and log-in', async () => {
	const visitor = await person();
	await visitor.page.goto('/');
	await visitor.follow('Create an account');
	assert.equal(await visitor.heading(), 'Create an account');
	await visitor.follow('Log in');
	assert.equal(await visitor.heading(), 'Log in');
	await visitor.follow('Create an account');
	assert.equal(await visitor.heading(), 'Create an account');
	await visitor.follow('Fjord');
	await visitor.follow('Log in');
	assert.equal(await visitor.heading(), 'Log in');
});

for (const javaScriptEnabled of [true, false]) {
	test(`from sign-up to log-out, JavaScript ${javaScriptEnabled ? 'on' : 'off'}`, async () => {
		const name = freshName('alice');
		const alice = await person({ javaScriptEnabled });
		await alice.page.goto('/sign-up');
		await alice.fill({ Name: name, Password: PASSWORD });
		await alice.click('Create account');
		assert.equal(await alice.page.locator('.account .name').textContent(), `Logged in as ${name}`);
		assert.match(await alice.page.locator('.empty').innerText(), /Nothing here yet/);

		await addNote(alice, 'buy milk\nand bread');
		await addNote(alice, 'call <b>Bob</b> & "Carol"');
		assert.deepEqual(await noteTexts(alice), ['call <b>Bob</b> & "Carol"', 'buy milk\nand bread']);

		await alice.click('Delete note: buy milk');
		assert.deepEqual(await noteTexts(alice), ['call <b>Bob</b> & "Carol"']);

		for (const [link, heading] of [['Sessions', 'Your sessions'], ['Password', 'Change password'], ['Notes', 'Notes']]) {
			await alice.follow(link);
			assert.equal(await alice.heading(), heading);
			assert.equal(await alice.page.locator('nav [aria-current=page]').innerText(), link);
		}

		await alice.follow('Password');
		await alice.fill({ 'Old password': PASSWORD, 'New password': 'battery staple' });
		await alice.click('Change password');
		assert.match(await alice.notice(), /^Your password is changed\./);

		await alice.click('Log out');
		assert.equal(await alice.heading(), 'Notes that are yours\u00a0alone.');
		await alice.follow('Log in');
		await alice.fill({ Name: name.toUpperCase(), Password: 'battery staple' });
		await alice.click('Log in');
		assert.deepEqual(await noteTexts(alice), ['call <b>Bob</b> & "Carol"']);
	});
}

for (const [how, path, button] of [['sign-up', '/sign-up', 'Create account'], ['log-in', '/log-in', 'Log in']]) {
	test(`a note written before ${how} is there afterwards`, async () => {
		const name = how === 'log-in' ? (await signUp('alice')).name : freshName('alice');
		const visitor = await person();
		await visitor.page.goto('/');
		for (const text of ['a first thought', 'a second <thought>\nof mine']) {
			await visitor.fill({ 'Write a note now, sign up later': text });
			await visitor.click('Keep it');
			assert.match(await visitor.notice(), /Your note is kept/);
			await visitor.follow('Fjord');
			assert.equal(await visitor.page.locator('#body').inputValue(), text);
		}
		const guest = await visitor.cookie();
		assert.equal(guest.expires, -1);

		await visitor.page.goto(path);
		await visitor.fill({ Name: name, Password: PASSWORD });
		await visitor.click(button);
		assert.deepEqual(await noteTexts(visitor), ['a second <thought>\nof mine']);
		assert.deepEqual(await admin(`SELECT array_agg(k) AS keys
			FROM users, narvik_fetch_sessions_for_user(users.id::text) AS s, jsonb_object_keys(s.data) AS k
			WHERE name = $1 AND s.id = narvik_session_id($2)`, name, (await visitor.cookie()).value), [{ keys: ['device'] }]);

		const thief = await person();
		await thief.context.addCookies([guest]);
		await thief.page.goto('/notes');
		await assertLoggedOut(thief, ENDED);
	});
}

test('a guest sees nothing but the own draft, and a mistake does not lose it', async () => {
	const visitor = await person();
	assert.equal((await visitor.post('/draft', { body: 'mine' })).status(), 303);
	for (const path of ['/notes', '/sessions', '/sessions/log', '/password', '/account']) {
		await visitor.page.goto(path);
		await assertLoggedOut(visitor, 'kept');
	}
	await visitor.fill({ Name: 'nobody-here', Password: PASSWORD });
	await visitor.click('Log in');
	assert.equal(await visitor.page.locator('.notice').count(), 2);
	assert.equal((await visitor.post('/draft', { body: ' ' })).status(), 200);
	await visitor.page.goto('/');
	assert.equal(await visitor.page.locator('#body').inputValue(), 'mine');
	const other = await person();
	await other.page.goto('/');
	assert.equal(await other.page.locator('#body').inputValue(), '');
});

test('who is logged in is not asked to log in', async () => {
	const alice = await signUp('alice');
	for (const path of ['/', '/log-in', '/sign-up']) {
		await alice.page.goto(path);
		assert.equal(new URL(alice.page.url()).pathname, '/notes');
	}
});

test('who is not is sent to log-in from every page and form', async () => {
	const visitor = await person();
	for (const path of ['/notes', '/sessions', '/sessions/log', '/password', '/account']) {
		await visitor.page.goto(path);
		await assertLoggedOut(visitor);
		assert.equal(await visitor.page.locator('.notice').count(), 0);
	}
	for (const path of ['/notes', '/notes/delete', '/sessions/end', '/sessions/end-others', '/password',
		'/account/confirm', '/account/delete', '/log-out']) {
		const answer = await visitor.post(path, {});
		assert.deepEqual([answer.status(), answer.headers().location], [303, '/log-in'], path);
	}
});

test('after log-out the cookie is gone and its token is dead', async () => {
	const alice = await signUp('alice');
	const stolen = await alice.cookie();
	const [answer] = await Promise.all([alice.page.waitForResponse(/log-out$/), alice.click('Log out')]);
	assert.match((await answer.allHeaders())['set-cookie'], /^__Host-session=; Max-Age=0;/);
	assert.equal(await alice.cookie(), undefined);

	await alice.context.addCookies([stolen]);
	await alice.page.goto('/notes');
	await assertLoggedOut(alice, ENDED);
	assert.equal(await alice.cookie(), undefined);
});

test('notes are seen and deleted by their owner only', async () => {
	const alice = await signUp('alice');
	const bob = await signUp('bob');
	await addNote(alice, 'a secret of Alice');
	await addNote(bob, 'a secret of Bob');
	assert.deepEqual(await noteTexts(bob), ['a secret of Bob']);

	const id = await alice.page.locator('.note input[name=id]').getAttribute('value');
	const answer = await bob.post('/notes/delete', { id, form_token: await bob.formToken() });
	assert.equal(answer.status(), 404);
	await alice.page.reload();
	assert.deepEqual(await noteTexts(alice), ['a secret of Alice']);
});

test('a note that is empty or too long is sent back with its text', async () => {
	const alice = await signUp('alice');
	const form_token = await alice.formToken();
	for (const [body, complaint] of [[' \n ', 'Write something first.'], ['\u{1f4dd}'.repeat(2001), 'too long']]) {
		const answer = await alice.post('/notes', { body, form_token });
		assert.equal(answer.status(), 200);
		const text = await answer.text();
		assert.ok(text.includes(complaint) && text.includes(body.trim()));
	}
	assert.equal((await alice.post('/notes', { body: '\u{1f4dd}'.repeat(2000), form_token })).status(), 303);
});

test('sign-up says what is wrong beside the field and keeps the name', async () => {
	const alice = await signUp('alice');
	const visitor = await person();
	for (const [name, password, field, complaint] of [
		['al', PASSWORD, 'Name', /3 to 30/],
		['al!ce', PASSWORD, 'Name', /3 to 30/],
		[alice.name.toUpperCase(), PASSWORD, 'Name', /taken/],
		[freshName('x'), 'short', 'Password', /at least 8/],
		[freshName('x'), '\u20ac'.repeat(25), 'Password', /at most 72 bytes/],
	]) {
		await visitor.page.goto('/sign-up');
		await visitor.page.locator('form').evaluate((form) => { form.noValidate = true; });
		await visitor.fill({ Name: name, Password: password });
		await visitor.click('Create account');
		const input = visitor.page.getByLabel(field, { exact: true });
		assert.equal(await input.getAttribute('aria-invalid'), 'true');
		assert.match(await visitor.page.locator(`#${await input.getAttribute('aria-describedby')}`).innerText(), complaint);
		assert.equal(await visitor.page.getByLabel('Name', { exact: true }).inputValue(), name.toLowerCase());
		assert.equal(await visitor.page.getByLabel('Password', { exact: true }).inputValue(), '');
		assert.equal(await visitor.cookie(), undefined);
	}
});

test('a wrong password and an unknown name get the same answer', async () => {
	const { name } = await signUp('alice');
	const visitor = await person();
	const pages = [];
	for (const wrong of [{ Name: name, Password: 'wrong' }, { Name: 'nobody-here', Password: PASSWORD }]) {
		await visitor.page.goto('/log-in');
		await visitor.fill(wrong);
		await visitor.click('Log in');
		assert.equal(await visitor.notice(), 'Wrong name or password.');
		assert.equal(await visitor.cookie(), undefined);
		pages.push((await visitor.page.content()).replace(wrong.Name, ''));
	}
	assert.equal(pages[0], pages[1]);
});

test('an unknown name takes the database as long as a wrong password', async () => {
	const { name } = await signUp('alice');
	const fastest = { [name]: Infinity, 'nobody-here': Infinity };
	const differ = () => {
		const [quick, slow] = Object.values(fastest).sort((a, b) => a - b);
		return !(slow < 2 * quick);
	};
	// On a busy machine it takes more of them until one of each was not held up.
	for (let i = 0; i < 5 || (i < 50 && differ()); i += 1) {
		for (const who of Object.keys(fastest)) {
			const start = performance.now();
			assert.deepEqual(await asRole('webapp', "SELECT log_in(t, $2) FROM begin_try($1, $3, '') AS t",
				who, 'wrong', `10.0.0.${i}`), []);
			fastest[who] = Math.min(fastest[who], performance.now() - start);
		}
	}
	assert.ok(!differ(), JSON.stringify(fastest));
});

test("passwords are hashed at bcrypt's cost 10 or more", async () => {
	const alice = await signUp('alice');
	const hash = async () => (await admin('SELECT hash FROM passwords JOIN users ON id = user_id WHERE name = $1',
		alice.name))[0].hash;
	const first = await hash();
	assert.match(first, /^\$2a\$[123]/);
	const answer = await alice.post('/password',
		{ old_password: PASSWORD, password: 'battery staple', form_token: await alice.formToken() });
	assert.equal(answer.status(), 303);
	assert.notEqual(await hash(), first);
	assert.match(await hash(), /^\$2a\$[123]/);
});

test('what checks passwords is no superuser, and asks no other crypt()', async () => {
	assert.deepEqual(await admin(`SELECT DISTINCT rolsuper, rolcanlogin FROM pg_proc JOIN pg_roles ON pg_roles.oid = proowner
		WHERE prosecdef`), [{ rolsuper: false, rolcanlogin: false }]);
	const { name } = await signUp('alice');
	// With this one any password would be right.
	await admin("CREATE FUNCTION public.crypt(text, text) RETURNS text LANGUAGE sql AS 'SELECT $2'");
	try {
		assert.deepEqual(await asRole('webapp', "SELECT log_in(t, 'wrong') FROM begin_try($1, '10.0.0.1', '') AS t", name), []);
	} finally {
		await admin('DROP FUNCTION public.crypt(text, text)');
	}
});

test('requests of several people at once show to each their own notes', async () => {
	const people = await Promise.all([signUp('alice'), signUp('bob'), person()]);
	for (const somebody of people.slice(0, 2)) await addNote(somebody, `a secret of ${somebody.name}`);
	await Promise.all(people.map(async ({ context, name }) => {
		for (let i = 0; i < 10; i += 1) {
			const texts = await Promise.all(Array.from({ length: 5 }, async () => (await context.request.get('/notes')).text()));
			for (const text of texts) {
				const secrets = new Set(text.match(/a secret of [a-z0-9-]+/g));
				assert.deepEqual([...secrets], name ? [`a secret of ${name}`] : []);
			}
		}
	}));
});

test('the application cannot read a password hash, a session, or notes of nobody', async () => {
	const alice = await signUp('alice');
	await addNote(alice, 'a secret of Alice');
	for (const table of ['passwords', 'narvik_sessions', 'tries', 'devices']) {
		await assert.rejects(asRole('webapp', `SELECT * FROM ${table}`), /permission denied/);
	}
	const users = await asRole('webapp', 'SELECT * FROM users');
	assert.doesNotMatch(JSON.stringify(users), /\$2a\$/);
	assert.ok(users.some(({ name }) => name === alice.name));
	assert.deepEqual(await asRole('webapp', 'SELECT * FROM notes'), []);
	await assert.rejects(asRole('webapp', "INSERT INTO notes (body) VALUES ('x')"), /null value|row-level security/);
	await assert.rejects(asRole('webapp', "INSERT INTO notes (owner, body) VALUES (1, 'x')"), /permission denied/);
});

// ---- what was typed is not lost ----------------------------------------------

for (const javaScriptEnabled of [true, false]) {
	test(`a note typed when the session has ended is there after log-in, JavaScript ${javaScriptEnabled ? 'on' : 'off'}`, async () => {
		const alice = await signUp('alice', { javaScriptEnabled });
		const text = '  indented <first>\nsecond';
		await alice.fill({ 'New note': text });
		await admin('SELECT narvik_delete_sessions_for_user(id::text) FROM users WHERE name = $1', alice.name);
		if (javaScriptEnabled) {
			await alice.page.getByText('Your session has ended').waitFor();
			assert.equal(await alice.page.getByLabel('This note is not saved yet').inputValue(), text);
			await alice.click('Keep it and log in');
		} else {
			await alice.click('Add note');
		}
		assert.deepEqual(await alice.page.locator('.notice').allInnerTexts(),
			[ENDED, 'Your note is kept. Create an account or log in, and it is yours.']);
		await alice.fill({ Name: alice.name, Password: PASSWORD });
		await alice.click('Log in');
		assert.deepEqual(await noteTexts(alice), [text]);
		assert.deepEqual(await admin(`SELECT array_agg(k) AS keys
			FROM users, narvik_fetch_sessions_for_user(users.id::text) AS s, jsonb_object_keys(s.data) AS k
			WHERE name = $1`, alice.name), [{ keys: ['device'] }]);
	});
}

test('a note from a page of an older session is sent back, and can be added', async () => {
	const alice = await signUp('alice');
	const { page } = alice;
	await alice.fill({ 'New note': 'typed before' });
	const other = await alice.context.newPage();
	await other.goto('/password');
	await other.getByLabel('Old password').fill(PASSWORD);
	await other.getByLabel('New password').fill('battery staple');
	await other.getByRole('button', { name: 'Change password' }).click();
	await other.locator('.notice').waitFor();
	const [answer] = await Promise.all([page.waitForResponse(/\/notes$/), alice.click('Add note')]);
	assert.equal(answer.status(), 403);
	assert.equal(await alice.notice(), 'This page was an old one. Please add the note again.');
	assert.equal(await page.locator('.note').count(), 0);
	await alice.click('Add note');
	assert.deepEqual(await noteTexts(alice), ['typed before']);
});

test('spaces in front of a line stay, and are seen', async () => {
	const alice = await signUp('alice');
	const text = '    def f():\n        return 1';
	await addNote(alice, `\n  \n${text}  \n`);
	assert.deepEqual(await noteTexts(alice), [text]);
	const indented = alice.page.locator('.note p');
	assert.match(await indented.evaluate((element) => getComputedStyle(element).whiteSpace), /^(pre-wrap|preserve)/);
});

test('a note that was deleted can be put back, from the page that follows', async () => {
	const alice = await signUp('alice');
	const text = ' a "first"\n  <second>';
	await addNote(alice, text);
	await alice.click('Delete note');
	assert.deepEqual(await noteTexts(alice), []);
	await alice.click('Put it back');
	assert.deepEqual(await noteTexts(alice), [text]);
	await alice.click('Delete note');
	await alice.page.reload();
	assert.equal(await alice.page.getByRole('button', { name: 'Put it back' }).count(), 0);
	assert.deepEqual(await admin(`SELECT s.data - 'device' AS left FROM users,
		narvik_fetch_sessions_for_user(users.id::text) AS s WHERE name = $1`, alice.name), [{ left: {} }]);
});
