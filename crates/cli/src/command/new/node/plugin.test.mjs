// Run with: node --test
import assert from 'node:assert/strict';
import test from 'node:test';

import { greet } from '../plugin.mjs';

test('greets the world', () => {
  assert.deepEqual(greet({}), { greeting: 'Hello, world!' });
});

test('greets somebody', () => {
  assert.deepEqual(greet({ name: 'Ada' }), { greeting: 'Hello, Ada!' });
});
