// Stands for the JavaScript library Narvik where it is not installed: calls the
// storage callbacks as the library does, the same ones in the same order, and
// makes the same tokens, ids and cookies.  Only what the examples need.
import { createHash, randomBytes } from 'node:crypto';

const base32 = 'abcdefghijklmnopqrstuvwxyz234567';

function newToken() {
  let bits = '';
  for (const byte of randomBytes(20)) bits += byte.toString(2).padStart(8, '0');
  return bits.match(/.{5}/g).map((five) => base32[parseInt(five, 2)]).join('');
}

const idOf = (token) => createHash('sha256').update(token, 'utf8').digest('hex');

function cookie(name, value, seconds) {
  return { serialize: () => `${name}=${value}; Max-Age=${seconds}; Path=/; SameSite=Lax; Secure; HttpOnly` };
}

export class Narvik {
  cookieName = 'narvik_session';
  #data;
  #lifetime;

  constructor({ data, session }) {
    this.#data = data;
    this.#lifetime = session?.sessionExpiresInMs ?? 30 * 24 * 60 * 60 * 1000;
  }

  // saveSession, before the session is marked as new.
  async createSession(userId, additionalData) {
    const token = newToken();
    const session = {
      id: idOf(token), userId, expiresAt: new Date(Date.now() + this.#lifetime), ...additionalData,
    };
    await this.#data.saveSession(session);
    session.new = true;
    return { token, session };
  }

  // fetchSession; then deleteSession if it has expired, or updateSessionExpiry
  // if half of its life is over.
  async validateSession(token) {
    const id = idOf(token);
    const session = await this.#data.fetchSession(id);
    if (session === null) return null;
    const left = session.expiresAt.getTime() - Date.now();
    if (left <= 0) {
      await this.#data.deleteSession(id);
      return null;
    }
    if (left <= this.#lifetime / 2) {
      session.expiresAt = new Date(Date.now() + this.#lifetime);
      await this.#data.updateSessionExpiry(id, session.expiresAt);
      session.extended = true;
    }
    return session;
  }

  async invalidateSession(id) {
    await this.#data.deleteSession(id);
  }

  async fetchSessionsForUser(userId) {
    return this.#data.fetchSessionsForUser(userId);
  }

  async deleteSessionsForUser(userId) {
    await this.#data.deleteSessionsForUser(userId);
  }

  async deleteAllExpiredSessions() {
    await this.#data.deleteAllExpiredSessions();
  }

  createCookie(token) {
    return cookie(this.cookieName, token, this.#lifetime / 1000);
  }

  createBlankCookie() {
    return cookie(this.cookieName, '', 0);
  }
}
