// Follows the functions of examples/clients/sharded.mjs, in place of its visit: eight
// users log in, ask and log out, while a fourth shard joins.  Prints a line "ok ..." or
// "not ok ..." for each thing held.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const wrong = [], alive = [];
let done = 0, gone = 0, moved;

async function move() {
  const moving = Array.from({ length: 16 }, (_, i) => String(4 * i + 3));
  const { stdout } = await promisify(execFile)('../plproxy/move-partitions',
    [`host=${process.env.PGHOST} dbname=shard3`, `host=${process.env.PGHOST} dbname=router`, ...moving],
    { env: { ...process.env, PGUSER: 'postgres' } });
  moved = [...stdout.matchAll(/: (\d+) sessions/g)].reduce((sum, [, sessions]) => sum + Number(sessions), 0);
}

async function expectUser(token, user) {
  const found = (await validate(token))?.user_id;
  if (found !== user) wrong.push(`${found} instead of ${user}`);
}

async function visitor(user) {
  const live = [], dead = [];
  let logIns = 0;
  for (let more = 30; more > 0; more -= moved === undefined ? 0 : 1) {
    live.push((await logIn(user)).token);
    for (const token of live.slice(-20)) await expectUser(token, user);
    for (const token of dead.slice(-5)) await expectUser(token, undefined);
    logIns += 1;
    if (logIns % 3 === 0) {
      dead.push(live.shift());
      if (!await logOut(dead.at(-1))) wrong.push(`${user} was not there to be logged out`);
    }
    done += 1;
  }
  for (const token of live) alive.push([token, user]);
}

const users = Array.from({ length: 8 }, (_, i) => `user ${i}`);
const { rows: [{ map: before }] } = await router.query("SELECT string_agg(shard, ',') AS map FROM narvik_router.map");
const ends = await Promise.allSettled([...users.map((user) => visitor(user).finally(() => { gone += 1; })), (async () => {
  while (done < 200 && gone < users.length) await sleep(10);
  await move();
})().catch((error) => { moved = 0; throw error; })]);
for (const [token, user] of alive) await expectUser(token, user);
const failed = ends.filter(({ reason }) => reason).map(({ reason }) => reason.message);
const asked = [...pools.keys()].filter((shard) => shard !== '').length;
await close();

function told(good, what, examples = []) {
  console.log(good ? 'ok' : 'not ok', what, ...examples.slice(0, 3));
}

told(!before.includes('shard3'), 'the fourth shard was not in the map');
told(moved > 0, `${moved} sessions moved to it`);
told(failed.length === 0, `${failed.length} of the callers got an error`, failed);
told(wrong.length === 0, `${wrong.length} wrong answers`, wrong);
told(alive.length > 100, `${alive.length} sessions live`);
told(asked === 4, `${asked} shards were asked directly`);
