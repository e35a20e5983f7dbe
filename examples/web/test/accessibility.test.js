// Every page: what axe-core finds (labels, landmarks, contrast ...), the keyboard,
// and a narrow screen.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import axe from 'axe-core';
import { admin, consoleSeen, house, logIn, person, signUp } from './support.js';

house();

// Each page, by somebody who can see it, and as it looks after a mistake.
async function eachPage(options, look) {
	const visitor = await person(options);
	for (const path of ['/', '/sign-up', '/log-in', '/nowhere']) {
		await visitor.page.goto(path);
		await look(visitor.page, path);
	}
	await visitor.page.goto('/');
	await visitor.fill({ 'Write a note now, sign up later': 'a draft' });
	await visitor.click('Keep it');
	await look(visitor.page, 'sign-up with a draft');
	await visitor.page.locator('form').evaluate((form) => { form.noValidate = true; });
	await visitor.click('Create account');
	await look(visitor.page, 'sign-up with mistakes');
	await visitor.page.goto('/log-in');
	await visitor.fill({ Name: 'nobody-here', Password: 'wrong' });
	await visitor.click('Log in');
	await look(visitor.page, 'log-in with a mistake');

	const alice = await signUp('alice', options);
	await look(alice.page, 'no notes');
	await logIn(alice.name, options);
	await alice.fill({ 'New note': `a ${'very'.repeat(40)}long word` });
	await alice.click('Add note');
	await alice.click('Delete note');
	await look(alice.page, 'a note that can be put back');
	await alice.click('Put it back');
	await alice.page.goto('/sessions');
	await alice.click('Log out everywhere else');
	await look(alice.page, 'sessions, with a message');
	for (const path of ['/notes', '/sessions', '/sessions/log', '/password', '/account', '/nowhere']) {
		await alice.page.goto(path);
		await look(alice.page, path);
	}
	await admin("UPDATE narvik_sessions SET authenticated_at = authenticated_at - interval '1 hour'");
	await alice.page.reload();
	await look(alice.page, 'account, with the password');
	await admin('DELETE FROM users WHERE name = $1', alice.name);
	await alice.page.locator('[role=alert]').waitFor();
	await look(alice.page, 'a session that has ended');
	const writer = await signUp('writer', options);
	await writer.fill({ 'New note': 'a thought' });
	await admin('DELETE FROM users WHERE name = $1', writer.name);
	await writer.page.locator('[role=alert]').waitFor();
	await look(writer.page, 'a session that has ended, with a note');
}

for (const colorScheme of ['light', 'dark']) {
	test(`axe-core has nothing to say, ${colorScheme}`, async () => {
		await eachPage({ colorScheme }, async (page, path) => {
			await page.evaluate(axe.source);
			const { violations } = await page.evaluate(() => globalThis.axe.run());
			assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html)}`), [], path);
		});
	});
}

test('no page scrolls sideways at 320 pixels', async () => {
	await eachPage({ viewport: { width: 320, height: 640 } }, async (page, path) => {
		const [content, screen] = await page.evaluate(() =>
			[document.documentElement.scrollWidth, document.documentElement.clientWidth]);
		assert.ok(content <= screen, `${path}: ${content} > ${screen}`);
	});
});

test('the code sample fits on a phone', async () => {
	for (const width of [320, 390]) {
		const visitor = await person({ viewport: { width, height: 700 } });
		await visitor.page.goto('/');
		const [content, box] = await visitor.page.locator('pre').evaluate(({ scrollWidth, clientWidth }) => [scrollWidth, clientWidth]);
		assert.ok(content <= box, `${width}: ${content} > ${box}`);
	}
});

test('after a mistake its field has the focus, and says what is wrong', async () => {
	const alice = await signUp('alice');
	const visitor = await person();
	const mistakes = [
		[visitor, '/', { 'Write a note now, sign up later': ' ' }, 'Keep it', 'body', /Write something/],
		[visitor, '/sign-up', { Name: 'x', Password: 'short' }, 'Create account', 'name', /3 to 30/],
		[visitor, '/log-in', { Name: 'nobody-here', Password: 'wrong' }, 'Log in', 'password', /Wrong name or password/],
		[alice, '/notes', { 'New note': ' ' }, 'Add note', 'body', /Write something/],
		[alice, '/password', { 'Old password': 'wrong', 'New password': 'battery staple' }, 'Change password', 'old_password',
			/not your password/],
	];
	for (const [somebody, path, fields, button, field, complaint] of mistakes) {
		await somebody.page.goto(path);
		await somebody.page.locator('form').evaluateAll((forms) => forms.forEach((form) => { form.noValidate = true; }));
		await somebody.fill(fields);
		await somebody.click(button);
		await somebody.page.locator(`#${field}[aria-invalid]:focus`).waitFor();
		const help = await somebody.page.locator(':focus').getAttribute('aria-describedby');
		assert.match(await somebody.page.locator(`#${help}`).innerText(), complaint);
	}
});

test("the browser's console is silent", async () => {
	consoleSeen();
	await eachPage({}, async (page) => { await page.waitForLoadState('load'); });
	// That a page is not found, the browser says itself.
	assert.deepEqual(consoleSeen().filter((line) => !/status of 404 .*\/nowhere$/.test(line)), []);
});

test('no page has a script but one, which is a file of ours', async () => {
	await eachPage({}, async (page, path) => {
		assert.equal(await page.locator('script:not([src="/live.js"]), script:not(:empty), [onclick], [onsubmit], [style]').count(),
			0, path);
	});
});

test('the keyboard gets everywhere, and shows where it is', async () => {
	const alice = await signUp('alice');
	const stops = [];
	for (let i = 0; i < 9; i += 1) {
		await alice.page.keyboard.press('Tab');
		stops.push(await alice.page.evaluate(() => {
			const { activeElement } = document;
			const { outlineStyle, outlineWidth } = getComputedStyle(activeElement);
			return outlineStyle === 'none' || outlineWidth === '0px' ? 'invisible'
				: activeElement.id || activeElement.textContent.trim();
		}));
	}
	assert.deepEqual(stops.slice(0, 8),
		['Skip to content', 'Fjord', 'Notes', 'Sessions', 'Password', 'Log out', 'body', 'Add note']);

	await alice.page.goto('/notes');
	await alice.page.keyboard.press('Tab');
	await alice.page.keyboard.press('Enter');
	await alice.page.keyboard.press('Tab');
	assert.equal(await alice.page.evaluate(() => document.activeElement.id), 'body');
});
