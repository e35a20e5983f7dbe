// Guessing and signing up, faster than people do.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PASSWORD, admin, asRole, during, freshName, house, logIn, person, signUp } from './support.js';

house();

// From one device a user has ten tries, and from other devices on one network twenty.
const OWN = 10;
const NETWORK = 20;
const NAME = 100;

const statuses = async (answers) => (await Promise.all(answers)).map((answer) => answer.status());
const count = (all, status) => all.filter((each) => each === status).length;
const guesses = (somebody, number, path, form) =>
	statuses(Array.from({ length: number }, () => somebody.post(path, form)));

const allowed = async (name, address, device = 'no such') =>
	(await asRole('webapp', 'SELECT begin_try($1, $2, $3)', name, address, device)).length === 1;

// What was done here was done elsewhere.
const moveTries = () => admin("UPDATE tries SET network = '198.51.100.1'");

// ---- guessing ---------------------------------------------------------------

test('of fifty guesses at once twenty are looked at, and then even the right password has to wait', async () => {
	const { name } = await signUp('alice');
	await admin('TRUNCATE tries');
	const visitor = await person();
	const seen = await guesses(visitor, 50, '/log-in', { name, password: 'wrong' });
	assert.deepEqual([count(seen, 200), count(seen, 429)], [NETWORK, 50 - NETWORK]);
	const answer = await visitor.post('/log-in', { name, password: PASSWORD });
	assert.equal(answer.status(), 429);
	assert.match(await answer.text(), /Too many attempts/);

	await admin("UPDATE tries SET at = at - interval '11 minutes'");
	await logIn(name);
});

for (const [path, old] of [['/password', 'old_password'], ['/account/confirm', 'password']]) {
	test(`guessing at ${path} has the same brake, with the session alone and with the user's device`, async () => {
		const alice = await signUp('alice');
		await admin('TRUNCATE tries');
		const thief = await person();
		await thief.context.addCookies([await alice.cookie()]);
		const form_token = await alice.formToken();
		const form = (guess) => ({ password: 'battery staple', form_token, [old]: guess });
		const stolen = await guesses(thief, 30, path, form('wrong guess'));
		assert.deepEqual([count(stolen, 200), count(stolen, 429)], [NETWORK, 30 - NETWORK]);
		assert.equal((await thief.post(path, form(PASSWORD))).status(), 429);

		const own = await guesses(alice, 15, path, form('wrong guess'));
		assert.deepEqual([count(own, 200), count(own, 429)], [OWN, 15 - OWN]);
		assert.equal((await alice.post(path, form(PASSWORD))).status(), 429);
		await admin("UPDATE tries SET at = at - interval '11 minutes'");
		assert.equal((await alice.post(path, form(PASSWORD))).status(), 303);
	});
}

test('who guesses keeps nobody out: neither on a device where they have logged in, nor on another network', async () => {
	const alice = await signUp('alice');
	await alice.click('Log out');
	const mallory = await signUp('mallory');
	await admin('TRUNCATE tries');
	await guesses(mallory, 30, '/log-in', { name: alice.name, password: 'wrong' });
	assert.equal((await (await person()).post('/log-in', { name: alice.name, password: PASSWORD })).status(), 429);
	assert.equal((await alice.post('/log-in', { name: alice.name, password: PASSWORD })).status(), 303);
	await moveTries();
	await logIn(alice.name);
});

test('guesses from many networks count together, and the user still gets in where they have logged in', async () => {
	const alice = await signUp('alice');
	await alice.click('Log out');
	const answers = [];
	for (let i = 0; i < NAME + 10; i += 1) answers.push(await allowed(alice.name, `198.51.100.${i}`));
	assert.equal(count(answers, true), NAME);
	assert.equal((await (await person()).post('/log-in', { name: alice.name, password: PASSWORD })).status(), 429);
	await alice.page.goto('/log-in');
	await alice.fill({ Name: alice.name, Password: PASSWORD });
	await alice.click('Log in');
	assert.equal(await alice.heading(), 'Notes');
	assert.ok(await allowed('somebody-else', '198.51.100.200'));
});

test('a device is known for its users only, by what its cookie says', async () => {
	const alice = await signUp('alice');
	const mallory = await signUp('mallory');
	const device = async (somebody) => (await somebody.cookie('__Host-device')).value;
	assert.notEqual(await device(alice), await device(mallory));
	for (let i = 0; i < NETWORK; i += 1) await allowed(alice.name, '198.51.100.1');
	assert.deepEqual([
		await allowed(alice.name, '198.51.100.1', await device(alice)),
		await allowed(alice.name, '198.51.100.1', await device(mallory)),
		await allowed(mallory.name, '198.51.100.1', await device(alice)),
	], [true, false, false]);
	const [{ stored }] = await admin("SELECT string_agg(encode(device, 'escape'), ' ') AS stored FROM devices");
	assert.ok(!stored.includes(await device(alice)));
});

test('a /64 of addresses is one network, and IPv4 is the same in its IPv6 form', async () => {
	const tries = async (address) => {
		const answers = [];
		for (let i = 0; i < NETWORK + 5; i += 1) answers.push(await allowed(`user-${i}`, address(i)));
		return count(answers, true);
	};
	assert.equal(await tries((i) => `2001:db8::${i}:1`), NETWORK);
	assert.ok(await allowed('user', '2001:db8:0:1::1'));
	assert.equal(await tries((i) => (i % 2 ? '::ffff:192.0.2.7' : '192.0.2.7')), NETWORK);
	assert.ok(await allowed('user', '::ffff:192.0.2.8'));
});

test('log-ins that succeed are no guesses', async () => {
	const { name } = await signUp('alice');
	const visitor = await person();
	for (let i = 0; i < NETWORK + 2; i += 1) {
		await visitor.context.clearCookies();
		assert.equal((await visitor.post('/log-in', { name, password: PASSWORD })).status(), 303);
	}
});

// ---- signing up -------------------------------------------------------------

test('of two hundred sign-ups at once twenty are made', async () => {
	const robot = await person();
	const prefix = freshName('robot');
	const seen = await statuses(Array.from({ length: 200 }, (_, i) =>
		robot.post('/sign-up', { name: `${prefix}-${i}`, password: PASSWORD })));
	assert.deepEqual([count(seen, 303), count(seen, 429)], [NETWORK, 200 - NETWORK]);
	const [{ made }] = await admin("SELECT count(*)::int AS made FROM users WHERE name LIKE $1", `${prefix}-%`);
	assert.equal(made, NETWORK);
});

// As if each hash took for ever.
test('pages do not wait for those who sign up or log in', async () => {
	const alice = await signUp('alice');
	const robot = await person();
	let answers;
	await during('LOCK TABLE passwords', async () => {
		answers = Array.from({ length: 16 }, (_, i) => robot.post(i % 2 ? '/sign-up' : '/log-in',
			{ name: freshName('robot'), password: PASSWORD }));
		const waiting = `SELECT FROM pg_stat_activity WHERE usename = 'webapp' AND wait_event_type = 'Lock'`;
		while ((await admin(waiting)).length === 0) await alice.page.waitForTimeout(10);
		for (const path of ['/notes', '/sessions', '/password']) {
			assert.equal((await alice.context.request.get(path)).status(), 200);
		}
	});
	const seen = await statuses(answers);
	assert.deepEqual([count(seen, 303), count(seen, 200)], [8, 8]);
});
