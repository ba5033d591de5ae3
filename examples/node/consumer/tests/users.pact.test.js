/**
 * What this consumer needs of the users API.
 *
 * Each test says what the consumer will send and what it needs to get. Pact starts a mock server that behaves exactly
 * so, and the test calls it with the real client. A pact is written only by a test that passed.
 */

import assert from 'node:assert/strict';
import { accessSync, constants, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

// Pact's library reports usage to the internet unless told not to, and reads this when it is loaded.
process.env.PACT_DO_NOT_TRACK ??= 'true';
const { MatchersV3, PactV4, SpecificationVersion } = await import('@pact-foundation/pact');
const { UserClient, UserNotFound } = await import('../src/client.js');

const CONSUMER = 'node-consumer';
const PROVIDER = 'node-provider';
const { datetime, integer, like } = MatchersV3;

const pact = new PactV4({
  consumer: CONSUMER,
  provider: PROVIDER,
  dir: emptied(process.env.PACT_DIR || '/pacts'),
  logLevel: 'warn',
  spec: SpecificationVersion.SPECIFICATION_VERSION_V4,
});

test('get a user', () =>
  pact
    .addInteraction()
    // A provider state: what must be true at the provider for this answer. The provider knows how to make it so.
    .given('user 123 exists')
    .uponReceiving('a request for user 123')
    .withRequest('GET', '/users/123')
    .willRespondWith(200, (response) => {
      response.headers({ 'Content-Type': 'application/json' }).jsonBody(aUser(123, 'Alice'));
    })
    .executeTest(async (server) => {
      const user = await new UserClient(server.url).getUser(123);
      assert.deepEqual(user, { id: 123, name: 'Alice', createdOn: new Date('2026-01-01T12:00:00Z') });
    }));

test('get a user that does not exist', () =>
  pact
    .addInteraction()
    .given("user 123 doesn't exist")
    .uponReceiving('a request for user 123')
    .withRequest('GET', '/users/123')
    // Only the status: the client does not read the body, so the provider is free to word it.
    .willRespondWith(404)
    .executeTest((server) => assert.rejects(new UserClient(server.url).getUser(123), UserNotFound)));

test('create a user', () =>
  pact
    .addInteraction()
    .uponReceiving('a request to create a user')
    .withRequest('POST', '/users', (request) => {
      request.headers({ 'Content-Type': 'application/json' }).jsonBody({ name: 'Bob' });
    })
    .willRespondWith(201, (response) => {
      response.headers({ 'Content-Type': 'application/json' }).jsonBody(aUser(124, 'Bob'));
    })
    .executeTest(async (server) => {
      assert.equal((await new UserClient(server.url).createUser('Bob')).id, 124);
    }));

test('delete a user', () =>
  pact
    .addInteraction()
    // A state with parameters: the provider writes it once, and consumers choose the user.
    .given('a user exists', { id: 124, name: 'Bob' })
    .uponReceiving('a request to delete a user')
    .withRequest('DELETE', '/users/124')
    .willRespondWith(204)
    .executeTest((server) => new UserClient(server.url).deleteUser(124)));

/** A user as matchers: an example that the mock server answers with, and a rule that the provider is held to. */
function aUser(id, name) {
  return {
    id: integer(id),
    name: like(name),
    created_on: datetime("yyyy-MM-dd'T'HH:mm:ssXXX", '2026-01-01T12:00:00Z'),
  };
}

/** The folder for the pact: made if need be, and without what an earlier run wrote, which would stay for ever. */
function emptied(directory) {
  try {
    if (!existsSync(directory)) {
      mkdirSync(directory);
    }
    accessSync(directory, constants.W_OK);
  } catch {
    console.error(`PACT_DIR=${directory} cannot be written to: mount a volume there or name another folder.`);
    process.exit(2);
  }
  for (const file of readdirSync(directory)) {
    if (file.startsWith(`${CONSUMER}-`) && file.endsWith('.json')) {
      rmSync(join(directory, file));
    }
  }
  return directory;
}
