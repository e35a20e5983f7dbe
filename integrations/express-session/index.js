'use strict';

const { createHash } = require('node:crypto');
const { Store } = require('express-session');

// What JSON can say and jsonb cannot hold: NUL, and one half of a surrogate pair.
const UNSTORABLE = /\\u(?:0000|d[89a-f])/;

// A cookie's expiry moves with the row's.  What differs by less was under way.
const LATENCY_MS = 100;

function toJson(value, what) {
  const json = JSON.stringify(value);
  // Without backslashes that are text themselves.
  if (UNSTORABLE.test(json?.replaceAll('\\\\', ''))) {
    throw new TypeError(`narvik: ${what} holds a NUL or half of a surrogate pair, which PostgreSQL cannot store`);
  }
  return json;
}

function toId(sid) {
  if (typeof sid !== 'string') throw new TypeError('narvik: a session ID must be a string');
  return createHash('sha256').update(sid).digest('hex');
}

function toUserId(user) {
  if (user === undefined || user === null) return null;
  if (!['string', 'number', 'bigint'].includes(typeof user)) {
    throw new TypeError('narvik: the user of a session must be a string or a number: set the option userId');
  }
  toJson(String(user), 'the user of a session');
  return String(user);
}

// What of a cookie is more than its expiry, which moves with each request.
// express-session's touch() lets originalMaxAge drift by a millisecond.
function settings(cookie) {
  return JSON.stringify(cookie, (key, value) =>
    key === 'expires' ? undefined : key === 'originalMaxAge' && value ? Math.round(value / 1000) : value);
}

class NarvikStore extends Store {
  #pool;
  #ownPool;
  #schema;
  #ttl;
  #userId;
  #disableTouch;
  // Session objects that stand for a row: they may replace it, but not bring it back.
  #stored = new WeakMap();
  // The last write of each session that has not ended yet.
  #writes = new Map();

  constructor({ pool, connection, schema, ttl = 86400, userId = (sess) => sess.passport?.user ?? sess.userId,
    disableTouch = false } = {}) {
    super();
    if (!pool) {
      pool = this.#ownPool = new (require('pg').Pool)(connection);
      // An idle connection that breaks is replaced; without a listener it would end the process.
      pool.on('error', () => {});
    }
    this.#pool = pool;
    this.#schema = schema === undefined ? '' : `"${schema.replaceAll('"', '""')}".`;
    this.#ttl = ttl;
    this.#userId = userId;
    this.#disableTouch = disableTouch;
  }

  get(sid, callback) {
    this.#answer(callback, async () => {
      // As text, whatever parsers of types the application has.  What has no cookie was stored by
      // others, and is not express-session's: it makes a session with another ID then.
      const [row] = await this.#rows(`SELECT data::text AS data,
          (extract(epoch FROM expires_at - now()) * 1000)::text AS ms
        FROM ${this.#schema}narvik_fetch_session($1)
        WHERE expires_at > now() AND jsonb_typeof(data -> 'cookie') = 'object'`, toId(sid));
      if (!row) return null;
      const sess = JSON.parse(row.data);
      const expires = new Date(Math.round(Date.now() + Number(row.ms)));
      if (sess.cookie.expires && Math.abs(new Date(sess.cookie.expires) - expires) > LATENCY_MS) {
        sess.cookie.expires = expires;
      }
      this.#stored.set(sess, { sid, cookie: settings(sess.cookie) });
      return sess;
    });
  }

  // What get() gave replaces its row only while that is live: it is not to come
  // back if it was logged out meanwhile.  Anything else is stored.
  set(sid, sess, callback) {
    this.#answer(callback, () => {
      const values = [toId(sid), toUserId(this.#userId(sess)), this.#msLeft(sess), toJson(sess, 'a session')];
      const known = { sid, cookie: settings(sess.cookie) };
      return this.#inOrder(sid, async () => {
        const existing = this.#stored.get(sess)?.sid === sid ? true : null;
        await this.#rows(`SELECT ${this.#schema}narvik_put_session($1, $2, now() + $3 * interval '1 ms', $4, $5)`,
          ...values, existing);
        this.#stored.set(sess, known);
      });
    });
  }

  // Of the data, this writes the cookie alone, and only if the application changed it.
  touch(sid, sess, callback) {
    this.#answer(callback, () => {
      if (this.#disableTouch) return undefined;
      const cookie = settings(sess.cookie);
      const known = this.#stored.get(sess);
      const values = [toId(sid), this.#msLeft(sess)];
      let sql = `${this.#schema}narvik_update_session_expiry($1, now() + $2 * interval '1 ms')`;
      if (known?.cookie !== cookie) {
        values.push(toJson({ cookie: sess.cookie }, 'a cookie'));
        sql = `CASE WHEN ${sql} THEN ${this.#schema}narvik_update_session_data($1, $3) END`;
      }
      return this.#inOrder(sid, async () => {
        await this.#rows(`SELECT ${sql}`, ...values);
        if (known) known.cookie = cookie;
      });
    });
  }

  destroy(sid, callback) {
    this.#answer(callback, () => {
      const id = toId(sid);
      return this.#inOrder(sid, () => this.#rows(`SELECT ${this.#schema}narvik_delete_session($1)`, id));
    });
  }

  createSession(req, sess) {
    const known = this.#stored.get(sess);
    const session = super.createSession(req, sess);
    if (known) this.#stored.set(session, { sid: known.sid, cookie: settings(session.cookie) });
    return session;
  }

  // Ends the connections that the store has opened itself.
  async close() {
    await this.#ownPool?.end();
  }

  async #rows(sql, ...values) {
    try {
      return (await this.#pool.query(sql, values)).rows;
    } catch (error) {
      // express-session takes ENOENT for "no such session"; here it is a server that is away.
      if (error.code !== 'ENOENT') throw error;
      throw new Error(`narvik: no connection: ${error.message}`, { cause: error });
    }
  }

  // By the clock of this process: of the server's only the difference matters.
  #msLeft(sess) {
    const left = sess.cookie?.expires ? new Date(sess.cookie.expires) - Date.now() : NaN;
    return Number.isNaN(left) ? this.#ttl * 1000 : Math.max(left, 0);
  }

  // The pool may run statements side by side: of one session they run as called.
  #inOrder(sid, write) {
    const done = (this.#writes.get(sid) ?? Promise.resolve()).then(write, write);
    const forget = () => this.#writes.get(sid) === done && this.#writes.delete(sid);
    this.#writes.set(sid, done);
    done.then(forget, forget);
    return done;
  }

  // The work begins at once.  What the callback throws is not the promise's to catch.
  #answer(callback = () => {}, work) {
    new Promise((resolve) => { resolve(work()); }).then(
      (value) => process.nextTick(callback, null, value),
      (error) => process.nextTick(callback, error));
  }
}

module.exports = { NarvikStore };
