// Sessions of the JavaScript library Narvik, stored by the extension, with the
// driver pg.  Connects as PGHOST, PGDATABASE, PGUSER and so on say; see setup.sql.
import pg from 'pg';
import { Narvik } from 'narvik';
import { narvikStorage } from './narvik-storage.mjs';

// One connection, one request at a time: requests that share one share the identity.
// A transaction is on a connection of its own, not on pool.query(), which takes
// another one for each statement.
const pool = new pg.Pool();

// A connection can break at any time.  Who uses it gets an error; this must not
// end the process.
pool.on('connect', (client) => client.on('error', () => {}));
pool.on('error', () => {});
const narvik = new Narvik({ data: narvikStorage(pool) });

// Narvik reads no Cookie header; web frameworks do.
function token(cookies) {
  const name = narvik.cookieName + '=';
  return cookies.split('; ').find((cookie) => cookie.startsWith(name))?.slice(name.length) ?? '';
}

// After the password was right: the Set-Cookie header to answer with.
async function logIn(cookies, userId, device) {
  await logOut(cookies);
  const created = await narvik.createSession(userId, { device });
  return narvik.createCookie(created.token).serialize();
}

// Every request: who it is, or null.  If there is a setCookie, answer with that
// header: the session lives longer now.  To work with the database as this user is
// the extension's part: it finds Narvik's sessions, and row-level security trusts it.
async function asUser(cookies, work) {
  const session = await narvik.validateSession(token(cookies));
  if (session?.extended) session.setCookie = narvik.createCookie(token(cookies)).serialize();
  const client = await pool.connect();
  let broken;
  try {
    await client.query('BEGIN');
    await client.query('SELECT narvik_authenticate($1)', [token(cookies)]);
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

// The Set-Cookie header that removes the cookie of the session that is gone.
async function logOut(cookies) {
  const session = await narvik.validateSession(token(cookies));
  if (session) await narvik.invalidateSession(session.id);
  return narvik.createBlankCookie().serialize();
}

// ---- a visit ----------------------------------------------------------------

const other = 'theme=dark; ';   // whatever else the browser sends

const request = (cookies) => asUser(cookies, async (client, session) => {
  console.log('request:', session ? `${session.userId} on a ${session.device}` : 'nobody');
  if (session?.setCookie) console.log('set cookie:', session.setCookie);
  const { rows } = await client.query('SELECT body FROM notes ORDER BY body');
  console.log('notes:', rows.map((row) => row.body).join(', ') || 'none');
});

await request(other);
const loggedIn = await logIn(other, 'alice', 'laptop');
console.log('log in:', loggedIn);
const alice = other + loggedIn.split(';')[0];
await request(alice);
// Here twenty of its thirty days go by at once.
const { id } = await narvik.validateSession(token(alice));
await narvikStorage(pool).updateSessionExpiry(id, new Date(Date.now() + 10 * 24 * 60 * 60 * 1000));
await request(alice);
await request(alice);
console.log('log out:', await logOut(alice));
await request(alice);
await pool.end();
