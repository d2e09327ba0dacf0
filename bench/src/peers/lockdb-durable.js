import { clientOf, lockdb } from "./lockdb.js";

/**
 * The original calls. Their holds outlive the client, so each is on disk before it is answered.
 *
 * @type {import("./index.js").Peer}
 */
export const lockdbDurable = {
  name: "lockdb-durable",
  title: "lockdb-durable (lock, unlock)",
  isOurs: true,
  excludes: true,
  durable: true,
  isFair: true,
  onCrash: "kept: they are on disk",
  find: lockdb.find,
  start: lockdb.start,

  async connect(endpoint) {
    const db = await clientOf(endpoint);
    return {
      locker: db,
      async cycle(name, inside) {
        await db.lock(name);
        await inside(name);
        if (!(await db.unlock(name))) throw new Error(`the hold of ${name} was over before its release`);
      },
      close: () => db.close(),
    };
  },
};
