import { SessionData, Store } from 'express-session';
import { Pool, PoolConfig } from 'pg';

export interface NarvikStoreOptions {
  /** The application's pool. Its owner ends it, and listens to its `error` event. */
  pool?: Pick<Pool, 'query'>;
  /** How to connect, for a pool of the store's own. Without it, PGHOST and so on decide. */
  connection?: PoolConfig;
  /** The schema that narvik is in. Without it, the connection's search_path decides. */
  schema?: string;
  /** How many seconds a session lives whose cookie ends with the browser: 86400. */
  ttl?: number;
  /** The user of a session, or nothing for a guest: `passport.user`, else `userId`. */
  userId?: (session: SessionData) => string | number | bigint | null | undefined;
  /** Do not extend sessions that are only read: false. */
  disableTouch?: boolean;
}

export class NarvikStore extends Store {
  constructor(options?: NarvikStoreOptions);
  get(sid: string, callback: (err: any, session?: SessionData | null) => void): void;
  set(sid: string, session: SessionData, callback?: (err?: any) => void): void;
  touch(sid: string, session: SessionData, callback?: () => void): void;
  destroy(sid: string, callback?: (err?: any) => void): void;
  /** Ends the store's own pool; one that was passed stays open. */
  close(): Promise<void>;
}
