/** The users API. */

import express from 'express';

import { providerStates } from './provider-states.js';
import { InMemoryUsers } from './users.js';

/** Longest name of a user, in characters. */
export const NAME_MAX = 100;

/**
 * Make the application.
 *
 * @param {NodeJS.ProcessEnv} [environment] `PACT_PROVIDER_STATES=enabled` adds the endpoint that sets up provider
 *   states. A deployed provider leaves it out: the endpoint lets its caller replace the data.
 */
export function createApp(environment = process.env) {
  const app = express();
  app.disable('x-powered-by');
  // Looked up for every request, never kept: this is where a provider state puts its stand-in.
  app.locals.users = new InMemoryUsers();

  app.use(express.json());
  app.get('/healthz', (request, response) => {
    response.json({ status: 'ok' });
  });
  app.get('/users/:id', (request, response) => {
    const user = app.locals.users.get(idOf(request));
    return user ? response.json(user) : noUser(request, response);
  });
  app.post('/users', (request, response) => {
    if (!request.is('json')) {
      const error = 'Send the user as JSON, with the header Content-Type: application/json.';
      return response.status(415).json({ error });
    }
    const name = typeof request.body?.name === 'string' ? request.body.name.trim() : '';
    if (!name || name.length > NAME_MAX) {
      const error = `The field 'name' is required and must be a text of 1 to ${NAME_MAX} characters that is not blank.`;
      return response.status(400).json({ error });
    }
    const user = app.locals.users.add(name);
    return response.status(201).location(`/users/${user.id}`).json(user);
  });
  app.delete('/users/:id', (request, response) =>
    app.locals.users.delete(idOf(request)) ? response.status(204).end() : noUser(request, response),
  );
  if (environment.PACT_PROVIDER_STATES === 'enabled') {
    app.use(providerStates(app));
  }
  app.use((request, response) => {
    response.status(404).json({ error: `There is no ${request.method} ${request.path} here.` });
  });
  // Clients of a JSON API cannot read the HTML page that is Express's default. Four parameters make it a handler of
  // errors.
  app.use((error, request, response, next) => {
    if (response.headersSent) {
      return next(error);
    }
    if (error.status >= 400 && error.status < 500) {
      return response.status(error.status).json({ error: `The request cannot be read: ${error.message}` });
    }
    console.error(error);
    return response.status(500).json({ error: 'The request could not be served; the log of this provider says why.' });
  });
  return app;
}

/** The id in the path, or undefined if it is no id. */
function idOf(request) {
  return /^\d{1,15}$/.test(request.params.id) ? Number(request.params.id) : undefined;
}

function noUser(request, response) {
  return response.status(404).json({ error: `There is no user ${request.params.id}.` });
}
