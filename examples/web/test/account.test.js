// Deleting the account: the password is asked for again, and a policy sees to it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PASSWORD, admin, assertLoggedOut, house, inSession, logIn, signUp } from './support.js';

house();

const left = async (name) => (await admin('SELECT id FROM users WHERE name = $1', name)).length;

// As after a log-in that is an hour ago.
const anHourLater = ({ name }) => admin(`UPDATE narvik_sessions SET authenticated_at = now() - interval '1 hour'
	FROM users WHERE user_id = users.id::text AND name = $1`, name);

test('the password is asked for again, and then the account and all that is its own can go', async () => {
	const alice = await signUp('alice');
	const bob = await signUp('bob');
	for (const somebody of [alice, bob]) {
		await somebody.fill({ 'New note': 'a note' });
		await somebody.click('Add note');
	}
	await logIn(alice.name);
	await anHourLater(alice);
	const before = await alice.cookie();

	await alice.follow('Password');
	await alice.follow('Delete your account');
	assert.equal(await alice.page.getByRole('button', { name: 'Delete account' }).count(), 0);
	await alice.fill({ Password: 'wrong' });
	await alice.click('Go on');
	assert.equal(await alice.page.locator('.error').innerText(), 'That is not your password.');
	assert.equal((await alice.cookie()).value, before.value);
	await alice.fill({ Password: PASSWORD });
	await alice.click('Go on');
	const button = alice.page.getByRole('button', { name: 'Delete account' });
	await button.waitFor();
	assert.notEqual((await alice.cookie()).value, before.value);
	await button.click();
	assert.equal(await alice.notice(), 'Your account is deleted, and your notes with it.');

	assert.equal(await left(alice.name), 0);
	assert.deepEqual(await admin('SELECT name FROM notes JOIN users ON users.id = owner WHERE name IN ($1, $2)',
		alice.name, bob.name), [{ name: bob.name }]);
	assert.deepEqual(await admin(`SELECT narvik_session_id($1) IN (SELECT encode(id, 'hex') FROM narvik_sessions) AS live`,
		before.value), [{ live: false }]);
	assert.equal(await alice.cookie(), undefined);
	await alice.page.goto('/notes');
	await assertLoggedOut(alice);
});

test('without it the account stays, whatever is posted', async () => {
	const alice = await signUp('alice');
	const form_token = await alice.formToken();
	await anHourLater(alice);
	assert.equal((await alice.post('/account/confirm', { password: 'wrong', form_token })).status(), 200);
	const answer = await alice.post('/account/delete', { form_token });
	assert.deepEqual([answer.status(), answer.headers().location], [303, '/account']);
	assert.equal(await left(alice.name), 1);
});

test('the policy alone refuses it to the role of the application', async () => {
	const alice = await signUp('alice');
	const bob = await signUp('bob');
	const attempt = async (somebody, name) => {
		const [{ id }] = await admin('SELECT id FROM users WHERE name = $1', name);
		await inSession(somebody, 'DELETE FROM users WHERE id = $1', id);
	};
	await attempt(alice, bob.name);
	assert.equal(await left(bob.name), 1);
	await anHourLater(alice);
	await attempt(alice, alice.name);
	assert.equal(await left(alice.name), 1);
	await attempt(bob, bob.name);
	assert.equal(await left(bob.name), 0);
});

test('there is a way back from deleting it, with the password asked for and without', async () => {
	const alice = await signUp('alice');
	for (const later of [() => {}, anHourLater]) {
		await later(alice);
		await alice.page.goto('/account');
		await alice.follow('Keep the account');
		assert.equal(await alice.heading(), 'Change password');
	}
	assert.equal(await left(alice.name), 1);
});
