// The application's door to PostgreSQL.  Where it is says the environment:
// PGHOST, PGDATABASE, PGUSER ...
import pg from 'pg';

pg.types.setTypeParser(pg.types.builtins.INT8, String);
const pages = new pg.Pool({ max: 10 });

// To look at a password keeps a processor busy for long.  Those who wait for that have
// these connections, and pages do not wait for them.
const passwords = new pg.Pool({ max: 2 });

// A connection can break at any time.  Who is using it gets an error of their own;
// this must not end the application.
for (const pool of [pages, passwords]) {
	pool.on('connect', (client) => {
		client.on('error', (error) => console.error('connection lost:', error.message));
	});
	pool.on('error', () => {});
}

// Who asks: one call, which makes the session the identity of the transaction.
// Row-level security trusts it.  There is always a row; without a valid session its
// session_id is NULL, and of a guest its id.
//   draft       what a guest has written
//   said        what the next page has to say
//   form_token  what only a page of this very session can know
//   set_cookie  an extended session's, which lives longer
//   dead        removes the cookie of a session that has ended
const WHO = `
	SELECT s.id AS session_id, s.token, s.user_id AS id, s.data ->> 'draft' AS draft, s.data -> 'said' AS said,
		(SELECT name FROM users WHERE id = s.user_id::bigint) AS name,
		encode(hmac('form', s.token, 'sha256'), 'hex') AS form_token, s.set_cookie, s.expires_at,
		CASE WHEN s.id IS NULL AND position(convert_to(narvik_cookie_name() || '=', 'UTF8') IN header) > 0
			THEN narvik_create_blank_cookie() END AS dead
	FROM (VALUES ($1::bytea)) AS request (header)
		LEFT JOIN narvik_authenticate_cookie(header) AS s ON true`;

// Its octets, which need be no text: Node gives them as characters of latin1.
const cookies = (request) => Buffer.from(request.headers.cookie ?? '', 'latin1');

// One request, one transaction, and a connection for nobody else: requests that
// share one share the identity.  work(db, me) returns what to answer; nothing
// is sent before the transaction has committed.  One that is READ ONLY neither
// extends the session nor counts as activity.
export async function transaction(request, work, mode = '', pool = pages) {
	const client = await pool.connect();
	const db = async (sql, ...values) => (await client.query(sql, values)).rows;
	let broken;
	try {
		await db(`BEGIN ${mode}`);
		const [me] = await db(WHO, cookies(request));
		const answer = await work(db, me);
		await db('COMMIT');
		return { ...answer, cookie: answer.cookie ?? me.set_cookie };
	} catch (error) {
		await db('ROLLBACK').catch((lost) => { broken = lost; });
		throw error;
	} finally {
		client.release(broken);
	}
}

export const withPassword = (request, work) => transaction(request, work, '', passwords);
