import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { NarvikStore } from 'narvik-express-session';

assert.equal(NarvikStore, createRequire(import.meta.url)('narvik-express-session').NarvikStore);
