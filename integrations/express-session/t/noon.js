'use strict';

// For express-session's own tests of .maxAge: they measure to a second how far away a
// cookie's expiry is, which is in whole seconds.  So the clock that they and
// express-session read stands still, just behind a second, and not about midnight.

const sinon = require('sinon');

exports.mochaHooks = {
  beforeEach() {
    if (this.currentTest.parent.title !== '.maxAge') return;
    sinon.useFakeTimers({ now: new Date().setHours(12, 0, 0, 1), toFake: ['Date'] });
  },
  afterEach() {
    sinon.restore();
  },
};
