import express from 'express';
import session from 'express-session';
import { Pool } from 'pg';
import { NarvikStore, NarvikStoreOptions } from 'narvik-express-session';

declare module 'express-session' {
  interface SessionData { account?: { id: bigint } }
}

const options: NarvikStoreOptions = { ttl: 3600, userId: (sess) => sess.account?.id };
const store = new NarvikStore({ pool: new Pool(), ...options });
const app = express();
app.use(session({ secret: 'x', resave: false, saveUninitialized: false, store }));
app.use(session({ secret: 'x', store: new NarvikStore({ connection: { host: 'db' }, schema: 'auth', disableTouch: true }) }));
store.get('sid', (error, sess) => { const id: bigint | undefined = sess?.account?.id; console.log(error, id); });
store.close().then(() => {});

// @ts-expect-error seconds are a number
new NarvikStore({ ttl: '1h' });
// @ts-expect-error a user is no object
new NarvikStore({ userId: (sess) => sess.account });
// @ts-expect-error not of this store
store.clear();
