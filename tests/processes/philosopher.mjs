// One of the dining philosophers: a service of its own. What it needs beside its own fork, it has another service take.
import { once } from "node:events";
import { createServer, request as httpRequest } from "node:http";
import LockDB, { contextHeader, withContext } from "lockdb";
import { clockMs, given, notify, serveCalls } from "./mailbox.mjs";

const { name, service, serverUrl, apiKey } = given;
const locker = new LockDB(service, { serverUrl, apiKey, owner: name });
const WAIT = { wait: "forever" };
/** Called once all hold their first fork; null: nobody waits for that. */
let go = null;

/** Takes a fork for a philosopher of another service, inside of the holds that its header names. */
const server = createServer(async (request, response) => {
  const fork = decodeURIComponent(request.url.slice(1));
  const answer = await withContext(request.headers["lockdb-context"], () => take(fork));
  response.end(JSON.stringify(answer));
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
await locker.check("fork");

serveCalls({
  /** Takes one fork itself and has the other taken by a neighbour; where that is refused, all of it once more. */
  dine: async ({ first, second, port, waitsForAll }) => {
    const refusals = [];
    for (;;) {
      const answer = await locker.withLock(first, WAIT, async ({ token }) => {
        if (waitsForAll && refusals.length === 0) {
          notify("holds", { token });
          await new Promise((resolve) => {
            go = resolve;
          });
        }
        const calledMs = clockMs();
        const answer = await call(port, second);
        return { ...answer, token, calledMs, answeredMs: clockMs() };
      });
      if (answer.error === undefined) return { refusals, eaten: answer };
      refusals.push(answer);
    }
  },
  go: () => go(),
});
notify("ready", { port: server.address().port });

async function take(fork) {
  const askedMs = clockMs();
  try {
    return await locker.withLock(fork, WAIT, ({ token }) => ({ askedMs, secondToken: token }));
  } catch (error) {
    const { code, message, cycle } = error;
    return { askedMs, refusedMs: clockMs(), error: { code, message, cycle } };
  }
}

function call(port, fork) {
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      host: "127.0.0.1",
      port,
      path: `/${encodeURIComponent(fork)}`,
      headers: { "lockdb-context": contextHeader() },
    });
    request.once("error", reject).once("response", async (response) => {
      let body = "";
      for await (const text of response.setEncoding("utf8")) body += text;
      resolve(JSON.parse(body));
    });
    request.end();
  });
}
