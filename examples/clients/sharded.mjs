// Sessions on several shards from Node, with the driver pg: what each request does goes
// to the shard itself, the rest to a router.  See docs/scaling.md, "Without a router".
// Connects as PGHOST, PGDATABASE, PGUSER and so on say to the router, and as PGUSER to
// the shards that its map names.
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

const pools = new Map();   // by connection string
let map;                   // a promise: the shard of each partition

function poolOf(shard) {
  if (!pools.has(shard)) {
    // "host=s0 dbname=sessions", without quotes
    const { dbname: database, ...rest } = Object.fromEntries(shard.split(/\s+/).filter(Boolean).map((option) => option.split('=')));
    const pool = new pg.Pool({ database, ...rest });
    pool.on('connect', (client) => client.on('error', () => {}));
    pool.on('error', () => {});
    pools.set(shard, pool);
  }
  return pools.get(shard);
}

const router = poolOf('');

const fetchMap = async () =>
  (await router.query('SELECT shard FROM narvik_router.map ORDER BY partition')).rows.map((row) => row.shard);

// While a partition moves, and when it has moved, calls fail with 40001: fetch the map
// again, and repeat.  After any other error the next call fetches it, too: that shard may
// have been replaced.
async function repeated(work) {
  for (let tries = 1; ; tries += 1) {
    map ??= fetchMap();
    const known = map;
    try {
      return await work(await known);
    } catch (error) {
      if (map === known) map = undefined;
      if (error.code !== '40001' || tries === 40) throw error;
    }
    await sleep(50);
  }
}

// The id is the token's SHA-256, and its last byte tells the partition.
const idOf = (token) => createHash('sha256').update(token).digest();

async function onShard(id, sql, values) {
  const { rows: [row] } = await repeated((shards) => poolOf(shards[id[31] % shards.length]).query(sql, values));
  return row;
}

const onRouter = async (sql, values) => (await repeated(() => router.query(sql, values))).rows[0];

// The session, if there is one.  An extended one has a cookie to answer with.
async function validate(token) {
  if (!/^[a-z2-7]{32}$/.test(token ?? '')) return undefined;
  const session = await onShard(idOf(token), 'SELECT * FROM narvik_shard.narvik_validate_session($1)', [token]);
  if (session?.extended) Object.assign(session, await onRouter('SELECT narvik_create_cookie($1) AS set_cookie', [token]));
  return session;
}

const logIn = (userId) => onRouter('SELECT token, narvik_create_cookie(token) AS set_cookie FROM narvik_create_session($1)', [userId]);

async function logOut(token) {
  const id = idOf(token);
  return (await onShard(id, 'SELECT narvik_shard.narvik_invalidate_session($1) AS ended', [id.toString('hex')])).ended;
}

const close = () => Promise.all([...pools.values()].map((pool) => pool.end()));

// ---- a visit ----------------------------------------------------------------

const { token } = await logIn('alice');
console.log('request:', (await validate(token))?.user_id ?? 'nobody');
console.log('log out:', await logOut(token) ? 'done' : 'nobody');
console.log('request:', (await validate(token))?.user_id ?? 'nobody');
await close();
