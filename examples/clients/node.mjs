// Sessions of narvik from Node, with the driver pg.
// Connects as PGHOST, PGDATABASE, PGUSER and so on say; see setup.sql.
import pg from 'pg';

// One connection, one request at a time: requests that share one share the identity.
// A transaction is on a connection of its own, not on pool.query(), which takes
// another one for each statement.
const pool = new pg.Pool();

// A connection can break at any time.  Who uses it gets an error; this must not
// end the process.
pool.on('connect', (client) => client.on('error', () => {}));
pool.on('error', () => {});

// After the password was right: the Set-Cookie header to answer with.
async function logIn(userId, device) {
  const { rows } = await pool.query(
    'SELECT narvik_create_cookie(token) AS set_cookie FROM narvik_create_session($1, $2)',
    [userId, { device }]);
  return rows[0].set_cookie;
}

// On every request, with its Cookie header: who it is, or undefined.  If there
// is a setCookie, answer with that header: the session lives longer now.
async function validate(cookies) {
  const { rows } = await pool.query(
    `SELECT s.user_id AS "userId", s.data->>'device' AS device,
            CASE WHEN s.new OR s.extended THEN narvik_create_cookie(token) END AS "setCookie"
     FROM narvik_read_cookie($1) AS token, narvik_validate_session(token) AS s`,
    [cookies]);
  return rows[0];
}

// Work with the database as this user.  Row-level security shows her rows, and
// the identity ends with the transaction: the next one in the pool is nobody.
async function asUser(cookies, work) {
  const client = await pool.connect();
  let broken;
  try {
    await client.query('BEGIN');
    await client.query('SELECT narvik_authenticate(narvik_read_cookie($1))', [cookies]);
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch((lost) => { broken = lost; });
    throw error;
  } finally {
    client.release(broken);   // if it is broken, it does not return to the pool
  }
}

// The Set-Cookie header that removes the cookie of the session that is gone.
async function logOut(cookies) {
  const { rows } = await pool.query(
    `SELECT narvik_invalidate_session(narvik_session_id(narvik_read_cookie($1))),
            narvik_create_blank_cookie() AS set_cookie`,
    [cookies]);
  return rows[0].set_cookie;
}

// ---- a visit ----------------------------------------------------------------

async function notes(cookies) {
  const { rows } = await asUser(cookies, (client) => client.query('SELECT body FROM notes ORDER BY body'));
  console.log('notes:', rows.map((row) => row.body).join(', ') || 'none');
}

async function request(cookies) {
  const session = await validate(cookies);
  console.log('request:', session ? `${session.userId} on a ${session.device}` : 'not logged in');
  if (session?.setCookie) console.log('set cookie:', session.setCookie);
}

await request('theme=dark');
await notes('theme=dark');
const setCookie = await logIn('alice', 'laptop');
console.log('log in:', setCookie);
const cookies = 'theme=dark; ' + setCookie.split(';')[0];   // what a browser sends from now on
await request(cookies);
await notes(cookies);
// Here twenty of its thirty days go by at once.
await pool.query(
  `SELECT narvik_update_session_expiry(narvik_session_id(narvik_read_cookie($1)), now() + interval '10 days')`,
  [cookies]);
await request(cookies);
await request(cookies);
console.log('log out:', await logOut(cookies));
await request(cookies);
await notes(cookies);
await pool.end();
