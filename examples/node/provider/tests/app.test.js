import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';

import { createApp } from '../src/app.js';

const JSON_TYPE = { 'Content-Type': 'application/json' };

/** Serve an app on a free port for one test; returns a function that sends a request and reads the answer. */
async function serve(t, environment) {
  const server = createApp(environment).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return async (method, path, body, headers = JSON_TYPE) => {
    const response = await fetch(`http://127.0.0.1:${server.address().port}${path}`, {
      method,
      headers: body === undefined ? {} : headers,
      body: typeof body === 'object' ? JSON.stringify(body) : body,
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: text && JSON.parse(text) };
  };
}

test('a user is created, served and deleted', async (t) => {
  const call = await serve(t, {});
  const made = await call('POST', '/users', { name: ' Bob ' });
  assert.equal(made.status, 201);
  assert.equal(made.headers.get('location'), '/users/1');
  assert.match(made.body.created_on, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  assert.deepEqual(made.body, { id: 1, name: 'Bob', created_on: made.body.created_on });
  assert.deepEqual((await call('GET', '/users/1')).body, made.body);
  assert.equal((await call('DELETE', '/users/1')).status, 204);
  assert.equal((await call('DELETE', '/users/1')).status, 404);
  assert.deepEqual(await call('GET', '/users/1').then(({ status, body }) => [status, body]), [
    404,
    { error: 'There is no user 1.' },
  ]);
});

for (const [title, body, headers, status] of [
  ['no JSON', 'name=Bob', { 'Content-Type': 'text/plain' }, 415],
  ['broken JSON', '{"name":', JSON_TYPE, 400],
  ['no name', {}, JSON_TYPE, 400],
  ['a blank name', { name: ' ' }, JSON_TYPE, 400],
  ['a name that is no text', { name: 7 }, JSON_TYPE, 400],
  ['too long a name', { name: 'x'.repeat(101) }, JSON_TYPE, 400],
  ['too large a body', { name: 'x'.repeat(200_000) }, JSON_TYPE, 413],
]) {
  test(`${title} is refused with one sentence`, async (t) => {
    const call = await serve(t, {});
    const answer = await call('POST', '/users', body, headers);
    assert.equal(answer.status, status);
    assert.equal(typeof answer.body.error, 'string');
  });
}

test('without the setting nobody can replace the data', async (t) => {
  const call = await serve(t, {});
  assert.equal((await call('GET', '/healthz')).body.status, 'ok');
  const answer = await call('POST', '/_pact/provider_states', { state: 'user 123 exists', action: 'setup' });
  assert.equal(answer.status, 404);
});

test('a state holds from setup to teardown', async (t) => {
  const call = await serve(t, { PACT_PROVIDER_STATES: 'enabled' });
  const change = async (state, action, params) =>
    (await call('POST', '/_pact/provider_states', { state, action, params })).status;
  await call('POST', '/users', { name: 'Real' });

  assert.equal(await change('a user exists', 'setup', { id: 7, name: 'Eve' }), 204);
  assert.deepEqual((await call('GET', '/users/7')).body, { id: 7, name: 'Eve', created_on: '2026-01-01T12:00:00Z' });
  assert.equal((await call('GET', '/users/1')).status, 404, 'real data shows through');
  assert.equal((await call('DELETE', '/users/7')).status, 204);
  assert.equal(await change('a user exists', 'teardown', { id: 7, name: 'Eve' }), 204);
  assert.equal((await call('GET', '/users/7')).status, 404);
  assert.equal((await call('GET', '/users/1')).body.name, 'Real');
});

test('a state that is not known, or lacks its parameters, is refused', async (t) => {
  const call = await serve(t, { PACT_PROVIDER_STATES: 'enabled' });
  for (const body of [
    { state: 'the moon is full', action: 'setup' },
    { state: 'toString', action: 'setup' },
    { state: 'a user exists', action: 'setup' },
    { state: 'user 123 exists' },
  ]) {
    const answer = await call('POST', '/_pact/provider_states', body);
    assert.equal(answer.status, 400, JSON.stringify(body));
  }
  assert.equal((await call('POST', '/_pact/provider_states', { state: '', action: 'setup' })).status, 204);
});
