// Each of the three guards in its place. The reasons are in docs/fencing.md.
import { httpFence, memoryFences, postgresFence, redisFence } from "lockdb/guards";

/** PostgreSQL: the first thing in a transaction. Everything in it is then guarded. */
export async function setInPostgres(client, lease, left) {
  await client.query("BEGIN");
  try {
    await postgresFence("shop", "stock/teapot").enter(client, lease);
    await client.query("UPDATE stock SET count = $1 WHERE id = 'teapot'", [left]);
    await client.query("COMMIT");
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  }
}

/** Redis: the commands go along, and are run in the same step. */
export async function setInRedis(send, lease, left) {
  await redisFence("shop", "stock/teapot").enter(send, lease, ["SET", "teapot", left]);
}

/** HTTP: the holder sends its token along … */
export async function setOverHttp(url, lease, left) {
  const headers = httpFence("shop", "stock/teapot").headers(lease);
  return await fetch(`${url}/stock/teapot`, { method: "PUT", headers, body: String(left) });
}

const fences = memoryFences();

/** … and the other service looks at it, with one store for all requests. */
export async function answer(request, response) {
  try {
    await httpFence("shop", request.url.slice(1)).enter(request.headers, fences);
    response.end("written");
  } catch (error) {
    response.writeHead(error.status ?? 500).end(error.message);
  }
}
