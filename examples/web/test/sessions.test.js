// Sessions: where a user is logged in, and everything that ends it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ENDED, PASSWORD, admin, assertLoggedOut, during, house, logIn, person, signUp } from './support.js';

const IPHONE = 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) '
	+ 'Version/17.5 Mobile/15E148 Safari/604.1';
const FIREFOX = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0';

const web = house();

async function listed({ page }) {
	await page.goto('/sessions');
	const texts = await page.locator('.session').allInnerTexts();
	return texts.map((text) => text.replace(/\s+/g, ' '));
}

// What the next click does.
async function assertStillIn({ page, heading }) {
	await page.goto('/notes');
	assert.equal(await heading(), 'Notes');
}

async function assertOutAtNextClick(somebody) {
	await somebody.follow('Notes');
	await assertLoggedOut(somebody, ENDED);
	assert.equal(await somebody.cookie(), undefined);
}

test('the list names devices, newest first, and marks this one', async () => {
	const laptop = await signUp('alice', { userAgent: FIREFOX });
	await logIn(laptop.name, { userAgent: IPHONE });
	assert.deepEqual(await listed(laptop), [
		'Safari on iPhone Last active just now. Logged in just now. Expires in 14 days. Log out Safari on iPhone',
		'Firefox on Windows This device Last active just now. Logged in just now. Expires in 14 days.',
	]);
});

test('the list says when a device was last active', async () => {
	const laptop = await signUp('alice');
	const phone = await logIn(laptop.name, { userAgent: IPHONE });
	await admin(`UPDATE narvik_sessions SET created_at = created_at - interval '2 hours', active_at = now() - interval '3 minutes'
		WHERE id = decode(narvik_session_id($1), 'hex')`, (await phone.cookie()).value);
	assert.match((await listed(laptop))[1], /^Safari on iPhone Last active 3 minutes ago. Logged in 2 hours ago./);
	await assertStillIn(phone);
	assert.match((await listed(laptop))[1], /^Safari on iPhone Last active just now. Logged in 2 hours ago./);
});

// ---- the security log -------------------------------------------------------

async function logged({ page }) {
	const texts = await page.locator('.session').allInnerTexts();
	return texts.map((text) => text.replace(/\s+/g, ' '));
}

test('the security log has what happened, newest first, and from which device', async () => {
	const laptop = await signUp('alice', { userAgent: FIREFOX });
	const phone = await logIn(laptop.name, { userAgent: IPHONE });
	const bob = await signUp('bob');
	await listed(laptop);
	await laptop.click('Log out Safari on iPhone');
	await (await logIn(laptop.name, { userAgent: IPHONE })).click('Log out');
	await logIn(laptop.name, { userAgent: IPHONE });
	await laptop.follow('Password');
	await laptop.fill({ 'Old password': PASSWORD, 'New password': 'battery staple' });
	await laptop.click('Change password');
	await admin(`UPDATE narvik_sessions SET authenticated_at = now() - interval '1 hour'
		FROM users WHERE user_id = users.id::text AND name = $1`, laptop.name);
	await laptop.page.goto('/account');
	await laptop.fill({ Password: 'battery staple' });
	await laptop.click('Go on');
	await laptop.follow('Sessions');
	await laptop.follow('security log');
	assert.equal(await laptop.heading(), 'Security log');
	const entries = (await logged(laptop)).map((text) => text.replace(/ just now$/, ''));
	assert.equal(entries.shift(), 'Password confirmed Firefox on Windows');
	// What happens in one transaction is in no order that a user could see.
	assert.deepEqual(entries.splice(0, 2).sort(), ['Changed the password Firefox on Windows', 'Logged out: new password Safari on iPhone']);
	assert.deepEqual(entries, [
		'Logged in Safari on iPhone',
		'Logged out Safari on iPhone', 'Logged in Safari on iPhone',
		'Logged out from another device Safari on iPhone', 'Logged in Safari on iPhone',
		'Logged in Firefox on Windows',
	]);
	await bob.page.goto('/sessions/log');
	assert.equal((await logged(bob)).length, 1);
	await phone.page.goto('/sessions/log');
	await assertLoggedOut(phone);
});

test('a long log has pages, and each entry is on one of them', async () => {
	const alice = await signUp('alice');
	await admin(`SELECT narvik_create_session(id::text, jsonb_build_object('device', 'Device ' || n))
		FROM users, generate_series(1, 119) AS n WHERE name = $1`, alice.name);
	await alice.page.goto('/sessions/log');
	const sizes = [];
	const seen = new Set();
	for (;;) {
		const texts = await logged(alice);
		sizes.push(texts.length);
		texts.forEach((text) => seen.add(text));
		if (await alice.page.getByRole('link', { name: 'Older' }).count() === 0) break;
		await alice.follow('Older');
	}
	assert.deepEqual(sizes, [50, 50, 20]);
	assert.equal(seen.size, 120);
});

// ---- what ends them ---------------------------------------------------------

test('revoking one session logs the other browser out at its next click', async () => {
	const laptop = await signUp('alice', { userAgent: FIREFOX });
	const phone = await logIn(laptop.name, { userAgent: IPHONE });
	const tablet = await logIn(laptop.name);
	await listed(laptop);
	await laptop.click('Log out Safari on iPhone');
	assert.equal(await laptop.notice(), 'One session was ended.');
	assert.equal(await laptop.page.locator('.session').count(), 2);

	await assertOutAtNextClick(phone);
	await assertStillIn(laptop);
	await assertStillIn(tablet);
});

test('a session that has ended meanwhile is no error', async () => {
	const laptop = await signUp('alice', { userAgent: FIREFOX });
	const phone = await logIn(laptop.name, { userAgent: IPHONE });
	await listed(laptop);
	await phone.click('Log out');
	await laptop.click('Log out Safari on iPhone');
	assert.equal(await laptop.notice(), 'No other session was there to end.');
});

test('logging out everywhere else leaves this browser in', async () => {
	const laptop = await signUp('alice');
	const others = [await logIn(laptop.name), await logIn(laptop.name)];
	const bob = await signUp('bob');
	await listed(laptop);
	await laptop.click('Log out everywhere else');
	assert.equal(await laptop.notice(), '2 sessions were ended.');
	assert.equal(await laptop.page.locator('.session').count(), 1);
	assert.ok(await laptop.page.getByRole('button', { name: 'Log out everywhere else' }).isDisabled());

	for (const other of others) await assertOutAtNextClick(other);
	await assertStillIn(laptop);
	await assertStillIn(bob);
});

test('nobody can end a session of somebody else', async () => {
	const alice = await signUp('alice');
	const bob = await signUp('bob');
	const [{ id }] = await admin(`SELECT s.id FROM users, narvik_fetch_sessions_for_user(users.id::text) AS s
		WHERE name = $1`, alice.name);
	const answer = await bob.post('/sessions/end', { id, form_token: await bob.formToken() });
	assert.equal(answer.headers().location, '/sessions');
	await listed(bob);
	assert.equal(await bob.notice(), 'No other session was there to end.');
	await assertStillIn(alice);
});

test('messages come from what happened, not from the address, and once', async () => {
	const laptop = await signUp('alice');
	const notices = () => laptop.page.locator('.notice').count();
	for (const path of ['/sessions?ended=3', '/password?ended=1', '/notes?deleted', '/sessions?said=x']) {
		await laptop.page.goto(path);
		assert.equal(await notices(), 0, path);
	}
	await logIn(laptop.name);
	await laptop.post('/sessions/end-others', { form_token: await laptop.formToken() });
	await laptop.page.goto('/notes');
	assert.equal(await notices(), 0);
	await listed(laptop);
	assert.equal(await laptop.notice(), 'One session was ended.');
	await laptop.page.reload();
	assert.equal(await notices(), 0);
	const visitor = await person();
	for (const path of ['/log-in?ended', '/?deleted']) {
		await visitor.page.goto(path);
		assert.equal(await visitor.page.locator('.notice').count(), 0, path);
	}
});

test('a new password rotates this session, so that a stolen token is dead, and ends the others', async () => {
	const laptop = await signUp('alice');
	const phone = await logIn(laptop.name);
	const before = await laptop.cookie();
	const thief = await person();
	await thief.context.addCookies([before]);
	await assertStillIn(thief);

	await laptop.follow('Password');
	await laptop.fill({ 'Old password': PASSWORD, 'New password': 'battery staple' });
	await laptop.click('Change password');
	assert.equal(await laptop.notice(), 'Your password is changed. One session was ended.');
	const now = await laptop.cookie();
	assert.notEqual(now.value, before.value);

	await assertOutAtNextClick(thief);
	await assertOutAtNextClick(phone);
	await assertStillIn(laptop);
	assert.equal((await listed(laptop)).length, 1);

	await phone.fill({ Name: laptop.name, Password: PASSWORD });
	await phone.click('Log in');
	assert.equal(await phone.notice(), 'Wrong name or password.');
	await logIn(laptop.name, { password: 'battery staple' });
});

test('a new password gives the old token no grace, and counts as a password given now', async () => {
	const set = async (change) => {
		await admin(`ALTER ROLE webapp ${change}`);
		await admin("SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE usename = 'webapp'");
	};
	const laptop = await signUp('alice');
	const thief = await person();
	await thief.context.addCookies([await laptop.cookie()]);
	await set("SET narvik.rotation_grace = '1h'");
	try {
		await admin(`UPDATE narvik_sessions SET authenticated_at = now() - interval '1 hour'
			FROM users WHERE user_id = users.id::text AND name = $1`, laptop.name);
		await laptop.follow('Password');
		await laptop.fill({ 'Old password': PASSWORD, 'New password': 'battery staple' });
		await laptop.click('Change password');
		assert.match(await laptop.notice(), /^Your password is changed/);
		await thief.page.goto('/notes');
		await assertLoggedOut(thief, ENDED);
		await laptop.page.goto('/account');
		assert.equal(await laptop.page.getByRole('button', { name: 'Delete account' }).count(), 1);
	} finally {
		await set('RESET narvik.rotation_grace');
	}
});

test('a session that ends while its password is looked at is out, and nothing is changed', async () => {
	for (const [path, form] of [
		['/password', { old_password: PASSWORD, password: 'battery staple' }],
		['/account/confirm', { password: PASSWORD }],
	]) {
		const alice = await signUp('alice');
		const form_token = await alice.formToken();
		let answer;
		await during('LOCK TABLE passwords', async () => {
			answer = alice.post(path, { ...form, form_token });
			const waiting = `SELECT FROM pg_stat_activity WHERE usename = 'webapp' AND wait_event_type = 'Lock'`;
			while ((await admin(waiting)).length === 0) await alice.page.waitForTimeout(10);
			await admin('SELECT narvik_invalidate_session(narvik_session_id($1))', (await alice.cookie()).value);
		});
		assert.deepEqual([(await answer).status(), (await answer).headers().location], [303, '/log-in'], path);
		await assertOutAtNextClick(alice);
		await logIn(alice.name);
	}
});

test('a wrong old password, or a bad new one, changes nothing', async () => {
	const laptop = await signUp('alice');
	const phone = await logIn(laptop.name);
	const before = await laptop.cookie();
	await laptop.follow('Password');
	for (const [old, fresh, complaint] of [
		['wrong', 'battery staple', 'That is not your password.'],
		[PASSWORD, 'short', 'Use at least 8 characters.'],
	]) {
		await laptop.page.locator('form.card').evaluate((form) => { form.noValidate = true; });
		await laptop.fill({ 'Old password': old, 'New password': fresh });
		await laptop.click('Change password');
		assert.equal(await laptop.page.locator('.error').innerText(), complaint);
	}
	assert.equal((await laptop.cookie()).value, before.value);
	await assertStillIn(phone);
	await logIn(laptop.name);
});

test('an expired session is refused and its cookie removed', async () => {
	const alice = await signUp('alice');
	await admin(`SELECT narvik_update_session_expiry(s.id, now() - interval '1 second')
		FROM users, narvik_fetch_sessions_for_user(users.id::text) AS s WHERE name = $1`, alice.name);
	await assertOutAtNextClick(alice);
	await alice.page.goto('/notes');
	assert.equal(await alice.page.locator('.notice').count(), 0);
});

test('a session in the second half of its life is extended, and so is the cookie', async () => {
	const alice = await signUp('alice');
	await assertStillIn(alice);
	const set = (await alice.context.request.get('/notes')).headers()['set-cookie'];
	assert.equal(set, undefined);

	const cookie = await alice.cookie();
	const soon = Math.floor(Date.now() / 1000) + 6 * 86400;
	await alice.context.addCookies([{ ...cookie, expires: soon }]);
	await admin(`SELECT narvik_update_session_expiry(s.id, to_timestamp($2))
		FROM users, narvik_fetch_sessions_for_user(users.id::text) AS s WHERE name = $1`, alice.name, soon);
	await assertStillIn(alice);
	const extended = await alice.cookie();
	assert.equal(extended.value, cookie.value);
	assert.ok(extended.expires > soon + 7 * 86400);
	assert.match((await listed(alice))[0], /Expires in 14 days/);
});

test('a cookie that is extended while a password is looked at is sent', async () => {
	const alice = await signUp('alice');
	const form = { old_password: 'wrong', password: 'battery staple', form_token: await alice.formToken() };
	const cookie = await alice.cookie();
	await alice.context.addCookies([{ ...cookie, expires: Math.floor(Date.now() / 1000) + 86400 }]);
	await admin(`SELECT narvik_update_session_expiry(narvik_session_id($1), now() + interval '1 day')`, cookie.value);
	assert.equal((await alice.post('/password', form)).status(), 200);
	assert.ok((await alice.cookie()).expires > Date.now() / 1000 + 13 * 86400);
});

test('the session of a guest is extended and not said to have ended', async () => {
	const visitor = await person();
	await visitor.post('/draft', { body: 'mine' });
	await admin(`SELECT narvik_update_session_expiry(narvik_session_id($1), now() + interval '1 hour')`,
		(await visitor.cookie()).value);
	await visitor.page.goto('/notes');
	await assertLoggedOut(visitor, 'kept');
	assert.ok((await visitor.cookie()).expires > Date.now() / 1000 + 23 * 3600);
});

test('logging in ends the session that the browser brought', async () => {
	const bob = await signUp('bob');
	const alice = await signUp('alice');
	await alice.click('Log out');
	await alice.page.goto('/log-in');
	await alice.context.addCookies([await bob.cookie()]);
	await alice.fill({ Name: alice.name, Password: PASSWORD });
	await alice.click('Log in');
	assert.equal(await alice.page.locator('.account .name').textContent(), `Logged in as ${alice.name}`);
	assert.notEqual((await alice.cookie()).value, (await bob.cookie()).value);
	await assertOutAtNextClick(bob);
});

test('who is deleted is logged out', async () => {
	const alice = await signUp('alice');
	await admin('DELETE FROM users WHERE name = $1', alice.name);
	await assertOutAtNextClick(alice);
});

test('a made-up token is nobody', async () => {
	const visitor = await person();
	await visitor.context.addCookies([{ name: '__Host-session', value: 'q'.repeat(32), url: web.url, secure: true }]);
	await visitor.page.goto('/notes');
	await assertLoggedOut(visitor, ENDED);
	assert.equal(await visitor.cookie(), undefined);
});
