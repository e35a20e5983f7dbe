// The cookie, as the browser has stored it.
import assert from 'node:assert/strict';
import https from 'node:https';
import { test } from 'node:test';
import { admin, house, signUp, startApp, tls } from './support.js';

const web = house();

const get = (url, options) => new Promise((resolve, reject) => {
	https.get(url, options, resolve).on('error', reject);
});

const DAY = 86400;
const daysLeft = ({ expires }) => (expires - Date.now() / 1000) / DAY;

test('other cookies need be no text', async () => {
	const alice = await signUp('alice');
	const { name, value } = await alice.cookie();
	const answer = async (cookie) => (await get(`${web.url}/notes`, {
		rejectUnauthorized: false, headers: { cookie },
	})).statusCode;
	assert.equal(await answer(`city=Troms\xf8; ${name}=${value}; x=\xff`), 200);
	assert.equal(await answer(`city=Troms\xf8; ${name}=${value}x; x=\xff`), 303);
});

// Another application process, whose connections have these settings.
async function withSettings(settings, environment, work) {
	const [{ before }] = await admin(`SELECT setconfig AS before FROM pg_db_role_setting
		WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) AND setrole = 0`);
	for (const [name, value] of Object.entries(settings)) {
		await admin(`ALTER DATABASE notes SET narvik.${name} = '${value}'`);
	}
	let other;
	try {
		other = await startApp(environment);
		await work(other.url);
	} finally {
		await other?.stop();
		for (const name of Object.keys(settings)) {
			const [, old] = before.map((line) => line.split('=')).find(([key]) => key === `narvik.${name}`) ?? [];
			await admin(`ALTER DATABASE notes ${old ? `SET narvik.${name} = '${old}'` : `RESET narvik.${name}`}`);
		}
	}
}

test('on https the cookie is __Host-, Secure, HttpOnly, SameSite=Lax, for this host and two weeks', async () => {
	const alice = await signUp('alice');
	assert.equal((await alice.context.cookies()).length, 2);
	for (const [cookie, looks, days] of [['__Host-session', /^[a-z2-7]{32}$/, 14], ['__Host-device', /^[-0-9a-f]{36}$/, 365]]) {
		const { value, expires, ...flags } = await alice.cookie(cookie);
		assert.deepEqual(flags, { name: cookie, domain: 'localhost', path: '/', httpOnly: true, secure: true, sameSite: 'Lax' });
		assert.match(value, looks);
		assert.ok(Math.abs(daysLeft({ expires }) - days) < 0.1);
	}
	assert.equal(await alice.page.evaluate(() => document.cookie), '');
});

test('what is not https cannot plant a cookie of that name', async () => {
	const alice = await signUp('alice');
	const [{ name }] = await admin('SELECT narvik_cookie_name() AS name');
	await alice.context.clearCookies();
	await alice.page.evaluate((name) => { document.cookie = `${name}=planted; path=/`; }, name);
	assert.deepEqual(await alice.context.cookies(), []);
});

test('another name, SameSite and lifetime are settings', async () => {
	const settings = { cookie_name: 'id', cookie_same_site: 'strict', cookie_expires_in: '1d' };
	await withSettings(settings, tls, async (baseURL) => {
		const alice = await signUp('alice', { baseURL });
		const { sameSite, secure, ...cookie } = await alice.cookie('id');
		assert.deepEqual([sameSite, secure], ['Strict', true]);
		assert.ok(Math.abs(daysLeft(cookie) - 1) < 0.1);
		await alice.click('Log out');
		assert.deepEqual((await alice.context.cookies()).map(({ name }) => name), ['__Host-device']);
	});
});

test('with the settings of examples/web/start it works without https', async () => {
	await withSettings({ cookie_secure: 'off', cookie_name: 'session' }, {}, async (baseURL) => {
		assert.match(baseURL, /^http:/);
		const alice = await signUp('alice', { baseURL });
		const { httpOnly, secure, sameSite } = await alice.cookie('session');
		assert.deepEqual([httpOnly, secure, sameSite], [true, false, 'Lax']);
		await alice.follow('Sessions');
		assert.equal(await alice.heading(), 'Your sessions');
	});
});
