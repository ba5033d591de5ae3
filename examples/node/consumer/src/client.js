/** The client of the users API: the code whose needs the pact writes down. */

/** The users API has no such user. */
export class UserNotFound extends Error {
  /** @param {number} id */
  constructor(id) {
    super(`There is no user ${id}.`);
    this.name = 'UserNotFound';
    this.id = id;
  }
}

/**
 * What this consumer needs of a user. The API may serve more: a pact asks for no field that is not used.
 *
 * @typedef {{id: number, name: string, createdOn: Date}} User
 */

/** A client of the users API, whichever provider serves it. */
export class UserClient {
  #baseUrl;
  #timeout;

  /**
   * @param {string} baseUrl Where the API is, such as `http://users:8080`.
   * @param {{timeout?: number}} [options] Milliseconds to wait for a whole answer.
   */
  constructor(baseUrl, { timeout = 5000 } = {}) {
    this.#baseUrl = baseUrl.replace(/\/+$/, '');
    this.#timeout = timeout;
  }

  /**
   * Get a user.
   *
   * @param {number} id
   * @returns {Promise<User>}
   * @throws {UserNotFound} There is no such user.
   */
  async getUser(id) {
    return toUser(await (await this.#call('GET', `/users/${id}`, { id })).json());
  }

  /**
   * Create a user and return it with its id.
   *
   * @param {string} name
   * @returns {Promise<User>}
   */
  async createUser(name) {
    return toUser(await (await this.#call('POST', '/users', { body: { name } })).json());
  }

  /**
   * Delete a user.
   *
   * @param {number} id
   * @throws {UserNotFound} There is no such user.
   */
  async deleteUser(id) {
    await this.#call('DELETE', `/users/${id}`, { id });
  }

  async #call(method, path, { id, body } = {}) {
    const response = await fetch(this.#baseUrl + path, {
      method,
      headers: body && { 'Content-Type': 'application/json' },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(this.#timeout),
    });
    if (id !== undefined && response.status === 404) {
      throw new UserNotFound(id);
    }
    if (!response.ok) {
      throw new Error(`The users API answered ${method} ${path} with status ${response.status}.`);
    }
    return response;
  }
}

function toUser(user) {
  const createdOn = new Date(user.created_on);
  if (!Number.isInteger(user.id) || typeof user.name !== 'string' || Number.isNaN(createdOn.getTime())) {
    throw new TypeError('The users API served no user: id, name or created_on is missing or malformed.');
  }
  return { id: user.id, name: user.name, createdOn };
}
