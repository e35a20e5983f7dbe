// Every page: what axe-core finds (labels, landmarks, contrast ...), the keyboard,
// and a narrow screen.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import axe from 'axe-core';
import { admin, house, logIn, person, signUp } from './support.js';

house();

// Each page, by somebody who can see it, and as it looks after a mistake.
async function eachPage(options, look) {
	const visitor = await person(options);
	for (const path of ['/', '/sign-up', '/log-in', '/log-in?ended', '/nowhere']) {
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

	const alice = await signUp('alice', options);
	await look(alice.page, 'no notes');
	await logIn(alice.name, options);
	await alice.fill({ 'New note': `a ${'very'.repeat(40)}long word` });
	await alice.click('Add note');
	for (const path of ['/notes', '/sessions', '/sessions?ended=2', '/sessions/log', '/password', '/password?ended=1', '/account']) {
		await alice.page.goto(path);
		await look(alice.page, path);
	}
	await admin("UPDATE narvik_sessions SET authenticated_at = authenticated_at - interval '1 hour'");
	await alice.page.reload();
	await look(alice.page, 'account, with the password');
	await admin('DELETE FROM users WHERE name = $1', alice.name);
	await alice.page.locator('[role=alert]').waitFor();
	await look(alice.page, 'a session that has ended');
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
