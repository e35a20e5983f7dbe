// The application's door to PostgreSQL.  Where it is says the environment:
// PGHOST, PGDATABASE, PGUSER ...
import pg from 'pg';

pg.types.setTypeParser(pg.types.builtins.INT8, String);
const pool = new pg.Pool({ max: 10 });

// A connection can break at any time.  Who is using it gets an error of his own;
// this must not end the application.
pool.on('connect', (client) => {
	client.on('error', (error) => console.error('connection lost:', error.message));
});
pool.on('error', () => {});

// Who asks, in one round trip: the session is validated and becomes the
// identity of the transaction, which row-level security trusts.  There is always
// a row; without a valid session its id is NULL.
//   set_cookie  what the browser has to be told, if anything: an extended
//               session's cookie lives longer, a dead session's has to go
//   form_token  what only a page of this very session can know
const WHO = `
	SELECT narvik_authenticate(token) AS id, s.id AS session_id,
		(SELECT name FROM users WHERE id = s.user_id::bigint) AS name,
		CASE WHEN s.extended THEN narvik_create_cookie(token)
			WHEN s.id IS NULL AND token IS NOT NULL THEN narvik_create_blank_cookie()
		END AS set_cookie,
		encode(hmac('form', token, 'sha256'), 'hex') AS form_token
	FROM narvik_read_cookie($1) AS token
		LEFT JOIN narvik_validate_session(token) AS s ON true`;

// One request, one transaction, and a connection for nobody else: requests that
// share one share the identity.  work(db, me) returns what to answer; nothing
// is sent before the transaction has committed.
export async function transaction(request, work) {
	const client = await pool.connect();
	const db = async (sql, ...values) => (await client.query(sql, values)).rows;
	let broken;
	try {
		await db('BEGIN');
		const [me] = await db(WHO, request.headers.cookie);
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
