/**
 * Provider states: the data that an interaction of a pact needs before it can be verified.
 *
 * A state puts a stand-in in place of the data access, never real rows: routing, validation and serialization are the
 * real code, and the same state gives the same answer every time.
 */

import { Router } from 'express';

import { moment } from './users.js';

/** Every user of a provider state was created then: a verification that used the clock could differ. */
const CREATED_ON = moment(new Date('2026-01-01T12:00:00Z'));

/** What each state means; returns what is wrong with its parameters, if anything. */
const STATES = {
  'user 123 exists': (known) => void known.set(123, 'Alice'),
  "user 123 doesn't exist": (known) => void known.delete(123),
  // One state with parameters serves every consumer that needs some user.
  'a user exists': (known, { id, name }) => {
    if (!Number.isInteger(id) || typeof name !== 'string') {
      return "The state 'a user exists' needs the parameters 'id' (integer) and 'name' (text).";
    }
    known.set(id, name);
  },
  // The verifier sends the empty name for an interaction without a state: no users at all.
  '': () => undefined,
};

/**
 * The endpoint through which the verifier sets up and tears down provider states.
 *
 * @param {import('express').Express} app Its `locals.users` is exchanged by "setup" and put back by "teardown".
 */
export function providerStates(app) {
  const router = Router();
  const real = app.locals.users;
  const known = new Map();

  router.post('/_pact/provider_states', (request, response) => {
    const { state, params, action } = request.body ?? {};
    if (action !== 'setup' && action !== 'teardown') {
      const error = 'Send {"state": name, "params": {...}, "action": "setup" or "teardown"} as JSON.';
      return response.status(400).json({ error });
    }
    if (typeof state !== 'string' || !Object.hasOwn(STATES, state)) {
      const names = Object.keys(STATES).filter(Boolean).join(', ');
      const error = `This provider does not know the state '${state}': add it to its provider-states.js. Known states: ${names}.`;
      return response.status(400).json({ error });
    }
    if (action === 'setup') {
      // An interaction may need several states, sent one after the other: each adds to what is known.
      const error = STATES[state](known, params ?? {});
      if (error) {
        return response.status(400).json({ error });
      }
      app.locals.users = standIn(known);
    } else {
      known.clear();
      app.locals.users = real;
    }
    return response.status(204).end();
  });

  return router;
}

function standIn(known) {
  const user = (id, name) => ({ id, name, created_on: CREATED_ON });
  return {
    get: (id) => (known.has(id) ? user(id, known.get(id)) : undefined),
    add: (name) => user(Math.max(0, ...known.keys()) + 1, name),
    delete: (id) => known.has(id),
  };
}
