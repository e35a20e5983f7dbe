// Pictures of the main pages, into the folder that SCREENSHOTS names.
import { join } from 'node:path';
import { test } from 'node:test';
import { admin, house, person, signUp } from './support.js';

house();

const NOTES = [
	['Ferry to Lofoten leaves Bodø at 15:45.\nBe there an hour early.', '12 days'],
	['Ask Ingrid about the cabin key', '3 days'],
	['Shopping\n– coffee, filters\n– brown cheese\n– rye bread', '28 hours'],
	['“The mountains are calling and I must go.”', '5 hours'],
	['Talk on Thursday: sessions belong beside the rows they protect. Show the policy first, then the page.', '40 minutes'],
];
const DEVICES = [
	['Safari on iPhone', '3 days', '3 minutes', '11 days'],
	['Firefox on Windows', '9 days', '2 days', '12 days'],
	['Chrome on iPad', '20 days', '6 days', '8 days'],
];

const EVENTS = [
	['Chrome on iPad', '20 days', 'promoted', null],
	['Firefox on Windows', '9 days', 'promoted', null],
	['Chrome on Android', '4 days', 'promoted', null],
	['Chrome on Android', '4 days', 'ended', 'revoked'],
	['Safari on iPhone', '3 days', 'promoted', null],
	['Chrome on Linux', '2 minutes', 'reauthenticated', null],
];

test('screenshots', async () => {
	const take = async ({ page }, path, file) => {
		await page.goto(path);
		await page.evaluate(() => document.fonts.ready);
		await page.screenshot({ path: join(process.env.SCREENSHOTS, `web-${file}.png`) });
	};
	const large = { viewport: { width: 1120, height: 760 }, deviceScaleFactor: 1.5 };
	const small = { viewport: { width: 390, height: 780 }, deviceScaleFactor: 2 };

	const name = 'astrid';
	await admin('DELETE FROM users WHERE name = $1', name);
	const password = 'fjord and mountain';
	const owner = await signUp('', { name, password });
	for (const [body, age] of NOTES) {
		await admin(`INSERT INTO notes (owner, body, created_at)
			SELECT id, $2, now() - $3::interval FROM users WHERE name = $1`, name, body, age);
	}
	for (const [device, age, idle, left] of DEVICES) {
		await admin(`INSERT INTO narvik_sessions (id, user_id, created_at, active_at, expires_at, sliding, data, purge_hour)
			SELECT sha256(gen_random_uuid()::text::bytea), id::text, now() - $3::interval, now() - $4::interval,
				now() + $5::interval, true,
				jsonb_build_object('device', $2::text), extract(epoch FROM now() + $5::interval) / 3600
			FROM users WHERE name = $1`, name, device, age, idle, left);
	}
	await admin('DELETE FROM narvik_events WHERE user_id IN (SELECT id::text FROM users WHERE name = $1)', name);
	for (const [device, age, kind, reason] of EVENTS) {
		await admin(`INSERT INTO narvik_events (at, kind, reason, session_id, user_id, detail)
			SELECT now() - $3::interval, $4, $5, sha256(''), id::text, jsonb_build_object('device', $2::text)
			FROM users WHERE name = $1`, name, device, age, kind, reason);
	}
	const cookie = await owner.cookie();

	for (const colorScheme of ['light', 'dark']) {
		for (const [size, options] of Object.entries({ '': large, '-mobile': small })) {
			const visitor = await person({ colorScheme, ...options });
			for (const page of ['welcome', 'sign-up', 'log-in', 'nowhere']) {
				await take(visitor, page === 'welcome' ? '/' : `/${page}`, `${page}-${colorScheme}${size}`);
			}
			await visitor.context.addCookies([cookie]);
			for (const page of ['notes', 'sessions', 'sessions/log', 'password', 'account']) {
				await take(visitor, `/${page}`, `${page.replace('/', '-')}-${colorScheme}${size}`);
			}
		}
	}
});
