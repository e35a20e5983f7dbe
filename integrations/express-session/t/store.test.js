'use strict';

// As the role of an application, which narvik_grant was called for; `owner` looks
// into the table, and does what other servers of the application would.

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const { createHash, randomBytes } = require('node:crypto');
const { after, beforeEach, mock, test } = require('node:test');
const { promisify } = require('node:util');
const express = require('express');
const session = require('express-session');
const { Pool } = require('pg');
const { NarvikStore } = require('narvik-express-session');

const owner = new Pool();
const pool = new Pool({ user: 'webapp' });
for (const each of [owner, pool]) each.on('error', () => {});
const store = new NarvikStore({ pool });
const closing = [() => owner.end(), () => pool.end()];

after(() => Promise.all(closing.map((close) => close())));
beforeEach(() => owner.query('DELETE FROM narvik.narvik_sessions'));

// ---- what the tests say it with ---------------------------------------------

const call = (of, method, ...values) => new Promise((resolve, reject) => {
  of[method](...values, (error, value) => error ? reject(error) : resolve(value));
});
const get = (sid, of = store) => call(of, 'get', sid);
const set = (sid, sess, of = store) => call(of, 'set', sid, sess);
const touch = (sid, sess, of = store) => call(of, 'touch', sid, sess);
const destroy = (sid, of = store) => call(of, 'destroy', sid);

const newSid = () => randomBytes(18).toString('base64url');
const idOf = (sid) => createHash('sha256').update(sid).digest('hex');
const logOutElsewhere = (sid) => owner.query('SELECT narvik.narvik_invalidate_session($1)', [idOf(sid)]);
const expire = (sid) => owner.query('SELECT narvik.narvik_update_session_expiry($1, now())', [idOf(sid)]);
const cookie = (maxAge = 60000) => ({
  originalMaxAge: maxAge,
  expires: maxAge === null ? null : new Date(Date.now() + maxAge).toISOString(),
  httpOnly: true,
  path: '/',
});

async function row(sid) {
  const { rows } = await owner.query(`SELECT *, extract(epoch FROM expires_at - now())::float8 AS seconds, xmin::text
    FROM narvik.narvik_sessions WHERE id = decode($1, 'hex')`, [idOf(sid)]);
  return rows[0];
}

async function secondsLeft(sid, expected) {
  const { seconds } = await row(sid);
  assert.ok(Math.abs(seconds - expected) < 20, `${seconds} seconds left, not about ${expected}`);
}

// An application, and browsers that send the cookie they were given.
async function serve(routes, options = {}) {
  const app = express();
  app.use(session({
    secret: 'secret', resave: false, saveUninitialized: false, cookie: { maxAge: 60000 }, store, ...options,
  }));
  for (const [path, handler] of Object.entries(routes)) app.get(path, handler);
  app.use((error, req, res, next) => res.headersSent ? next(error) : res.status(500).send(error.message));
  const server = await new Promise((resolve) => { const it = app.listen(0, '127.0.0.1', () => resolve(it)); });
  closing.push(() => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); }));
  return () => {
    const browser = async (path) => {
      const answer = await fetch(`http://127.0.0.1:${server.address().port}${path}`,
        { headers: browser.cookie ? { cookie: browser.cookie } : {} });
      browser.cookie = answer.headers.get('set-cookie')?.split(';')[0] ?? browser.cookie;
      return `${answer.status} ${await answer.text()}`;
    };
    return browser;
  };
}

const sidOf = (browser) => decodeURIComponent(browser.cookie.split('=')[1]).slice(2).split('.')[0];
const logIn = (req, res) => { req.session.userId = 'alice'; res.send('hello'); };
const who = (req, res) => res.send(req.session.userId ?? 'nobody');

// A route that waits in the middle of a request until it is let go.
function slow(handler) {
  let here, go;
  const arrived = new Promise((resolve) => { here = resolve; });
  const let_go = new Promise((resolve) => { go = resolve; });
  return { arrived, go, route: async (req, res) => { here(); await let_go; handler(req, res); } };
}

// ---- the Store API ----------------------------------------------------------

test('no session is null', async () => {
  assert.equal(await get(newSid()), null);
});

test('what was set is what get gives, all of it and no more', async () => {
  const sid = newSid();
  await set(sid, { cookie: cookie(), cart: [1, { two: null }], theme: 'dark' });
  const sess = await get(sid);
  delete sess.theme;
  sess.cart.push('three');
  await set(sid, sess);
  const { cookie: sent, ...rest } = await get(sid);
  assert.deepEqual(rest, { cart: [1, { two: null }, 'three'] });
  assert.equal(sent.originalMaxAge, 60000);
});

test('any object is stored, over a live session too', async () => {
  const sid = newSid();
  await set(sid, { cookie: cookie(), n: 1 });
  await set(sid, { cookie: cookie(), n: 2 });
  assert.equal((await get(sid)).n, 2);
});

test('a session that get gave can be stored under another ID', async () => {
  const [sid, other] = [newSid(), newSid()];
  await set(sid, { cookie: cookie(), n: 1 });
  await set(other, await get(sid));
  assert.equal((await get(other)).n, 1);
});

test('destroy ends a session, and none is no error', async () => {
  const sid = newSid();
  await set(sid, { cookie: cookie() });
  await destroy(sid);
  assert.equal(await get(sid), null);
  await destroy(sid);
});

test('callbacks are optional', async () => {
  const sid = newSid();
  store.set(sid, { cookie: cookie(), n: 1 });
  store.touch(sid, { cookie: cookie() });
  store.destroy(sid);
  await destroy(sid);
  assert.equal(await get(sid), null);
});

test('what is written at once without waiting is done in that order', async () => {
  for (let i = 0; i < 20; i++) {
    const sid = newSid();
    const sess = { cookie: cookie(), n: 1, ballast: 'x'.repeat(100000) };
    store.set(sid, sess);
    delete sess.ballast;
    sess.n = 2;
    await set(sid, sess);
    assert.equal((await get(sid)).n, 2);
    sess.ballast = 'x'.repeat(100000);
    store.set(sid, { ...sess });
    await destroy(sid);
    assert.equal(await get(sid), null);
  }
});

test('a session is stored as it is when set is called', async () => {
  const sid = newSid();
  const sess = { cookie: cookie(), n: 1 };
  const done = set(sid, sess);
  sess.n = 2;
  await done;
  assert.equal((await get(sid)).n, 1);
});

test('all, length and clear are not of this store', () => {
  assert.deepEqual([store.all, store.length, store.clear], [undefined, undefined, undefined]);
});

test('what a callback throws is uncaught, as of any callback', async () => {
  const script = `const { NarvikStore } = require('narvik-express-session');
    process.on('uncaughtException', (error, origin) => { console.log(origin, error.message); process.exit(); });
    new NarvikStore({ connection: { user: 'webapp' } }).get('x', () => { throw new Error('mine'); });`;
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', script]);
  assert.equal(stdout, 'uncaughtException mine\n');
});

// ---- what the database sees -------------------------------------------------

test('the database has the SHA-256 of the session ID, and nowhere the ID', async () => {
  const browser = (await serve({ '/': logIn }))();
  await browser('/');
  const sid = sidOf(browser);
  assert.equal((await owner.query('SELECT narvik.narvik_session_id($1) AS id', [sid])).rows[0].id, idOf(sid));
  const stored = await row(sid);
  assert.equal(stored.id.toString('hex'), idOf(sid));
  assert.ok(!JSON.stringify(stored).includes(sid));
});

test('the user is passport.user, else userId, else nobody, as of each save', async () => {
  const sid = newSid();
  for (const [sess, user] of [
    [{}, null], [{ userId: 'alice' }, 'alice'], [{ userId: 7 }, '7'], [{ passport: {} }, null],
    [{ passport: { user: 'bob' }, userId: 'alice' }, 'bob'], [{ userId: null }, null],
  ]) {
    await set(sid, { cookie: cookie(), ...sess });
    assert.equal((await row(sid)).user_id, user);
  }
});

test('the option userId says who the user is', async () => {
  const sid = newSid();
  await set(sid, { cookie: cookie(), account: '9007199254740993' },
    new NarvikStore({ pool, userId: (sess) => BigInt(sess.account) }));
  assert.equal((await row(sid)).user_id, '9007199254740993');
});

test('a user who is no string or number is an error, not a guest', async () => {
  await assert.rejects(set(newSid(), { cookie: cookie(), passport: { user: { id: 1 } } }), /option userId/);
  await assert.rejects(set(newSid(), { cookie: cookie() }, new NarvikStore({ pool, userId: () => 'a\ud800' })),
    /the user of a session holds a NUL or half/);
  await assert.rejects(set(newSid(), { cookie: cookie(), userId: '' }), { code: '22023' });
});

test('a schema can be named', async () => {
  const elsewhere = new NarvikStore({ connection: { user: 'webapp', options: '-csearch_path=pg_catalog' }, schema: 'narvik' });
  const odd = new NarvikStore({ pool, schema: 'no "such' });
  const sid = newSid();
  const sess = { cookie: cookie(), n: 1 };
  await set(sid, sess, elsewhere);
  await touch(sid, { cookie: cookie(120000) }, elsewhere);
  assert.equal((await get(sid, elsewhere)).n, 1);
  await destroy(sid, elsewhere);
  await elsewhere.close();
  await assert.rejects(get(sid, odd), /"no "such" does not exist/);
});

test('what has no cookie in its data was stored by others: no session, and it stays as it is', async () => {
  const { rows: [{ token }] } = await owner.query("SELECT token FROM narvik.narvik_create_session('alice')");
  assert.equal(await get(token), null);
  for (const options of [{}, { resave: true, rolling: true, saveUninitialized: true }]) {
    const browser = (await serve({
      '/in': logIn, '/who': who,
      '/new': (req, res) => req.session.regenerate(() => res.send('new')),
      '/out': (req, res) => req.session.destroy(() => res.send('bye')),
    }, options))();
    for (const odd of [null, 'text', 1, true]) {
      for (const [path, answer] of [['/who', 'nobody'], ['/in', 'hello'], ['/new', 'new'], ['/out', 'bye']]) {
        await browser('/in');
        const sid = sidOf(browser);
        await owner.query('SELECT narvik.narvik_update_session_data($1, $2)', [idOf(sid), { cookie: odd }]);
        const { xmin } = await row(sid);
        assert.equal(await browser(path), `200 ${answer}`);
        assert.equal((await row(sid)).xmin, xmin, `${path} ${odd}`);
      }
    }
  }
});

// ---- logged out meanwhile ---------------------------------------------------

test('a session logged out elsewhere does not come back when it is saved', async () => {
  const sid = newSid();
  await set(sid, { cookie: cookie(), userId: 'alice' });
  const sess = await get(sid);
  await logOutElsewhere(sid);
  await set(sid, sess);
  await touch(sid, sess);
  await set(sid, sess);
  assert.equal(await row(sid), undefined);
});

test('nor does one that another process has logged out', async () => {
  const other = new NarvikStore({ pool: owner, schema: 'narvik' });
  const sid = newSid();
  await set(sid, { cookie: cookie(), userId: 'alice' });
  const [mine, theirs] = [await get(sid), await get(sid, other)];
  await destroy(sid, other);
  await set(sid, mine);
  await set(sid, theirs, other);
  assert.equal(await row(sid), undefined);
});

test('nor does one that was saved for the first time, logged out, and saved again', async () => {
  const sid = newSid();
  const sess = { cookie: cookie(), userId: 'alice' };
  await set(sid, sess);
  await logOutElsewhere(sid);
  await set(sid, sess);
  assert.equal(await row(sid), undefined);
});

test('nor does one that expired during the request', async () => {
  const sid = newSid();
  await set(sid, { cookie: cookie(), userId: 'alice' });
  const sess = await get(sid);
  await expire(sid);
  await set(sid, sess);
  assert.equal(await get(sid), null);
});

test('nor does one of a request in flight, however the application saves it', async () => {
  for (const [how, options] of [
    [(req, res) => { req.session.n = 1; res.send('done'); }],
    [(req, res) => res.send('done')],
    [(req, res) => res.send('done'), { resave: true }],
    [(req, res) => res.send('done'), { rolling: true }],
    [(req, res) => { req.session.n = 1; req.session.save(() => res.send('done')); }],
    [(req, res) => { req.session.cookie.maxAge = 3600000; res.send('done'); }],
  ]) {
    const { arrived, go, route } = slow(how);
    const browser = (await serve({ '/in': logIn, '/slow': route, '/who': who }, options))();
    await browser('/in');
    const sid = sidOf(browser);
    const answer = browser('/slow');
    await arrived;
    await logOutElsewhere(sid);
    go();
    assert.equal(await answer, '200 done');
    assert.equal(await row(sid), undefined, `${how} ${JSON.stringify(options)}`);
    assert.equal(await browser('/who'), '200 nobody');
  }
});

test('nor does one that was reloaded before', async () => {
  const { arrived, go, route } = slow((req, res) => { req.session.n = 1; res.send('done'); });
  const browser = (await serve({ '/in': logIn, '/slow': (req, res) => req.session.reload(() => route(req, res)) }))();
  await browser('/in');
  const answer = browser('/slow');
  await arrived;
  await logOutElsewhere(sidOf(browser));
  go();
  assert.equal(await answer, '200 done');
  assert.equal(await row(sidOf(browser)), undefined);
});

test('nor does one that its own request has destroyed', async () => {
  const browser = (await serve({
    '/in': logIn,
    '/out': (req, res) => {
      const sess = req.session;
      sess.n = 1;
      sess.save();
      sess.destroy(() => sess.save(() => res.send('bye')));
    },
  }))();
  await browser('/in');
  assert.equal(await browser('/out'), '200 bye');
  assert.equal(await row(sidOf(browser)), undefined);
});

// ---- regenerate, requests at once -------------------------------------------

test('the ID from before the log-in is dead, also for a request in flight', async () => {
  const { arrived, go, route } = slow((req, res) => { req.session.cart = [1, 2]; res.send('done'); });
  const newBrowser = await serve({
    '/cart': (req, res) => { req.session.cart = [1]; res.send('kept'); },
    '/in': (req, res) => req.session.regenerate(() => { req.session.userId = 'alice'; res.send('hello'); }),
    '/slow': route,
    '/who': who,
  });
  const [browser, thief] = [newBrowser(), newBrowser()];
  await browser('/cart');
  const guest = sidOf(browser);
  thief.cookie = browser.cookie;
  const answer = thief('/slow');
  await arrived;
  assert.equal(await browser('/in'), '200 hello');
  go();
  assert.equal(await answer, '200 done');
  assert.notEqual(sidOf(browser), guest);
  assert.equal(await row(guest), undefined);
  assert.equal(await thief('/who'), '200 nobody');
  assert.equal(await browser('/who'), '200 alice');
});

test('of two requests at once both end well, and the last to save wins as a whole', async () => {
  const [a, b] = ['a', 'b'].map((key) => slow((req, res) => { req.session[key] = 1; res.send('done'); }));
  const browser = (await serve({
    '/in': logIn, '/a': a.route, '/b': b.route,
    '/keys': (req, res) => res.send(Object.keys(req.session).sort().join()),
  }))();
  await browser('/in');
  const answers = [browser('/a'), browser('/b')];
  await Promise.all([a.arrived, b.arrived]);
  a.go();
  assert.equal(await answers[0], '200 done');
  b.go();
  assert.equal(await answers[1], '200 done');
  assert.equal(await browser('/keys'), '200 b,cookie,userId');
});

test('of many requests of many browsers at once none fails, and each keeps its session', async () => {
  const newBrowser = await serve({
    '/in/:name': (req, res) => { req.session.userId = req.params.name; res.send('hello'); },
    '/count': (req, res) => { req.session.n = (req.session.n ?? 0) + 1; res.send(req.session.userId); },
  });
  await Promise.all(Array.from({ length: 8 }, async (_, i) => {
    const browser = newBrowser();
    await browser(`/in/user${i}`);
    const answers = await Promise.all(Array.from({ length: 10 }, () => browser('/count')));
    assert.deepEqual(new Set(answers), new Set([`200 user${i}`]));
  }));
  assert.equal((await owner.query('SELECT count(*)::int AS n FROM narvik.narvik_sessions')).rows[0].n, 8);
});

// ---- expiry -----------------------------------------------------------------

test('touch extends a live session, its data stays as others have left it', async () => {
  const sid = newSid();
  await set(sid, { cookie: cookie(60000), n: 1 });
  const sess = await get(sid);
  await set(sid, { cookie: cookie(60000), n: 2 });
  sess.cookie.expires = new Date(Date.now() + 3600000);
  await touch(sid, sess);
  await secondsLeft(sid, 3600);
  const found = await get(sid);
  assert.equal(found.n, 2);
  assert.ok(Math.abs(new Date(found.cookie.expires) - sess.cookie.expires) < 20000, 'the cookie expires with the row');
  sess.cookie = cookie(7200000);
  await touch(sid, sess);
  await secondsLeft(sid, 7200);
  sess.cookie.originalMaxAge--; // As express-session's own touch() may do.
  await touch(sid, sess);
  assert.deepEqual((({ n, cookie: { originalMaxAge } }) => [n, originalMaxAge])(await get(sid)), [2, 7200000]);
});

test('touch of what is dead or has expired does not bring it back', async () => {
  const [dead, expired] = [newSid(), newSid()];
  await set(expired, { cookie: cookie() });
  await expire(expired);
  for (const sid of [dead, expired]) {
    await touch(sid, { cookie: cookie() });
    assert.equal(await get(sid), null);
  }
});

test('a request that changes nothing touches, one that changes its cookie keeps that too', async () => {
  const browser = (await serve({
    '/in': logIn,
    '/read': who,
    '/longer': (req, res) => { req.session.cookie.maxAge = 3600000; res.send('done'); },
    '/age': (req, res) => res.send(String(Math.round(req.session.cookie.originalMaxAge / 1000))),
  }))();
  await browser('/in');
  const sid = sidOf(browser);
  const before = await row(sid);
  await browser('/read');
  const touched = await row(sid);
  assert.ok(touched.expires_at > before.expires_at);
  assert.deepEqual(touched.data, before.data);
  await browser('/longer');
  await secondsLeft(sid, 3600);
  assert.equal(await browser('/age'), '200 3600');
  await secondsLeft(sid, 3600);
  assert.equal((await row(sid)).user_id, 'alice');
});

test('with disableTouch, reading extends nothing', async () => {
  const browser = (await serve({ '/in': logIn, '/read': who }, { store: new NarvikStore({ pool, disableTouch: true }) }))();
  await browser('/in');
  const before = await row(sidOf(browser));
  assert.equal(await browser('/read'), '200 alice');
  assert.equal((await row(sidOf(browser))).xmin, before.xmin);
});

test('a cookie that ends with the browser: the session lives for ttl seconds', async () => {
  const sid = newSid();
  for (const ends of [cookie(null), { ...cookie(), expires: false }]) {
    await set(sid, { cookie: ends });
    await secondsLeft(sid, 86400);
    assert.equal((await get(sid)).cookie.expires || null, null);
  }
  const brief = new NarvikStore({ pool, ttl: 600 });
  await set(sid, { cookie: cookie(null) }, brief);
  await secondsLeft(sid, 600);
  await touch(sid, { cookie: cookie(null) });
  await secondsLeft(sid, 86400);
});

test('an expiry in the past ends the session', async () => {
  const sid = newSid();
  for (const end of [set, touch]) {
    await set(sid, { cookie: cookie() });
    assert.ok(await get(sid));
    await end(sid, { cookie: cookie(-5000) });
    assert.equal(await get(sid), null);
    await end(newSid(), { cookie: { expires: new Date(-8.64e15) } });
  }
});

test('an expiry as far away as a Date can be, and one that is none', async () => {
  const sid = newSid();
  await set(sid, { cookie: { expires: new Date(8.64e15) } });
  assert.equal(new Date((await get(sid)).cookie.expires).getUTCFullYear(), 275760);
  await set(sid, { cookie: { expires: new Date(NaN) } });
  await secondsLeft(sid, 86400);
});

test('the clock of the application does not matter', async (t) => {
  const sid = newSid();
  const real = Date.now;
  for (const skew of [-86400e3, 86400e3]) {
    const shifted = mock.method(Date, 'now', () => real() + skew);
    t.after(() => shifted.mock.restore());
    await set(sid, { cookie: cookie(600000), n: 1 });
    await secondsLeft(sid, 600);
    assert.equal((await get(sid)).n, 1);
    await touch(sid, { cookie: cookie(1200000) });
    await secondsLeft(sid, 1200);
    shifted.mock.restore();
    const seen = new Date((await get(sid)).cookie.expires) - Date.now();
    assert.ok(Math.abs(seen - 1200000) < 20000, 'another clock sees the same time left');
  }
});

// ---- odd values -------------------------------------------------------------

test('NUL and half of a surrogate pair are an error, and the session stays as it was', async () => {
  const sid = newSid();
  await set(sid, { cookie: cookie(), n: 1 });
  for (const odd of [
    { text: 'a\0b' }, { text: '\ud83d' }, { text: '\udc00\ud800' }, { list: [{ deep: '\\\0' }] }, { 'key\0': 1 },
    { 'key\udfff': 1 }, { text: '\\\\\ud8ff' },
  ]) {
    const sess = await get(sid);
    await assert.rejects(set(sid, Object.assign(sess, odd)),
      { name: 'TypeError', message: /a session holds a NUL or half of a surrogate pair/ });
    await assert.rejects(touch(sid, { cookie: { ...cookie(), ...odd } }), /a cookie holds a NUL or half/);
  }
  assert.deepEqual((({ cookie: _, ...rest }) => rest)(await get(sid)), { n: 1 });
});

test('text that only looks like that, and all other text, is kept', async () => {
  const sid = newSid();
  const data = {
    looks: ['\\u0000', '\\\\u0000', '\\ud800', '\\\\\\udfff', 'u0000', '\\'], pair: '\u{1f600}', last: '\uffff\ue000',
    controls: '\u0001\b\t\n\u001f"\u007f', backslashes: '\\'.repeat(100001) + 'u0000',
  };
  await set(sid, { cookie: cookie(), ...data });
  const { cookie: _, ...rest } = await get(sid);
  assert.deepEqual(rest, data);
});

test('keys and values of any kind come back as JSON would give them', async () => {
  const sid = newSid();
  const sess = JSON.parse('{"__proto__": {"x": 1}, "": 0, "1": [], "constructor": "c", "é 😀": {"$": null}}');
  Object.assign(sess, {
    cookie: cookie(null), at: new Date(0), not: NaN, tiny: 5e-324, huge: 1.7976931348623157e308,
    long: 9007199254740991, no: undefined, f: () => 1, [Symbol('s')]: 1, bool: false, empty: {},
  });
  await set(sid, sess);
  assert.deepEqual(await get(sid), JSON.parse(JSON.stringify(sess)));
});

test('4 MB of data are kept', async () => {
  const sid = newSid();
  const data = randomBytes(3 << 20).toString('base64');
  assert.equal(data.length, 4 << 20);
  await set(sid, { cookie: cookie(), data });
  assert.equal((await get(sid)).data, data);
});

test('what JSON cannot say is an error, and nothing is written', async () => {
  const sid = newSid();
  const circle = { cookie: cookie() };
  circle.circle = circle;
  for (const odd of [{ cookie: cookie(), n: 1n }, circle, null, undefined, [1], 'text']) {
    await assert.rejects(set(sid, odd));
  }
  assert.equal(await row(sid), undefined);
});

test('any string is a session ID, and nothing else is', async () => {
  for (const sid of ['', '%', 'é', 'x'.repeat(100000), "'; --", 'a\0']) {
    await set(sid, { cookie: cookie(), of: sid.length });
    assert.equal((await get(sid)).of, sid.length);
  }
  for (const sid of [undefined, null, 7, {}]) {
    for (const method of [get, destroy]) await assert.rejects(method(sid), /must be a string/);
    for (const method of [set, touch]) await assert.rejects(method(sid, { cookie: cookie() }), /must be a string/);
  }
});

test('type parsers that the application has set do not matter', async (t) => {
  const { types } = require('pg');
  for (const oid of [114, 3802, 701, 1700]) {
    const before = types.getTypeParser(oid);
    types.setTypeParser(oid, (text) => `<${text}>`);
    t.after(() => types.setTypeParser(oid, before));
  }
  const sid = newSid();
  await set(sid, { cookie: cookie(), n: 1 });
  const touched = await get(sid);
  touched.cookie.expires = new Date(Date.now() + 3600000); // Which the row alone gets.
  await touch(sid, touched);
  const sess = await get(sid);
  assert.equal(sess.n, 1);
  assert.ok(new Date(sess.cookie.expires) > Date.now() + 3500000);
});

// ---- the link, limits and ages ----------------------------------------------

test('the limit of sessions for a user holds, the session just saved stays', async (t) => {
  await owner.query("ALTER ROLE webapp SET narvik.max_sessions_per_user = 1");
  t.after(() => owner.query('ALTER ROLE webapp RESET narvik.max_sessions_per_user'));
  const limited = new NarvikStore({ connection: { user: 'webapp' } });
  t.after(() => limited.close());
  const [one, two] = [newSid(), newSid()];
  await set(one, { cookie: cookie(), userId: 'alice' }, limited);
  await set(two, { cookie: cookie(), userId: 'alice' }, limited);
  assert.deepEqual([await get(one), (await get(two)).userId], [null, 'alice']);
});

test('the cookie of a session that narvik lets live shorter says so', async (t) => {
  await owner.query("ALTER ROLE webapp SET narvik.session_max_age = '10min'");
  t.after(() => owner.query('ALTER ROLE webapp RESET narvik.session_max_age'));
  const strict = new NarvikStore({ connection: { user: 'webapp' } });
  t.after(() => strict.close());
  const sid = newSid();
  await set(sid, { cookie: cookie(3600000) }, strict);
  const left = new Date((await get(sid, strict)).cookie.expires) - Date.now();
  assert.ok(Math.abs(left - 600000) < 20000, `${left} ms`);
});

// ---- a server that is away --------------------------------------------------

test('no server is an error, not "no session"', async (t) => {
  const away = new NarvikStore({ connection: { host: '/nonexistent' } });
  t.after(() => away.close());
  const browser = (await serve({ '/in': logIn, '/who': who }))();
  await browser('/in');
  const lost = (await serve({ '/who': who }, { store: away }))();
  lost.cookie = browser.cookie;
  assert.match(await lost('/who'), /^500 narvik: no connection/);
  assert.equal(lost.cookie, browser.cookie);
  await assert.rejects(get('x', away), (error) => error.code === undefined && error.cause.code === 'ENOENT');
});

test('close ends the pool of the store, and not one that was passed', async () => {
  const own = new NarvikStore({ connection: { user: 'webapp' } });
  await get('x', own);
  await own.close();
  await assert.rejects(get('x', own), /after calling end/);
  await new NarvikStore({ pool }).close();
  assert.equal(await get('x'), null);
});

test('a restart of the server in the middle ends neither the process nor the sessions', async (t) => {
  const own = new NarvikStore({ connection: { user: 'webapp' } });
  t.after(() => own.close());
  const { arrived, go, route } = slow((req, res) => { req.session.n = 1; res.send('done'); });
  const browser = (await serve({ '/in': logIn, '/slow': route, '/who': who }, { store: own }))();
  await browser('/in');
  const answer = browser('/slow');
  await arrived;
  const pg_ctl = (...args) => promisify(execFile)('pg_ctl', ['-s', '-w', '-D', process.env.SERVER_DATA, ...args]);
  await pg_ctl('-m', 'fast', 'stop');
  try {
    go();
    await assert.rejects(answer.then((text) => { throw new Error(text); }));
    assert.match(await browser('/who'), /^500 /);
  } finally {
    await pg_ctl('-l', process.env.SERVER_LOG, 'start');
  }
  assert.equal(await browser('/who'), '200 alice');
});
