import { execFile } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Server, serve } from "@lockdb/server";
import { expect, test } from "vitest";

const PACKAGE = fileURLToPath(new URL("../..", import.meta.url));
const BROWSER = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);

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
        const say = (text) => fetch("/say", { method: "POST", body: String(text) });
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
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const web = createServer(async (request, response) => {
      const url = request.url!;
      if (url === "/say") {
        let said = "";
        for await (const chunk of request) said += chunk;
        log.push(said);
        if (said === "end") end();
        response.end();
      } else if (url === "/") {
        response.setHeader("content-type", "text/html").end(page());
      } else if (url.startsWith("/dist/")) {
        log.push(url);
        response.setHeader("content-type", "text/javascript").end(readFileSync(join(PACKAGE, url)));
      } else response.writeHead(404).end();
    }).listen(0, "127.0.0.1");
    await once(web, "listening");
    const profile = mkdtempSync(join(tmpdir(), "lockdb-page-"));
    const flags = [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      `--user-data-dir=${profile}`,
    ];
    const origin = `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
    const address = `${origin}/`;
    for (const allowOrigins of [origin, ""])
      servers.push(await serve({ port: 0, store: "memory", logLevel: "silent", allowOrigins }));
    const browser = execFile(BROWSER!, [...flags, "--remote-debugging-port=0", address]);
    await Promise.race([ended, once(browser, "exit")]);
    if (browser.exitCode === null && browser.kill()) await once(browser, "exit");
    web.closeAllConnections();
    web.close();
    for (const server of servers) await server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
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
