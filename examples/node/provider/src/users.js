/** Users and where they are kept: the data access that provider states replace. */

/**
 * A user of the API; `created_on` is ISO 8601 in UTC, to the second.
 *
 * @typedef {{id: number, name: string, created_on: string}} User
 */

/** A moment as the API serves it. */
export const moment = (date) => date.toISOString().replace(/\.\d+Z$/, 'Z');

/** Users in memory: gone when the process ends, which suits an example. */
export class InMemoryUsers {
  #users = new Map();
  #lastId = 0;

  /** @returns {User | undefined} */
  get(id) {
    return this.#users.get(id);
  }

  /** @returns {User} the new user with its id. */
  add(name) {
    const user = { id: ++this.#lastId, name, created_on: moment(new Date()) };
    this.#users.set(user.id, user);
    return user;
  }

  /** @returns {boolean} false if there was no such user. */
  delete(id) {
    return this.#users.delete(id);
  }
}
