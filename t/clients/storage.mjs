// The wiring of examples/clients/narvik-storage.mjs: Narvik's class calls what
// it should, gets back what it saved, and shares its sessions with the
// extension.  Prints a line "ok ..." or "not ok ..." for each.
import assert from 'node:assert/strict';
import pg from 'pg';
import { Narvik } from 'narvik';
import { narvikStorage } from './narvik-storage.mjs';

const day = 24 * 60 * 60 * 1000;
const pool = new pg.Pool();
const calls = [];
const storage = narvikStorage(pool);
const recorded = Object.fromEntries(Object.entries(storage).map(([name, callback]) =>
  [name, (...values) => { calls.push(name); return callback(...values); }]));
const narvik = new Narvik({ data: recorded });

async function value(sql, ...values) {
  const { rows } = await pool.query({ text: sql, values, rowMode: 'array' });
  return rows[0]?.[0];
}

async function test(name, run) {
  calls.length = 0;
  try {
    await run();
    console.log('ok', name);
  } catch (error) {
    console.log('not ok', name);
    console.log(error);
  }
}

const about = (date, expected) => assert.ok(Math.abs(date - expected) < day / 2, `${date}`);

await test('a created session is saved once and comes back as it was', async () => {
  const { token, session } = await narvik.createSession('alice', { device: 'laptop', roles: ['a', 'b'] });
  const { new: isNew, ...saved } = session;
  assert.equal(isNew, true);
  assert.deepEqual(await narvik.validateSession(token), saved);
  assert.deepEqual(calls, ['saveSession', 'fetchSession']);
});

await test('only additional data is in the column for it', async () => {
  const { session } = await narvik.createSession('alice', { device: 'laptop' });
  assert.deepEqual(await value('SELECT data FROM narvik_fetch_session($1)', session.id), { device: 'laptop' });
});

await test('the extension validates a session of Narvik', async () => {
  const { token } = await narvik.createSession('alice');
  assert.equal(await value('SELECT user_id FROM narvik_validate_session($1)', token), 'alice');
});

await test('Narvik validates a session of the extension', async () => {
  const token = await value(`SELECT token FROM narvik_create_session('bob', '{"device": "phone"}')`);
  const session = await narvik.validateSession(token);
  assert.equal(session.userId, 'bob');
  assert.equal(session.device, 'phone');
  about(session.expiresAt, Date.now() + 30 * day);
});

await test('after half of its life a session is extended', async () => {
  const { token, session } = await narvik.createSession('alice');
  await storage.updateSessionExpiry(session.id, new Date(Date.now() + 10 * day));
  calls.length = 0;
  assert.equal((await narvik.validateSession(token)).extended, true);
  assert.deepEqual(calls, ['fetchSession', 'updateSessionExpiry']);
  about(await value('SELECT expires_at FROM narvik_fetch_session($1)', session.id), Date.now() + 30 * day);
  assert.equal((await narvik.validateSession(token)).extended, undefined);
});

await test('a session of ten minutes stays one of ten minutes, whoever extends it', async () => {
  const minute = 60 * 1000;
  const short = new Narvik({ data: recorded, session: { sessionExpiresInMs: 10 * minute } });
  const { token, session } = await short.createSession('alice');
  const left = () => value(`SELECT extract(epoch FROM expires_at - now())::float8 * 1000
    FROM narvik_fetch_session($1)`, session.id);
  for (const extend of [
    () => value('SELECT extended FROM narvik_validate_session($1)', token),
    async () => (await short.validateSession(token)).extended,
  ]) {
    await storage.updateSessionExpiry(session.id, new Date(Date.now() + 4 * minute));
    assert.equal(await extend(), true);
    const now = await left();
    assert.ok(now > 9 * minute && now <= 10 * minute, `${now} ms`);
  }
});

await test('a guest of the extension is nobody to Narvik', async () => {
  const token = await value('SELECT token FROM narvik_create_guest_session()');
  assert.equal(await narvik.validateSession(token), null);
  assert.deepEqual(calls, ['fetchSession']);
});

await test('an expired session is deleted', async () => {
  const { token, session } = await narvik.createSession('alice');
  await storage.updateSessionExpiry(session.id, new Date(Date.now() - 1000));
  calls.length = 0;
  assert.equal(await narvik.validateSession(token), null);
  assert.deepEqual(calls, ['fetchSession', 'deleteSession']);
  assert.equal(await storage.fetchSession(session.id), null);
});

await test('an unknown token is nobody', async () => {
  assert.equal(await narvik.validateSession('unknown'), null);
  assert.deepEqual(calls, ['fetchSession']);
});

await test('an invalidated session is gone', async () => {
  const { token, session } = await narvik.createSession('alice');
  calls.length = 0;
  await narvik.invalidateSession(session.id);
  assert.deepEqual(calls, ['deleteSession']);
  assert.equal(await value('SELECT count(*)::int FROM narvik_validate_session($1)', token), 0);
});

await test('an id cannot be saved twice', async () => {
  const { session } = await narvik.createSession('alice');
  await assert.rejects(storage.saveSession(session), { code: '23505' });
});

await test('the sessions of a user are listed and deleted', async () => {
  const { session } = await narvik.createSession('carol', { device: 'tablet' });
  await narvik.createSession('dora');
  const { new: isNew, ...saved } = session;
  assert.deepEqual(await narvik.fetchSessionsForUser('carol'), [saved]);
  await narvik.deleteSessionsForUser('carol');
  assert.deepEqual(await narvik.fetchSessionsForUser('carol'), []);
  assert.equal((await narvik.fetchSessionsForUser('dora')).length, 1);
});

await test('deleting all expired sessions takes a privilege of its own', async () => {
  await assert.rejects(narvik.deleteAllExpiredSessions(), { code: '42501' });
});

await test('with it, expired sessions go and live ones stay', async () => {
  const { session: live } = await narvik.createSession('alice');
  const { session: expired } = await narvik.createSession('alice');
  await storage.updateSessionExpiry(expired.id, new Date(Date.now() - 1000));
  const superuser = new pg.Client({ user: 'postgres' });
  await superuser.connect();
  await superuser.query('GRANT EXECUTE ON FUNCTION narvik.narvik_delete_all_expired_sessions() TO webapp');
  await superuser.end();
  await narvik.deleteAllExpiredSessions();
  assert.equal(await storage.fetchSession(expired.id), null);
  assert.notEqual(await storage.fetchSession(live.id), null);
});

await pool.end();
