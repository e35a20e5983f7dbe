// The same application for each contestant: a page of the user's notes, for whoever
// is logged in.  One process, 20 connections to the database.
//
//   node app.js no_session|redis|connect_pg|hand|narvik|narvik_rls|narvik_rls_one
//
// Prints the port that it listens on.
import express from 'express';
import session from 'express-session';
import { RedisStore } from 'connect-redis';
import connectPg from 'connect-pg-simple';
import { createClient } from 'redis';
import { createHash, randomBytes } from 'node:crypto';
import pg from 'pg';
import postgres from 'postgres';

const connections = 20;
const pool = new pg.Pool({ max: connections });
const queryOn = (pool) => async (name, text, ...values) => (await pool.query({ name, text, values })).rows;
const query = queryOn(pool);
const notesOf = (user) => query('notes', 'SELECT id, body FROM notes WHERE owner = $1', user);

// What express-session and a store of it do at each request is their own; after that the
// application asks for the notes.
function expressSession(app, store) {
	app.use(session({ store, secret: 'secret', resave: false, saveUninitialized: false,
		cookie: { maxAge: 30 * 24 * 3600 * 1000 } }));
	return {
		logIn: async (request, _response, user) => { request.session.user = user; },
		notes: async (request) => request.session.user && notesOf(request.session.user),
	};
}

const cookieOf = (request) => request.headers.cookie ?? '';

const contestants = {
	// What a request costs besides its session: it believes whoever says who they are.
	async no_session() {
		return {
			logIn: async (_request, response, user) => { response.cookie('user', user); },
			notes: (request) => notesOf(/^user=(.*)/.exec(cookieOf(request))?.[1] ?? ''),
		};
	},

	async redis(app) {
		const client = createClient({ url: process.env.REDIS });
		await client.connect();
		return expressSession(app, new RedisStore({ client }));
	},

	async connect_pg(app) {
		return expressSession(app, new (connectPg(session))({ pool }));
	},

	// A table of sessions as tutorials have it: look the session up, then ask for the notes.
	async hand() {
		const id = (token) => createHash('sha256').update(token).digest();
		return {
			async logIn(_request, response, user) {
				const token = randomBytes(20).toString('hex');
				await query('create', "INSERT INTO hand_sessions VALUES ($1, $2, now() + interval '30 days')", id(token), user);
				response.cookie('session', token);
			},
			async notes(request) {
				const token = /(?:^|; )session=([^;]*)/.exec(cookieOf(request))?.[1] ?? '';
				const [found] = await query('find', 'SELECT user_id FROM hand_sessions WHERE id = $1 AND expires_at > now()', id(token));
				return found && notesOf(found.user_id);
			},
		};
	},

	// Session and notes in one statement.
	async narvik() {
		return {
			logIn: narvikLogIn,
			async notes(request, response) {
				const rows = await query('notes', `SELECT r.set_cookie, n.id, n.body
					FROM narvik_authenticate_cookie($1::text) AS r LEFT JOIN notes AS n ON n.owner = r.user_id`, cookieOf(request));
				return page(rows, response);
			},
		};
	},

	// The application's query does not say whose notes: row-level security does.  All four
	// statements are one round trip.
	async narvik_rls() {
		const sql = postgres({ max: connections, user: 'bench_app' });
		return {
			logIn: narvikLogIn,
			notes: (request, response) => sql.begin(async (sql) => {
				const [[who], notes] = await Promise.all([
					sql`SELECT set_cookie FROM narvik_authenticate_cookie(${cookieOf(request)}::text)`,
					sql`SELECT id, body FROM notes`,
				]);
				if (who?.set_cookie) response.append('Set-Cookie', who.set_cookie);
				return who && notes;
			}),
		};
	},

	// The same in one statement, which says the order.
	async narvik_rls_one() {
		const queryAsApp = queryOn(new pg.Pool({ max: connections, user: 'bench_app' }));
		return {
			logIn: narvikLogIn,
			async notes(request, response) {
				const rows = await queryAsApp('notes', `SELECT r.set_cookie, n.id, n.body
					FROM narvik_authenticate_cookie($1::text) AS r
					LEFT JOIN LATERAL (SELECT id, body FROM notes WHERE r.id IS NOT NULL OFFSET 0) AS n ON true`, cookieOf(request));
				return page(rows, response);
			},
		};
	},
};

// The answer of a statement that joins the session and its user's notes.
function page(rows, response) {
	if (rows[0]?.set_cookie) response.append('Set-Cookie', rows[0].set_cookie);
	return rows.length && rows.filter((row) => row.id).map(({ id, body }) => ({ id, body }));
}

async function narvikLogIn(_request, response, user) {
	const [{ cookie }] = await query('create', 'SELECT narvik_create_cookie(token) AS cookie FROM narvik_create_session($1)', user);
	response.append('Set-Cookie', cookie);
}

const app = express();
const contestant = await contestants[process.argv[2]](app);
app.get('/log-in/:user', async (request, response) => {
	await contestant.logIn(request, response, request.params.user);
	response.end();
});
app.get('/notes', async (request, response) => {
	const notes = await contestant.notes(request, response);
	if (notes) response.json(notes);
	else response.status(401).end();
});
const server = app.listen(0, '127.0.0.1', () => console.log(server.address().port));
