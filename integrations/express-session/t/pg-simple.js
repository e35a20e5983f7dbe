'use strict';

// Stands in for connect-pg-simple's index.js and test/db-utils.js, so that its
// tests with Express use narvik.  They look into a table of sessions by their
// plain IDs, and turn the clock of Node forward, which a server does not notice.

const { Pool } = require('pg');
const pool = new Pool();
let now;

module.exports = () => {
  const { NarvikStore } = require('narvik-express-session');

  return class extends NarvikStore {
    constructor() {
      super({ pool });
      now = Date.now();
    }

    // Time has passed on the server as well.
    pruneSessions(callback) {
      const passed = Date.now() - now;
      now = Date.now();
      pool.query(`SELECT narvik_update_session_expiry(encode(id, 'hex'), expires_at - $1 * interval '1 ms')
        FROM narvik_sessions`, [passed])
        .then(() => pool.query('SELECT narvik_delete_all_expired_sessions()'))
        .then(() => callback(), callback);
    }
  };
};

Object.assign(module.exports, {
  conObject: {},
  queryPromise: (sql, [sid] = []) => pool.query(sql.replace('= $1', '= narvik_session_id($1)'), sid && [sid]),
  initTables: () => pool.query(`CREATE OR REPLACE VIEW session AS
    SELECT encode(id, 'hex') AS sid, expires_at AS expire FROM narvik_sessions`),
  removeTables: () => pool.query('DELETE FROM narvik_sessions'),
});
