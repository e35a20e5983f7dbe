// The storage callbacks of the JavaScript library Narvik, kept by the
// extension.  Sessions of one are valid in the other.
//
//   new Narvik({ data: narvikStorage(new pg.Pool()) })

// Narvik's session has its additional data beside its own keys; a row has it in
// a column of its own.
function toSession({ id, user_id, expires_at, data }) {
  return { ...data, id, userId: user_id, expiresAt: expires_at };
}

export function narvikStorage(pool) {
  const rows = async (sql, ...values) => (await pool.query(sql, values)).rows;

  return {
    async saveSession(session) {
      const { id, userId, expiresAt, ...data } = session;
      // Narvik says when the session ends, not how long each extension is.  The
      // extension has to know, to extend it by as much as Narvik does.
      const seconds = Math.ceil((expiresAt - Date.now()) / 1000);
      await rows("SELECT narvik_save_session($1, $2, $3, $4, $5 * interval '1 second')",
        id, userId, expiresAt, data, seconds);
    },
    // Narvik takes whoever has a session for a user.  It has no guests.
    async fetchSession(id) {
      const [row] = await rows('SELECT * FROM narvik_fetch_session($1) WHERE user_id IS NOT NULL', id);
      return row ? toSession(row) : null;
    },
    async updateSessionExpiry(id, expiresAt) {
      await rows('SELECT narvik_update_session_expiry($1, $2)', id, expiresAt);
    },
    async deleteSession(id) {
      await rows('SELECT narvik_delete_session($1)', id);
    },

    // The rest is optional in Narvik.
    async fetchSessionsForUser(userId) {
      return (await rows('SELECT * FROM narvik_fetch_sessions_for_user($1)', userId)).map(toSession);
    },
    async deleteSessionsForUser(userId) {
      await rows('SELECT narvik_delete_sessions_for_user($1)', userId);
    },
    // The purge worker makes this needless.  narvik_grant() leaves it out: who
    // calls it needs EXECUTE on narvik_delete_all_expired_sessions().
    async deleteAllExpiredSessions() {
      await rows('SELECT narvik_delete_all_expired_sessions()');
    },
  };
}
