/** Serve the users API on `HOST` (default 0.0.0.0) and `PORT` (default 8080; 0 = any free port, named in the log). */

import { createApp } from './app.js';

const { HOST: host = '0.0.0.0', PORT: port = '8080' } = process.env;

if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) {
  refuse(`PORT must be a number from 0 to 65535, not '${port}'.`);
}
const server = createApp().listen(Number(port), host, (error) => {
  if (error) {
    refuse(`Cannot listen on ${host}:${port} (${error.message}). Set HOST and PORT to a free address.`);
  }
  console.log(`Serving on http://${host}:${server.address().port}`);
});

// The first process of a container ignores SIGTERM unless it says otherwise. Requests that run are answered.
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => {
    server.close();
    server.closeIdleConnections();
  });
}

function refuse(sentence) {
  console.error(`node-provider: ${sentence}`);
  process.exit(2);
}
