// What the tests share: the application as a process of its own, a browser, and
// people in it.  PGHOST is the server's socket; there tests are superuser.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { after, afterEach, before } from 'node:test';
import { chromium } from 'playwright-core';
import pg from 'pg';

const PATIENCE = 30_000;

// ---- the application --------------------------------------------------------

const folder = mkdtempSync(join(tmpdir(), 'web-'));
export const tls = { TLS_KEY: join(folder, 'key.pem'), TLS_CERT: join(folder, 'cert.pem') };

function makeCertificate() {
	execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
		'-days', '1', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost',
		'-keyout', tls.TLS_KEY, '-out', tls.TLS_CERT], { stdio: 'pipe' });
}

// Starts it on any free port; the answer has its url and what it complained of.  A port
// that is free at one address of localhost can be in use at the other.
export async function startApp(environment) {
	for (;;) {
		try {
			return await startOnce(environment);
		} catch (error) {
			if (!/EADDRINUSE/.test(error.message)) throw error;
		}
	}
}

async function startOnce(environment) {
	const child = spawn(process.execPath, ['server.js'], {
		cwd: fileURLToPath(new URL('..', import.meta.url)),
		env: { ...process.env, PGUSER: 'webapp', PORT: '0', NODE_ENV: 'production', ...environment },
		stdio: ['ignore', 'pipe', 'pipe'],
	});
	const app = { complaints: '' };
	child.stderr.setEncoding('utf8').on('data', (text) => { app.complaints += text; });
	const ended = new Promise((resolve) => { child.on('close', resolve); });
	app.stop = () => { child.kill(); return ended; };
	app.url = await new Promise((resolve, reject) => {
		createInterface(child.stdout).on('line', (line) => {
			const [, url] = /^listening on (\S+)$/.exec(line) ?? [];
			if (url) resolve(url);
		});
		ended.then(() => reject(new Error(`the application ended: ${app.complaints}`)));
	});
	return app;
}

// ---- the database, as its superuser -----------------------------------------

export async function asRole(user, sql, ...values) {
	const client = new pg.Client({ user });
	await client.connect();
	try {
		return (await client.query(sql, values)).rows;
	} finally {
		await client.end();
	}
}

export const admin = (sql, ...values) => asRole('postgres', sql, ...values);

// What the application's role can do in somebody's session.
export async function inSession(somebody, sql, ...values) {
	const client = new pg.Client({ user: 'webapp' });
	await client.connect();
	try {
		await client.query('BEGIN');
		const { name, value } = await somebody.cookie();
		await client.query('SELECT FROM narvik_authenticate_cookie($1::text)', [`${name}=${value}`]);
		await client.query(sql, values);
		await client.query('COMMIT');
	} finally {
		await client.end();
	}
}

// Work while a transaction of the superuser has done this and goes on.
export async function during(sql, work) {
	const client = new pg.Client({ user: 'postgres' });
	await client.connect();
	try {
		await client.query(`BEGIN; ${sql}`);
		await work();
	} finally {
		await client.end();
	}
}

// ---- people in browsers -----------------------------------------------------

let browser;
let app;
const contexts = [];
const violations = [];
const consoleLines = [];

// A browser of its own, with its own cookies.  Colours change at once there, so that they
// are looked at before or after it.
export async function person(options = {}) {
	const context = await browser.newContext({ baseURL: app.url, ignoreHTTPSErrors: true, reducedMotion: 'reduce', ...options });
	contexts.push(context);
	context.setDefaultTimeout(PATIENCE);
	context.on('console', (message) => {
		if (/Content.Security.Policy/i.test(message.text())) violations.push(message.text());
		else consoleLines.push(`${message.text()} ${message.location().url}`);
	});
	context.on('weberror', (error) => violations.push(String(error.error())));
	const page = await context.newPage();
	// A page that has begun is not all there: it may lack its end and its styles.
	const go = async (what) => {
		await what.click();
		await page.waitForLoadState();
	};

	return {
		context, page,
		heading: () => page.locator('h1').innerText(),
		notice: () => page.locator('.notice').innerText(),
		fill: async (fields) => {
			for (const [label, text] of Object.entries(fields)) {
				await page.getByLabel(label, { exact: true }).fill(text);
			}
		},
		click: (name) => go(page.getByRole('button', { name })),
		follow: (name) => go(page.getByRole('link', { name, exact: true })),
		cookie: async (name = '__Host-session') =>
			(await context.cookies()).find((cookie) => cookie.name === name),

		// Straight to the server, with this browser's cookies, past what its forms
		// would refuse or add.
		post: (path, form, { origin = app.url, ...headers } = {}) => context.request.post(path,
			{ form, maxRedirects: 0, headers: origin ? { origin, ...headers } : headers }),
		formToken: async () => {
			const text = await (await context.request.get('/password')).text();
			return /name="form_token" value="(\w+)"/.exec(text)[1];
		},
	};
}

export const PASSWORD = 'correct horse';
let people = 0;
export const freshName = (name) => `${name}-${process.pid}-${people += 1}`;

// Logged in, on the notes page; quicker than by the forms.
async function enter(path, name, password, options) {
	const somebody = Object.assign(await person(options), { name });
	const headers = { origin: options.baseURL ?? app.url, 'user-agent': await somebody.page.evaluate(() => navigator.userAgent) };
	await somebody.context.request.post(path, { form: { name, password }, headers });
	await somebody.page.goto('/notes');
	assert.equal(await somebody.heading(), 'Notes');
	return somebody;
}

export const logIn = (name, { password = PASSWORD, ...options } = {}) =>
	enter('/log-in', name, password, options);

export const signUp = (prefix, { name = freshName(prefix), password = PASSWORD, ...options } = {}) =>
	enter('/sign-up', name, password, options);

// The browser shows the log-in page; why says the notice, if any.
export async function assertLoggedOut({ page, heading, notice }, why) {
	assert.equal(new URL(page.url()).pathname, '/log-in');
	assert.equal(await heading(), 'Log in');
	if (why) assert.match(await notice(), new RegExp(why));
}

export const ENDED = 'Your session has ended. Please log in again.';

export const violationsSeen = () => violations.splice(0);
export const consoleSeen = () => consoleLines.splice(0);

// Every test file calls this first.  What it passes on is the application's url.
export function house() {
	before(async () => {
		makeCertificate();
		app = await startApp(tls);
		browser = await chromium.launch({
			executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
			args: ['--disable-dev-shm-usage'],
		});
	}, { timeout: 4 * PATIENCE });

	// Whatever a test does, no page may break the policy it was sent with.
	afterEach(async () => {
		await Promise.all(contexts.splice(0).map((context) => context.close()));
		await admin('TRUNCATE tries');
		assert.deepEqual(violationsSeen(), []);
	});

	after(async () => {
		await browser?.close();
		await app?.stop();
		rmSync(folder, { recursive: true });
	});

	return { get url() { return app.url; }, get complaints() { return app.complaints; }, get browser() { return browser; } };
}
