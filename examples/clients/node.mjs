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

// Every request: a transaction that begins with the Cookie header as it came.  Node
// gives its octets as characters of latin1; Buffer makes them octets again.  There
// is no session, or it is the transaction's identity, which row-level security
// trusts.  The identity ends with the transaction.  If the session has a setCookie,
// answer with that header: it lives longer now.
async function asUser(header, work) {
  const client = await pool.connect();
  let broken;
  try {
    await client.query('BEGIN');
    const { rows: [session] } = await client.query(
      `SELECT token, user_id AS "userId", data->>'device' AS device, set_cookie AS "setCookie"
       FROM narvik_authenticate_cookie($1::bytea)`,
      [Buffer.from(header, 'latin1')]);
    const result = await work(client, session);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch((lost) => { broken = lost; });
    throw error;
  } finally {
    client.release(broken);   // if it is broken, it does not return to the pool
  }
}

// These three return the Set-Cookie header to answer with.
const setCookie = ({ rows }) => rows[0].set_cookie;

// Something to remember of a visitor who has not logged in.
const remember = async (device) => setCookie(await pool.query(
  'SELECT narvik_create_cookie(token) AS set_cookie FROM narvik_create_guest_session($1)',
  [{ device }]));

// After the password was right: the guest's session becomes the user's.
const logIn = (header, userId) => asUser(header, async (client, session) => setCookie(await client.query(
  'SELECT narvik_create_cookie(token) AS set_cookie FROM narvik_promote_session($1, $2)',
  [session?.token, userId])));

const logOut = (header) => asUser(header, async (client) => setCookie(await client.query(
  `SELECT narvik_invalidate_session(narvik_current_session_id()),
          narvik_create_blank_cookie() AS set_cookie`)));

// ---- a visit ----------------------------------------------------------------

const other = 'city=Troms\xf8; ';   // whatever else the browser sends
const cookies = (setCookie) => other + setCookie.split(';')[0];

const request = (header) => asUser(header, async (client, session) => {
  console.log('request:', session ? `${session.userId ?? 'guest'} on a ${session.device}` : 'nobody');
  if (session?.setCookie) console.log('set cookie:', session.setCookie);
  const { rows } = await client.query('SELECT body FROM notes ORDER BY body');
  console.log('notes:', rows.map((row) => row.body).join(', ') || 'none');
});

await request(other);
const guest = cookies(await remember('laptop'));
await request(guest);
const loggedIn = await logIn(guest, 'alice');
console.log('log in:', loggedIn);
const alice = cookies(loggedIn);
await request(alice);
// Here twenty of its thirty days go by at once.
await asUser(alice, (client) => client.query(
  "SELECT narvik_update_session_expiry(narvik_current_session_id(), now() + interval '10 days')"));
await request(alice);
await request(alice);
console.log('log out:', await logOut(alice));
await request(alice);
await pool.end();
