// Sessions made by connect-pg-simple and Lucia, moved by examples/migration: each
// cookie that was valid before is valid after, for the same user, as long as it
// was; nothing else is.  docs/migration.md shows the scripts and their answers.
//
//   node move.mjs <project>     (PGHOST says where the server is)
import { spawnSync } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import pg from 'pg';
import session from 'express-session';
import connectPgSimple from 'connect-pg-simple';
import { sha256 } from '@oslojs/crypto/sha2';
import { encodeBase32LowerCaseNoPadding, encodeHexLowerCase } from '@oslojs/encoding';

globalThis.crypto ??= crypto.webcrypto;
const { Lucia } = await import('lucia');
const { NodePostgresAdapter } = await import('@lucia-auth/adapter-postgresql');

const project = process.argv[2];
const page = fs.readFileSync(`${project}/docs/migration.md`, 'utf8');
let failed = 0;

function is(got, wanted, what) {
  const ok = JSON.stringify(got) === JSON.stringify(wanted);
  if (!ok) failed++;
  console.log(`${ok ? 'ok' : 'not ok'} - ${what}`);
  if (!ok) console.log(`#   got ${JSON.stringify(got)}\n#   not ${JSON.stringify(wanted)}`);
}

// ---- a database with narvik, linked to its users ---------------------------

async function withDatabase(name, userTable, test) {
  const admin = new pg.Client({ database: 'postgres' });
  await admin.connect();
  await admin.query(`CREATE DATABASE ${name}`);
  await admin.end();
  const pool = new pg.Pool({ database: name });
  await pool.query(`CREATE EXTENSION narvik CASCADE; ${userTable};
    SELECT narvik_link_users('app_users')`);
  try {
    await test(pool, name);
  } finally {
    await pool.end();
  }
}

// Runs a script as the page says, and compares the page with both.  Before that,
// as the page says, to see what it would do.
function move(database, file, ...options) {
  const [, shown, answer] = page.match(new RegExp(
    `^File: \\[examples/migration/${file}\\]\\(.*?\\)\\n.*?^\`\`\`sql\\n(.*?)^\`\`\`\\n\\n\`\`\`text\\n(.*?)^\`\`\``, 'ms')) || [];
  const script = `${project}/examples/migration/${file}`;
  const text = fs.readFileSync(script, 'utf8');
  const before = stateOf(database);
  const dry = psql(database, text.replace(/^COMMIT;$/m, 'ROLLBACK;'), ...options);
  is([dry.stdout.replace(/[ \n]+$/gm, ''), stateOf(database)], [answer?.replace(/[ \n]+$/gm, ''), before],
    `${file} with ROLLBACK answers the same and changes nothing`);
  const first = run(database, file, ...options);
  is(first.status, 0, `${file} runs${first.stderr}`);
  is(shown, text, `${file} is what the page shows`);
  is(first.stdout.replace(/[ \n]+$/gm, ''), answer?.replace(/[ \n]+$/gm, ''), `${file} answers as the page shows`);
  return run(database, file, ...options);
}

// A user may have one session, but for those that are moved.
function psql(database, input, ...options) {
  return spawnSync('psql', ['-Xq', '-d', database, ...options], {
    input, encoding: 'utf8',
    env: { ...process.env, PGOPTIONS: '-c narvik.max_sessions_per_user=1 -c narvik.max_sessions_action=refuse' },
  });
}

function run(database, file, ...options) {
  return psql(database, '', ...options, '-f', `${project}/examples/migration/${file}`);
}

function stateOf(database) {
  return psql(database, `SELECT * FROM narvik_sessions;
    SELECT setconfig FROM pg_db_role_setting JOIN pg_database AS d ON d.oid = setdatabase
    WHERE datname = current_database()`).stdout;
}

// What the browser's Cookie header is worth now; in a connection of its own, as
// the script may have changed the settings of the database.
async function whoIs(database, cookie) {
  const client = new pg.Client({ database });
  await client.connect();
  const { rows } = await client.query(
    'SELECT user_id, data, expires_at FROM narvik_authenticate_cookie($1)', [`theme=dark; ${cookie}`]);
  await client.end();
  return rows[0];
}

async function logIn(database, cookie, user) {
  const client = new pg.Client({ database });
  await client.connect();
  const { rows } = await client.query('SELECT data FROM narvik_promote_session(narvik_read_cookie($1), $2)', [cookie, user]);
  await client.end();
  return rows[0].data;
}

// A slow machine is minutes late at most; a wrong time zone is hours off.
const near = (one, other) => Math.abs(one - other) < 15 * 60 * 1000;

// ---- connect-pg-simple ------------------------------------------------------

const secret = "it's a secret";
const day = 86400 * 1000;

// A request to an application that knows express-session; its Set-Cookie.
async function request(middleware, act) {
  const server = http.createServer((req, res) => middleware(req, res, () => { act(req.session); res.end(); }));
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const res = await fetch(`http://127.0.0.1:${server.address().port}/`);
  await res.text();
  server.close();
  return res.headers.get('set-cookie');
}

await withDatabase('express', `CREATE TABLE app_users (id bigint PRIMARY KEY);
    INSERT INTO app_users SELECT generate_series(1, 40)`, async (pool, database) => {
  await pool.query(`ALTER DATABASE ${database} SET narvik.session_expires_in = '1d'`);
  const table = createRequire(import.meta.url).resolve('connect-pg-simple/table.sql');
  await pool.query(fs.readFileSync(table, 'utf8'));
  const store = new (connectPgSimple(session))({ pool, pruneSessionInterval: false });
  const middleware = session({
    store, secret, resave: false, saveUninitialized: false, cookie: { maxAge: day },
  });

  // Many, so that every character of a signature that needs encoding occurs; and two
  // of each user.
  const userOf = (item) => Math.ceil(item / 2);
  const cookies = new Map();
  for (let item = 1; item <= 40; item++) {
    const sent = await request(middleware, (s) => { s.passport = { user: userOf(item) }; s.cart = [item]; });
    cookies.set(item, sent.split(';')[0]);
  }
  const visitor = (await request(middleware, (s) => { s.cart = ['a hat']; })).split(';')[0];
  const late = (await request(middleware, (s) => { s.passport = { user: 1 }; s.late = true; })).split(';')[0];
  await pool.query(`UPDATE session SET expire = now() - interval '1 minute' WHERE sess ->> 'late' = 'true'`);
  // Rows that narvik cannot have: each would have kept all others back.
  await pool.query(`INSERT INTO session (sid, sess, expire)
    SELECT 'bad' || n, sess::json, expire::timestamp FROM (VALUES
      (1, '{"passport": {"user": 1}, "name": "\\u0000"}', 'tomorrow'),
      (2, '{"passport": {"user": 1}, "name": "\\ud800"}', 'tomorrow'),
      (3, '{"passport": {"user": 1}, "size": 1e200000}', 'tomorrow'),
      (4, '{"passport": {"user": 1}}', 'infinity'),
      (5, '{"passport": {"user": ""}}', 'tomorrow'),
      (6, '{"passport": {"user": 41}}', 'tomorrow'),
      (7, '[{"passport": {"user": 1}}]', 'tomorrow'),
      (8, '1', 'tomorrow'),
      (9, 'null', 'tomorrow')) AS bad (n, sess, expire)`);
  is([...cookies.values()].join('').match(/%2B/) && [...cookies.values()].join('').match(/%2F/) && 'both',
    'both', 'signatures with + and / occur');

  const again = move(database, 'connect-pg-simple.sql', '-v', `secret=${secret}`);
  is([again.status, /duplicate|already/.test(again.stderr)], [3, true], 'a second time is an error');

  await pool.query("DELETE FROM session WHERE sess::text LIKE '%passport%'");
  const guests = run(database, 'connect-pg-simple.sql', '-v', `secret=${secret}`);
  is([guests.status, /already/.test(guests.stderr)], [3, true], 'with guests alone as well');

  const found = [], ends = [];
  for (const cookie of cookies.values()) {
    const s = await whoIs(database, cookie);
    found.push([s?.user_id, s?.data]);
    ends.push(near(s?.expires_at, Date.now() + day));
  }
  is(found, [...cookies.keys()].map((item) => [String(userOf(item)), { cart: [item] }]), 'every cookie finds its user, and data');
  is(ends.every((end) => end), true, 'until as long as before');
  const guest = await whoIs(database, visitor);
  is([guest?.user_id, guest?.data, near(guest?.expires_at, Date.now() + day)], [null, { cart: ['a hat'] }, true],
    'a visitor is a guest, with data, as long as before');
  is(await logIn(database, visitor, '1'), { cart: ['a hat'] }, 'who becomes a user at log-in');
  is(await whoIs(database, visitor), undefined, 'and the cookie of the guest is dead');
  is(await whoIs(database, late), undefined, 'what had expired has expired');

  is((await pool.query('SELECT count(*) FROM narvik_sessions')).rows[0].count, '41', 'and no more was moved');

  const { rows } = await pool.query('SELECT sid FROM session LIMIT 1');
  is(await whoIs(database, `connect.sid=${rows[0].sid}`), undefined, 'the sid of the old table opens nothing');
  is(await whoIs(database, `connect.sid=s%3A${rows[0].sid}.`), undefined, 'nor without its signature');
  store.close();
});

// ---- Lucia 3 ----------------------------------------------------------------

await withDatabase('lucia', `CREATE TABLE app_users (id text PRIMARY KEY);
    INSERT INTO app_users VALUES ('alice'), ('bob'), ('');
    CREATE TABLE user_session (
      id TEXT PRIMARY KEY,
      expires_at TIMESTAMPTZ NOT NULL,
      user_id TEXT NOT NULL,
      device TEXT,
      prefs JSON
    )`, async (pool, database) => {
  const lucia = new Lucia(new NodePostgresAdapter(pool, { user: 'app_users', session: 'user_session' }));
  const alice = await lucia.createSession('alice', { device: 'laptop' });
  const phone = await lucia.createSession('alice', { device: 'phone' });
  const bob = await lucia.createSession('bob', {});
  const cookie = (s) => lucia.createSessionCookie(s.id).serialize().split(';')[0];
  await pool.query(`UPDATE user_session SET expires_at = now() - interval '1 minute' WHERE user_id = 'bob'`);
  await pool.query(`INSERT INTO user_session VALUES
    ('bad1', 'infinity', 'alice', '', NULL),
    ('bad2', 'tomorrow', '', '', NULL),
    ('bad3', 'tomorrow', 'carol', '', NULL),
    ('bad4', 'tomorrow', 'alice', '', '"\\u0000"'),
    ('bad5', 'tomorrow', 'alice', '', '"\\ud800"'),
    ('bad6', 'tomorrow', 'alice', '', '1e200000')`);

  const again = move(database, 'lucia-3.sql');
  is([again.status, /duplicate|already/.test(again.stderr)], [3, true], 'a second time is an error');
  const s = await whoIs(database, cookie(alice));
  is([s?.user_id, s?.data], ['alice', { prefs: null, device: 'laptop' }], 'the cookie finds its user, and data');
  is(near(s?.expires_at, alice.expiresAt), true, 'as long as before');
  is((await whoIs(database, cookie(phone)))?.user_id, 'alice', 'and so does the other one of this user');
  is(await whoIs(database, cookie(bob)), undefined, 'what had expired has expired');
});

// ---- ids that are SHA-256 ---------------------------------------------------

await withDatabase('sha256', `CREATE TABLE app_users (id serial PRIMARY KEY, username text);
    INSERT INTO app_users (username) VALUES ('alice'), ('bob');
    CREATE TABLE user_session (
      id TEXT NOT NULL PRIMARY KEY,
      user_id INTEGER,
      expires_at TIMESTAMPTZ NOT NULL
    )`, async (pool, database) => {
  // As Narvik and Lucia's pages do it.
  async function createSession(userId, expiresAt) {
    const token = encodeBase32LowerCaseNoPadding(crypto.randomBytes(20));
    const id = encodeHexLowerCase(sha256(new TextEncoder().encode(token)));
    await pool.query('INSERT INTO user_session (id, user_id, expires_at) VALUES ($1, $2, $3)',
      [id, userId, expiresAt]);
    return token;
  }
  const ends = new Date(Date.now() + 20 * day);
  const alice = await createSession(1, ends);
  const phone = await createSession(1, ends);
  const bob = await createSession(2, new Date(Date.now() - 1000));
  await createSession(1, Infinity);
  await createSession(3, ends);
  await createSession(null, ends);
  await pool.query(`INSERT INTO user_session VALUES ('no hash', 1, 'tomorrow')`);

  const again = move(database, 'sha-256-ids.sql', '-v', 'table=user_session');
  is([again.status, /duplicate|already/.test(again.stderr)], [3, true], 'a second time is an error');
  const s = await whoIs(database, `narvik_session=${alice}`);
  is([s?.user_id, s?.data], ['1', {}], 'the token finds its user');
  is(near(s?.expires_at, ends), true, 'as long as before');
  is((await whoIs(database, `narvik_session=${phone}`))?.user_id, '1', 'and so does the other one of this user');
  is(await whoIs(database, `narvik_session=${bob}`), undefined, 'what had expired has expired');
});

process.exitCode = failed ? 1 : 0;
