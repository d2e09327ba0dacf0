// A function that is started for one event and may be frozen or killed after it: over HTTP, without a connection that has to live.
import { randomUUID } from "node:crypto";

const { LOCKDB_SERVER_URL, LOCKDB_API_KEY } = process.env;

/**
 * @param leftMs what is left until the platform kills the function, such as `context.getRemainingTimeInMillis()`
 * @returns what `work` returns; null when the lock was not free in time
 */
export async function underLock(name, { leftMs, waitMs = 5_000 }, work) {
  // The lease is longer than the function can live, also by another clock (3 %): nobody needs to renew it.
  const leaseMs = Math.ceil(1.03 * leftMs) + 5_000;
  const request = { names: name, leaseMs, waitMs, requestId: randomUUID() };
  let { status, answer } = await ask("/acquire", request);
  while (status === 202) ({ status, answer } = await ask("/acquire", request));
  if (status === 423) return null;
  if (status !== 200) throw new Error(`${answer.error.code}: ${answer.error.message}`);
  const { token } = answer;
  try {
    return await work(token);
  } finally {
    // Unanswered, it ends with its lease.
    await ask("/release", { token }).catch(() => {});
  }
}

async function ask(path, body) {
  const response = await fetch(`${LOCKDB_SERVER_URL}/v1/services/shop${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${LOCKDB_API_KEY}` },
    body: JSON.stringify(body),
  });
  return { status: response.status, answer: await response.json() };
}
