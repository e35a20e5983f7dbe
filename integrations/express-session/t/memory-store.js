'use strict';

// Stands in for express-session's session/memory.js, so that its tests use
// narvik wherever they ask for the store in memory.  all, length and clear,
// which they use too, read and write the table as its owner: of each store,
// what was stored with it.

let Memory;

function make() {
  const { NarvikStore } = require('narvik-express-session');
  const { Pool } = require('pg');
  const pool = new Pool();

  return class extends NarvikStore {
    #sids = new Set();

    constructor() {
      super({ pool });
    }

    set(sid, ...rest) {
      this.#sids.add(sid);
      super.set(sid, ...rest);
    }

    #mine(sql, callback) {
      pool.query(`${sql} id IN (SELECT decode(narvik_session_id(sid), 'hex') FROM unnest($1::text[]) AS sid)`, [[...this.#sids]])
        .then(({ rows }) => setImmediate(callback, null, rows), (error) => setImmediate(callback, error));
    }

    all(callback) {
      this.#mine("SELECT encode(id, 'hex') AS id, data FROM narvik_sessions WHERE expires_at > now() AND", (error, rows) =>
        callback(error, rows && Object.fromEntries(rows.map(({ id, data }) => [id, data]))));
    }

    length(callback) {
      this.all((error, sessions) => callback(error, sessions && Object.keys(sessions).length));
    }

    clear(callback) {
      this.#mine('DELETE FROM narvik_sessions WHERE', (error) => callback(error));
    }
  };
}

// Made when it is first used: the store's own class comes from express-session.
module.exports = function MemoryStore() {
  Memory ??= make();
  return new Memory();
};
