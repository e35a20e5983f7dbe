// Follows the functions of examples/clients/node.mjs and narvik-class.mjs, in
// place of their visit: two users, eight requests at once, requests that fail,
// connections that break, a server that restarts.  Prints a line "ok ..." or
// "not ok ..." for each thing held.
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const cookies = { nobody: '' };
for (const user of ['alice', 'bob']) cookies[user] = (await logIn('', user)).split(';')[0];
const expected = { alice: 'alice,alice', bob: 'bob', nobody: '' };
const answered = [], foreign = [], lost = [], unknown = [], late = [];
let began = false, restarted = false;
const end = Date.now() + 120_000;

async function restart() {
  began = true;
  const log = `${process.env.PGDATA}/../server.log`;
  await promisify(execFile)('pg_ctl', ['-s', '-w', '-m', 'fast', '-l', log, 'restart']);
  restarted = true;
}

const fail = () => { throw new Error('on purpose'); };
const breakConnection = (client) => client.query('SELECT pg_terminate_backend(pg_backend_pid())');

async function mustFail(user, work, message) {
  try {
    await asUser(cookies[user], work);
    unknown.push(`no error instead of ${message}`);
  } catch (error) {
    if (!error.message.includes(message) && !began) unknown.push(error);
  }
}

async function oneRequest(user) {
  for (;;) {
    const after = restarted;
    try {
      const { rows } = await asUser(cookies[user], (client) => client.query('SELECT owner FROM notes'));
      const owners = rows.map((row) => row.owner).join();
      (owners === expected[user] ? answered : foreign).push(`${user}: ${owners}`);
      return;
    } catch (error) {
      if (after) late.push(error);
      if (!began || Date.now() > end) {
        lost.push(error);
        return;
      }
    }
    await sleep(50);   // and the user loads the page again
  }
}

await Promise.all(Array.from({ length: 8 }, async (_, visitor) => {
  const user = ['alice', 'bob'][visitor % 2];
  for (let i = 0; i < 75; i += 1) {
    if (visitor === 0 && i === 37) await restart();
    if (i % 10 === 3) await mustFail(user, fail, 'on purpose');
    if (i % 50 === 7) await mustFail(user, breakConnection, 'terminating connection');
    await oneRequest(i % 5 === 0 ? 'nobody' : user);
  }
}));
await pool.end();

const told = (good, what, examples) => console.log(good ? 'ok' : 'not ok', what, ...examples.slice(0, 3));
told(restarted, 'the server was restarted in the middle', []);
told(foreign.length === 0, `${foreign.length} of 600 requests saw other rows than their user's`, foreign);
told(answered.length + foreign.length === 600,
  `${lost.length} of 600 requests got no answer, because another had failed`, lost);
told(late.length <= 10, `${late.length} requests failed after the restart, a connection at most one`, late);
told(unknown.length === 0, `${unknown.length} failures did not reach the caller`, unknown);
