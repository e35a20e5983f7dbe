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
	['Safari on iPhone', '3 days', '11 days'],
	['Firefox on Windows', '9 days', '12 days'],
	['Chrome on iPad', '20 days', '8 days'],
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
	for (const [device, age, left] of DEVICES) {
		await admin(`INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, sliding, data, purge_hour)
			SELECT sha256(gen_random_uuid()::text::bytea), id::text, now() - $3::interval, now() + $4::interval, true,
				jsonb_build_object('device', $2::text), extract(epoch FROM now() + $4::interval) / 3600
			FROM users WHERE name = $1`, name, device, age, left);
	}
	const cookie = await owner.cookie();

	for (const colorScheme of ['light', 'dark']) {
		for (const [size, options] of Object.entries({ '': large, '-mobile': small })) {
			const visitor = await person({ colorScheme, ...options });
			for (const page of ['welcome', 'sign-up', 'log-in', 'nowhere']) {
				await take(visitor, page === 'welcome' ? '/' : `/${page}`, `${page}-${colorScheme}${size}`);
			}
			await visitor.context.addCookies([cookie]);
			for (const page of ['notes', 'sessions', 'password']) {
				await take(visitor, `/${page}`, `${page}-${colorScheme}${size}`);
			}
		}
	}
});
