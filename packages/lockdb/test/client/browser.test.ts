import { serve } from "@lockdb/server";
import { beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { PLAIN_TERMS } from "../../src/client/request.js";
import { ClientSession } from "../../src/client/session.js";
import type { Runtime } from "../../src/runtime/runtime.js";

const TERMS = { ...PLAIN_TERMS, names: "disk", waitMs: 1_000 };

// Node.js 20 has all the globals that the browser's runtime uses but this one, whose interface ws has too.
beforeAll(() => {
  Object.assign(globalThis, { WebSocket });
});

async function browserRuntime(): Promise<Runtime> {
  return (await import("../../src/runtime/browser.js")).runtime;
}

test("[I1br] a browser locks and releases, its key offered as a subprotocol", async () => {
  const server = await serve({ port: 0, store: "memory", logLevel: "silent" });
  const options = {
    service: "page",
    apiKey: server.rootKey,
    urls: [server.url],
    leaseMs: 10_000,
    owner: "page",
  };
  const session = new ClientSession(await browserRuntime(), options);
  const lease = await session.acquire(TERMS);
  expect(lease.token).toBe(1);
  expect(await lease.release()).toBe(true);
  await session.close();
  await server.close();
});

test("[A1br] a wrong key offered as a subprotocol opens nothing", async () => {
  const server = await serve({ port: 0, store: "memory", logLevel: "silent" });
  const runtime = await browserRuntime();
  const closed = new Promise<string>((resolve) => {
    runtime.connect(`${server.url.replace("http", "ws")}/v1/connect`, "wrong-key-of-some-length", {
      open: () => resolve("open"),
      message: () => {},
      close: () => resolve("closed"),
    });
  });
  expect(await closed).toBe("closed");
  await server.close();
});
