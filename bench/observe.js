// What express-session makes its stores do, observed: a request that logs in
// and one that only comes back, through a real HTTP server, with stores whose
// connections write down what they are asked.
//
//   node observe.js <folder>     (connect-pg-simple and others: see NODE_PATH)
//
// Writes pg.<moment>.<n>.sql, the texts of the statements, and redis.<moment>,
// the commands, for the moments login, request and prune.  Values that differ
// from request to request are {sid} {sess} {now} {expire} {ttl}.  Also
// writes sess.json, a stored session.
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const session = require('express-session');
const { RedisStore } = require('connect-redis');
const PGStore = require('connect-pg-simple')(session);

const folder = process.argv[2];
const maxAge = 86400 * 1000;
const stored = new Map();
let seen = [];

function name(value) {
  if (typeof value === 'object') return '{sess}';
  if (typeof value !== 'number') return '{sid}';
  const ahead = value - Date.now() / 1000;
  if (Math.abs(ahead) < 60) return '{now}';
  if (Math.abs(ahead - maxAge / 1000) < 60) return '{expire}';
  if (Math.abs(value - maxAge / 1000) < 60) return '{ttl}';
  throw new Error(`unexpected number ${value}`);
}

const pool = {
  async query(text, values) {
    seen.push(text.replace(/\$(\d+)/g, (_, n) => name(values[n - 1])));
    const [sess, , sid] = values;
    if (typeof sess === 'object') stored.set(sid, JSON.stringify(sess));
    return { rows: [{ sess: JSON.parse(stored.get(values[0]) || '{}') }] };
  },
};

const client = {
  async get(key) { seen.push(`GET ${this.key(key)}`); return stored.get(key); },
  async expire(key, seconds) { seen.push(`EXPIRE ${this.key(key)} ${name(seconds)}`); return 1; },
  async set(key, value) { seen.push(`SET ${this.key(key)} {sess}`); stored.set(key, value); },
  key: (key) => key.replace(/[^:]+$/, '{sid}'),
};

function request(socketPath, headers) {
  return new Promise((resolve, reject) => {
    http.get({ socketPath, headers, agent: false }, (res) => {
      res.resume().on('end', () => resolve(res));
    }).on('error', reject);
  });
}

async function observe(store, write) {
  const middleware = session({
    store, secret: 'bench', resave: false, saveUninitialized: false, cookie: { maxAge },
  });
  const server = http.createServer((req, res) => middleware(req, res, () => {
    if (!req.session.user) Object.assign(req.session, { user: 'user1234', theme: 'dark' });
    res.end();
  }));
  const socketPath = path.join(folder, 'http');
  await new Promise((resolve) => server.listen(socketPath, resolve));

  seen = [];
  const { headers } = await request(socketPath, {});
  write('login', seen);
  seen = [];
  await request(socketPath, { cookie: headers['set-cookie'][0].split(';')[0] });
  write('request', seen);
  server.close();
}

(async () => {
  const pgStore = new PGStore({ pool });
  const writePg = (moment, texts) => texts.forEach((text, n) =>
    fs.writeFileSync(path.join(folder, `pg.${moment}.${n + 1}.sql`), text));
  await observe(pgStore, writePg);
  seen = [];
  await new Promise((resolve) => pgStore.pruneSessions(resolve));
  writePg('prune', seen);
  await pgStore.close();
  fs.writeFileSync(path.join(folder, 'sess.json'), [...stored.values()][0]);

  await observe(new RedisStore({ client }), (moment, commands) =>
    fs.writeFileSync(path.join(folder, `redis.${moment}`), commands.map((c) => `${c}\n`).join('')));
})();
