import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Server, serve } from "@lockdb/server";
import { expect, test } from "vitest";
import { BROWSER, SAY, visit } from "./chromium.js";

const PACKAGE = fileURLToPath(new URL("../..", import.meta.url));

test.skipIf(BROWSER === undefined)(
  "[I1bw] a page in Chromium locks, loads Web Locks when it uses them, and calls no server that does not allow it",
  { timeout: 60_000 },
  async () => {
    const { imports } = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8"));
    const asInBrowser = Object.entries<{ browser: string }>(imports).map(([name, { browser }]) => [
      name,
      browser.replace("./", "/"),
    ]);
    const servers: Server[] = [];
    const page = () => `<!doctype html>
      <script type="importmap">${JSON.stringify({ imports: Object.fromEntries(asInBrowser) })}</script>
      <script type="module">
        ${SAY}
        try {
          const { default: LockDB } = await import("/dist/index.js");
          const [apiKey, serverUrl] = ${JSON.stringify([servers[0]!.rootKey, servers[0]!.url])};
          const locker = new LockDB("page", { apiKey, serverUrl });
          await say(await locker.withLock("a", (lease) => "token " + lease.token));
          await say(await locker.locks.request("a", { ifAvailable: true }, (lock) => "held " + lock.name));
          await locker.close();
          // The HTTP API, and a server that allows no page from here.
          const [otherKey, otherUrl] = ${JSON.stringify([servers[1]!.rootKey, servers[1]!.url])};
          const ask = (url, key) => fetch(url + "/v1/services/page/acquire", {
            method: "POST", headers: { authorization: "Bearer " + key }, body: '{"names":"b"}',
          });
          const answer = await ask(serverUrl, apiKey);
          await say(answer.status + " " + (await answer.json()).token);
          await say(await ask(otherUrl, otherKey).then(() => "reached", (error) => error.name));
          const refused = new LockDB("page", { apiKey: otherKey, serverUrl: otherUrl });
          await say(await refused.acquire("a").then(() => "reached", (error) => error.code));
        } catch (error) {
          await say(error);
        }
        await say("end");
      </script>`;
    const log: string[] = [];
    const site = {
      script: (path: string) => {
        if (!path.startsWith("/dist/")) return null;
        log.push(path);
        return readFileSync(join(PACKAGE, path), "utf8");
      },
      page: async (origin: string) => {
        for (const allowOrigins of [origin, ""])
          servers.push(await serve({ port: 0, store: "memory", logLevel: "silent", allowOrigins }));
        return page();
      },
    };
    await visit(site, log);
    for (const server of servers) await server.close();
    const spoken = log.filter((line) => !line.startsWith("/dist/"));
    expect(spoken).toEqual(["token 1", "held a", "200 3", "TypeError", "CONNECTION", "end"]);
    const locks = log.filter((line) => /web-lock|token|held/.test(line));
    expect(locks).toEqual([
      "/dist/client/web-locks-lazy.js",
      "token 1",
      "/dist/client/web-locks.js",
      "/dist/client/web-lock-request.js",
      "held a",
    ]);
  },
);

if (BROWSER === undefined) console.warn("No Chromium: the client was not tried in a page.");
