// Writes to PostgreSQL that a late holder cannot make. The statements are the files in sql/, the reasons are in
// docs/fencing.md. `client` is one connection of `pg`, or anything whose `query(text, values)` resolves to
// `{ rows, rowCount }`. Not a pool: the statements of a transaction must go through one connection.
import { readFileSync } from "node:fs";
import { postgresFence, StaleTokenError } from "lockdb/guards";

const statement = (name) => readFileSync(new URL(`sql/${name}.sql`, import.meta.url), "utf8");

const RAISE_FENCE = statement("raise-fence");
const WRITE = statement("write");
const UPSERT = statement("upsert");
const APPEND = statement("append");
const FENCE = "SELECT fence FROM stock WHERE id = $1";

/** The first thing a new holder does: reads the count and closes the row to all holders before it, in one step. */
export async function raiseFence(client, { item, token }) {
  const { rows } = await client.query(RAISE_FENCE, [item, token]);
  if (rows.length === 0) throw await whyRefused(client, item, token);
  return Number(rows[0].count);
}

/** Writes the row if no later holder has touched it. May be called any number of times under one token. */
export async function writeCount(client, { item, count, token }) {
  const { rowCount } = await client.query(WRITE, [item, count, token]);
  if (rowCount === 0) throw await whyRefused(client, item, token);
}

/** The same for a row that may not be there yet. */
export async function putCount(client, { item, count, token }) {
  const { rowCount } = await client.query(UPSERT, [item, count, token]);
  if (rowCount === 0) throw new StaleTokenError(`stock of ${item}`, token);
}

/** Any number of rows and tables, all or nothing. From the first statement to the commit, other holders wait. */
export async function asHolder(client, { service, name, token }, work) {
  await client.query("BEGIN");
  try {
    await postgresFence(service, name).enter(client, token);
    const result = await work(client);
    await client.query("COMMIT");
    return result;
  } catch (error) {
    // A connection that is gone has rolled back by itself. What the caller has to know is the first error.
    await client.query("ROLLBACK").catch(() => {});
    throw error;
  }
}

/** One more row in a table that only grows. An insert meets no old row, so the fence is a row of its own. */
export async function appendSale(client, { service, name, token, sale, item }) {
  const { rowCount } = await client.query(APPEND, [service, name, token, sale, item]);
  if (rowCount === 0) throw new StaleTokenError(name, token);
}

/** All of it together. However long `pack` stands still, what it is followed by is refused if it came too late. */
export async function sell(locker, client, { item, pack }) {
  return await locker.withLock(`stock/${item}`, async ({ token }) => {
    const left = await raiseFence(client, { item, token });
    if (left === 0) return "sold out";
    await pack();
    await writeCount(client, { item, count: left - 1, token });
    return "sold";
  });
}

/** Nothing was changed. An item that is not there is another mistake than a token that is too low. */
async function whyRefused(client, item, token) {
  const { rows } = await client.query(FENCE, [item]);
  return rows.length === 0
    ? new Error(`There is no ${item} in stock.`)
    : new StaleTokenError(`stock of ${item}`, token);
}
