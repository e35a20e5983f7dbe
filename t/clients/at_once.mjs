// Follows the functions of examples/clients/node.mjs and narvik-class.mjs, in
// place of their visit: several users at once, requests that fail, connections
// that break.  Prints a line "ok ..." or "not ok ..." for each thing held.

const cookies = { nobody: '' };
for (const user of ['alice', 'bob']) cookies[user] = (await logIn('', user)).split(';')[0];
const expected = { alice: 'alice,alice', bob: 'bob', nobody: '' };
const answered = [], foreign = [], lost = [], unknown = [];

const fail = () => { throw new Error('on purpose'); };
const breakConnection = (client) => client.query('SELECT pg_terminate_backend(pg_backend_pid())');

async function mustFail(user, work, message) {
  try {
    await asUser(cookies[user], work);
    unknown.push(`no error instead of ${message}`);
  } catch (error) {
    if (!error.message.includes(message)) unknown.push(error);
  }
}

async function oneRequest(user) {
  try {
    const { rows } = await asUser(cookies[user], (client) => client.query('SELECT owner FROM notes'));
    const owners = rows.map((row) => row.owner).join();
    (owners === expected[user] ? answered : foreign).push(`${user}: ${owners}`);
  } catch (error) {
    lost.push(error);
  }
}

await Promise.all(['alice', 'bob', 'alice', 'bob'].map(async (user) => {
  for (let i = 0; i < 150; i += 1) {
    if (i % 10 === 3) await mustFail(user, fail, 'on purpose');
    if (i % 50 === 7) await mustFail(user, breakConnection, 'terminating connection');
    await oneRequest(i % 5 === 0 ? 'nobody' : user);
  }
}));
await pool.end();

const told = (good, what, examples) => console.log(good ? 'ok' : 'not ok', what, ...examples.slice(0, 3));
told(foreign.length === 0, `${foreign.length} of 600 requests saw other rows than their user's`, foreign);
told(answered.length + foreign.length === 600,
  `${lost.length} of 600 requests got no answer, because another had failed`, lost);
told(unknown.length === 0, `${unknown.length} failures did not reach the caller`, unknown);
