// The application: what it answers to which request.
import { randomUUID, timingSafeEqual } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import express from 'express';
import { transaction, withPassword } from './database.js';
import { deviceLabel } from './device.js';
import { isFromHere, isSecure } from './origin.js';
import * as pages from './pages.js';

export const app = express();
app.disable('x-powered-by');

app.use((req, res, next) => {
	res.set({
		'Content-Security-Policy': "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; "
			+ "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
		'Cross-Origin-Opener-Policy': 'same-origin',
		'Cross-Origin-Resource-Policy': 'same-origin',
		'Referrer-Policy': 'same-origin',
		'X-Content-Type-Options': 'nosniff',
	});
	if (isSecure(req)) res.set('Strict-Transport-Security', 'max-age=31536000');
	next();
});
app.get('/favicon.ico', (req, res) => res.redirect(301, '/icon.svg'));
app.use(express.static(fileURLToPath(new URL('public', import.meta.url))));
app.use((req, res, next) => {
	res.set('Cache-Control', 'no-store');
	next();
});

// ---- requests from elsewhere ------------------------------------------------

class Refusal extends Error {
	constructor(status) {
		super(pages.refusals[status][0]);
		this.status = status;
	}
}

// A form on another site can post to us, with the user's cookie, but not with
// our name in Origin.  Browsers send that header with every POST.
app.use((req, res, next) => {
	if (req.method === 'POST' && !isFromHere(req)) throw new Refusal(403);
	next();
});
app.use(express.urlencoded({ extended: false, limit: '40kb' }));

// While a session is given a new token it can end: what was done in its name is undone.
class SessionEnded extends Error {}

// And who is logged in proves with each form that it is a page of this session.
function fromOurPage(req, me) {
	const given = Buffer.from(field(req, 'form_token'));
	const expected = Buffer.from(me.form_token);
	return given.length === expected.length && timingSafeEqual(given, expected);
}

const field = (req, name) => {
	const value = req.body?.[name];
	return typeof value === 'string' ? value : '';
};

// ---- answering --------------------------------------------------------------

// An answer is { page } or { to }, with a status and cookies where needed; or { next },
// which looks at a password.
const anyone = (work) => async (req, res) => {
	let answer = await transaction(req, (db, me) => work(db, me, req));
	if (answer.next) {
		const { cookie, next } = answer;
		answer = await withPassword(req, (db, me) => next(db, me, req));
		answer.cookie ??= cookie;
	}
	const { status, cookie, page, to } = answer;
	if (cookie) res.append('Set-Cookie', cookie);
	if (to) res.redirect(303, to);
	else res.status(status ?? 200).send(String(page));
};

const whenLoggedIn = (work) => (db, me, req, ...more) => {
	if (!me.id) return { to: '/log-in' };
	if (req.method === 'POST' && !fromOurPage(req, me)) throw new Refusal(403);
	return work(db, me, req, ...more);
};

const loggedIn = (work) => anyone(whenLoggedIn(work));

// What the next page has to say waits in the session, not in the address.
const say = (db, session_id, page, said) =>
	db('SELECT narvik_update_session_data($1, $2)', session_id, { said: { page, ...said } });

async function saidFor(page, db, me) {
	if (me.said?.page !== page) return {};
	await db('SELECT narvik_update_session_data($1, $2)', me.session_id, { said: null });
	return me.said;
}

// ---- tries ------------------------------------------------------------------

// A browser that somebody has logged in with gets a cookie that outlives the session:
// who guesses elsewhere does not keep them out here.
const deviceName = (req) => isSecure(req) ? '__Host-device' : 'device';

function deviceOf(req) {
	const start = `${deviceName(req)}=`;
	const cookie = req.headers.cookie?.split('; ').find((pair) => pair.startsWith(start));
	return cookie?.slice(start.length) || randomUUID();
}

const deviceCookie = (req, device) => `${deviceName(req)}=${device}; Max-Age=31536000; Path=/; SameSite=Lax; HttpOnly`
	+ (isSecure(req) ? '; Secure' : '');

// The try is counted and committed before work, in a transaction of its own, looks at
// the password.
async function attempt(db, req, name, work) {
	const device = deviceOf(req);
	const [attempted] = await db('SELECT begin_try($1, $2, $3) AS id', name, req.ip.replace(/%.*/, ''), device);
	if (!attempted) throw new Refusal(429);
	return { next: (db, me, req) => work(db, me, req, attempted.id, device) };
}

// ---- in and out -------------------------------------------------------------

app.get('/', anyone((db, me) => me.id ? { to: '/notes' } : { page: pages.welcome({ body: me.draft }) }));

app.get('/sign-up', anyone((db, me) => me.id ? { to: '/notes' } : { page: pages.signUp({ draft: me.draft }) }));

// Who is sent here still has the cookie of the session that has ended.
app.get('/log-in', anyone(async (db, me) => {
	if (me.id) return { to: '/notes' };
	const { ended = me.dead } = await saidFor('/log-in', db, me);
	return { page: pages.logIn({ draft: me.draft, ended }), cookie: me.dead };
}));

// Whoever writes before there is an account becomes a guest, and the note waits in
// the guest's session.
async function keep(db, me, data) {
	const [{ cookie } = {}] = me.session_id
		? await db('SELECT narvik_update_session_data($1, $2)', me.session_id, data)
		: await db("SELECT narvik_create_cookie(token, '0') AS cookie FROM narvik_create_guest_session($1)", data);
	return cookie;
}

app.post('/draft', anyone(async (db, me, req) => {
	if (me.id) return { to: '/notes' };
	const { body, error } = noteIn(req);
	if (error) return { page: pages.welcome({ body, error }) };
	return { to: '/sign-up', cookie: await keep(db, me, { draft: body }) };
}));

// A function finds the user: no user, no row.  A guest's session becomes the user's
// under a new token, any other session that the browser brought ends: who planted
// it there must not get to share it.
async function enter(db, me, req, device, user, ...values) {
	const [session] = await db(`
		SELECT s.id, s.data ->> 'draft' AS draft, narvik_create_cookie(s.token) AS cookie
		FROM ${user} AS user_id,
			narvik_promote_session($1, user_id::text, jsonb_build_object('device', $2::text)) AS s`,
		me.token, deviceLabel(req.headers['user-agent']), ...values);
	if (session?.draft) {
		await db('INSERT INTO notes (body) VALUES ($1)', session.draft);
		await db('SELECT narvik_update_session_data($1, $2)', session.id, { draft: null, said: null });
	}
	return session && { to: '/notes', cookie: [session.cookie, deviceCookie(req, device)] };
}

app.post('/sign-up', anyone(async (db, me, req) => {
	const name = field(req, 'name').trim().toLowerCase();
	const password = field(req, 'password');
	const errors = {};
	if (!/^[a-z0-9][a-z0-9_-]{2,29}$/.test(name)) {
		errors.name = 'Use 3 to 30 letters, digits, - or _, and begin with a letter or digit.';
	}
	checkNewPassword(password, errors);
	if (Object.keys(errors).length > 0) return { page: pages.signUp({ draft: me.draft, name, errors }) };

	return attempt(db, req, null, async (db, me, req, id, device) =>
		await enter(db, me, req, device, 'sign_up($3, $4, $5)', id, name, password)
			?? { page: pages.signUp({ draft: me.draft, name, errors: { name: 'This name is taken.' } }) });
}));

app.post('/log-in', anyone((db, me, req) => {
	const name = field(req, 'name').trim().toLowerCase();
	return attempt(db, req, name, async (db, me, req, id, device) =>
		await enter(db, me, req, device, 'log_in($3, $4)', id, field(req, 'password'))
			?? { page: pages.logIn({ draft: me.draft, name, error: 'Wrong name or password.' }) });
}));

app.post('/log-out', loggedIn(async (db, me) => {
	const [{ cookie }] = await db(
		'SELECT narvik_invalidate_session($1), narvik_create_blank_cookie() AS cookie', me.session_id);
	return { to: '/', cookie };
}));

// ---- notes ------------------------------------------------------------------

// No query here says whose notes: row-level security does.
const notes = (db) => db('SELECT id, body, created_at FROM notes ORDER BY id DESC');

app.get('/notes', loggedIn(async (db, me) =>
	({ page: pages.notes(me, await notes(db), await saidFor('/notes', db, me)) })));

// Spaces in front of the first line stay.
function noteIn(req) {
	const body = field(req, 'body').replaceAll('\r\n', '\n').trimEnd().replace(/^([^\S\n]*\n)+/, '');
	const error = body === '' ? 'Write something first.'
		: [...body].length > 2000 ? 'That is too long: 2000 characters are the limit.' : null;
	return { body, error };
}

// A page can be open for longer than its session.  What is written there waits for the
// log-in as a guest's draft does; if that was in another tab, it is sent back.
app.post('/notes', anyone(async (db, me, req) => {
	const { body, error } = noteIn(req);
	const again = async (error, status) => ({ status, page: pages.notes(me, await notes(db), { body, error }) });
	if (!me.id) {
		const data = { draft: body, said: { page: '/log-in', ended: true } };
		return { to: '/log-in', cookie: error ? undefined : await keep(db, me, data) };
	}
	if (!fromOurPage(req, me)) return again('This page was an old one. Please add the note again.', 403);
	if (error) return again(error);
	await db('INSERT INTO notes (body) VALUES ($1)', body);
	return { to: '/notes' };
}));

app.post('/notes/delete', loggedIn(async (db, me, req) => {
	const [deleted] = await db('DELETE FROM notes WHERE id = $1 RETURNING body', field(req, 'id'));
	if (!deleted) throw new Refusal(404);
	await say(db, me.session_id, '/notes', { deleted: deleted.body });
	return { to: '/notes' };
}));

// ---- sessions ---------------------------------------------------------------

app.get('/sessions', loggedIn(async (db, me) => {
	const sessions = await db(`
		SELECT id, data ->> 'device' AS device, created_at, active_at, expires_at,
			id = narvik_current_session_id() AS this_device
		FROM narvik_fetch_sessions_for_user(narvik_current_user_id())`);
	return { page: pages.sessions(me, sessions, await saidFor('/sessions', db, me)) };
}));

// Out of the user's own sessions, so that an id of somebody else's ends nothing.
app.post('/sessions/end', loggedIn(async (db, me, req) => {
	const ended = await db(`
		SELECT narvik_invalidate_session(id, reason => 'revoked')
		FROM narvik_fetch_sessions_for_user(narvik_current_user_id()) WHERE id = $1`,
		field(req, 'id'));
	await say(db, me.session_id, '/sessions', { ended: ended.length });
	return { to: '/sessions' };
}));

app.post('/sessions/end-others', loggedIn(async (db, me) => {
	const [{ ended }] = await db(`
		SELECT narvik_delete_sessions_for_user(narvik_current_user_id(),
			except_session_id => narvik_current_session_id()) AS ended`);
	await say(db, me.session_id, '/sessions', { ended: Number(ended) });
	return { to: '/sessions' };
}));

// What happened to them, the newest first.
const EVENTS = 50;
app.get('/sessions/log', loggedIn(async (db, me, req) => {
	const before = /^\d{1,18}$/.test(req.query.before) ? req.query.before : null;
	const events = await db(`
		SELECT seq, at, kind, coalesce(reason, detail ->> 'why') AS reason, detail ->> 'device' AS device
		FROM narvik_fetch_events_for_user(narvik_current_user_id(), $1, $2)`, before, EVENTS + 1);
	return { page: pages.securityLog(me, events.slice(0, EVENTS), events.length > EVENTS) };
}));

// ---- password ---------------------------------------------------------------

// bcrypt reads no more than 72 bytes.
function checkNewPassword(password, errors) {
	if ([...password].length < 8) errors.password = 'Use at least 8 characters.';
	else if (Buffer.byteLength(password) > 72) errors.password = 'Use at most 72 bytes.';
}

app.get('/password', loggedIn(async (db, me) =>
	({ page: pages.password(me, await saidFor('/password', db, me)) })));

app.post('/password', loggedIn(async (db, me, req) => {
	const errors = {};
	checkNewPassword(field(req, 'password'), errors);
	if (errors.password) return { page: pages.password(me, { errors }) };

	return attempt(db, req, me.name, whenLoggedIn(changePassword));
}));

async function changePassword(db, me, req, id) {
	const [changed] = await db('SELECT change_password($1, $2, $3)', id, field(req, 'old_password'), field(req, 'password'));
	if (!changed) return { page: pages.password(me, { errors: { old_password: 'That is not your password.' } }) };

	// A new token here, and everybody else is out.
	const [session] = await db(`
		SELECT id, narvik_create_cookie(token) AS cookie,
			narvik_delete_sessions_for_user(user_id, except_session_id => id,
				reason => 'new password') AS ended
		FROM narvik_reauthenticate_session($1, '{"why": "new password"}')`, me.token);
	if (!session) throw new SessionEnded();
	await say(db, session.id, '/password', { ended: Number(session.ended) });
	return { to: '/password', cookie: session.cookie };
}

// ---- the account ------------------------------------------------------------

// The password is asked for unless that was done just now.  This is for the page: what
// refuses is the policy.
const confirmed = async (db) => (await db('SELECT confirmed()'))[0].confirmed;

app.get('/account', loggedIn(async (db, me) => ({ page: pages.account(me, await confirmed(db)) })));

app.post('/account/confirm', loggedIn((db, me, req) => attempt(db, req, me.name, whenLoggedIn(confirmAccount))));

async function confirmAccount(db, me, req, id) {
	const [user] = await db('SELECT log_in($1, $2)', id, field(req, 'password'));
	if (!user) return { page: pages.account(me, false, 'That is not your password.') };
	const [session] = await db(`
		SELECT narvik_create_cookie(token) AS cookie
		FROM narvik_reauthenticate_session($1, '{"why": null}')`, me.token);
	if (!session) throw new SessionEnded();
	return { to: '/account', cookie: session.cookie };
}

// Notes and sessions go with the user.
app.post('/account/delete', loggedIn(async (db, me) => {
	const [deleted] = await db(`
		DELETE FROM users WHERE id = narvik_current_user_id()::bigint
		RETURNING narvik_create_blank_cookie() AS cookie`);
	return deleted ? { page: pages.welcome({ deleted: true }), cookie: deleted.cookie } : { to: '/account' };
}));

// ---- what went wrong --------------------------------------------------------

app.use(() => { throw new Refusal(404); });

function statusOf(error) {
	if (/^2[23]/.test(error.code)) return 400; // what no column can hold
	if (/^(ECONN|ENOENT|57P)/.test(error.code)) return 503;
	if (error.status in pages.refusals) return error.status;
	return error.status < 500 ? 400 : 500;
}

// For the navigation, as far as the database can say it.
const whoAsks = (req) => transaction(req, (db, me) => ({ me }), 'READ ONLY')
	.then(({ me }) => me.id && me, () => null);

// Four parameters: that is how Express knows it.
app.use(async (error, req, res, next) => { // eslint-disable-line no-unused-vars
	if (error instanceof SessionEnded) return res.redirect(303, '/log-in');
	const status = statusOf(error);
	if (status >= 500) console.error(error);
	res.status(status).send(String(pages.refusal(status, status === 503 ? null : await whoAsks(req))));
});
