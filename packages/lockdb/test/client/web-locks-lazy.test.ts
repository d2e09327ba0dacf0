import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, expect, test, vi } from "vitest";
import { WebLocks } from "../../src/client/web-locks-lazy.js";
import { engineStage } from "./engine-stage.js";
import { realServer } from "./real.js";
import { outcomeOf } from "./virtual.js";

const IMPLEMENTATION = "../../src/client/web-locks.js";
const ROOT = fileURLToPath(new URL("../../../..", import.meta.url));

const real = realServer();

afterEach(() => {
  vi.doUnmock(IMPLEMENTATION);
  vi.resetModules();
});

async function stage() {
  const { world, connected } = await engineStage();
  const { ann } = await connected("ann");
  return { world, locks: new WebLocks(ann.session) };
}

test("[I1wfa] requests are granted in the order in which they were made, before the rest is loaded and after", async () => {
  const { world, locks } = await stage();
  const order: number[] = [];
  const ask = (number: number) => outcomeOf(locks.request("a", async () => order.push(number)));
  const first = [ask(1), ask(2)];
  await vi.dynamicImportSettled();
  const later = [ask(3), ask(4)];
  await world.until(() => [...first, ...later].every(({ state }) => state === "resolved"));
  expect(order).toEqual([1, 2, 3, 4]);
  expect(await world.settled(locks.query())).toEqual({ held: [], pending: [] });
  expect(String(locks)).toBe("[object LockManager]");
});

test("[I1wfb] a request is what it was when it was made, though its options are changed while the rest is loaded", async () => {
  const { world, locks } = await stage();
  const options: { mode: "exclusive" | "shared"; ifAvailable?: boolean } = { mode: "shared" };
  const read: string[] = [];
  const seen = new Proxy(options, {
    get: (target, key: keyof typeof options) => {
      read.push(key);
      return target[key];
    },
  });
  const mode = outcomeOf(locks.request("a", seen, (lock) => lock!.mode));
  expect(read).toEqual(["ifAvailable", "mode", "signal", "steal"]);
  options.mode = "exclusive";
  await vi.dynamicImportSettled();
  await world.until(() => mode.state !== "pending");
  expect(mode).toMatchObject({ state: "resolved", value: "shared" });
});

test("[I1wfc] what is wrong rejects the promise, and nothing is thrown at the call", async () => {
  const { locks } = await stage();
  const ask = locks.request.bind(locks) as (...args: readonly unknown[]) => Promise<unknown>;
  const mistake = new Error("from a getter");
  const options = {
    get mode(): string {
      throw mistake;
    },
  };
  const wrong = [
    ask(Symbol("a"), () => {}),
    ask("a"),
    ask("a", {}, "no function"),
    ask("a", 7, () => {}),
    ask("a", { mode: "neither" }, () => {}),
    ask("a", { signal: {} }, () => {}),
  ];
  for (const each of await Promise.allSettled(wrong)) {
    expect(each).toMatchObject({ status: "rejected", reason: expect.any(TypeError) });
  }
  await expect(ask("a", options, () => {})).rejects.toBe(mistake);
  await expect(ask("-a", () => {})).rejects.toMatchObject({ name: "NotSupportedError" });
  await expect(ask("a", { signal: AbortSignal.abort(mistake) }, () => {})).rejects.toBe(mistake);
});

test("[I1wfd] what cannot be loaded is a ConnectionError, and the next request tries again", async () => {
  const { world, locks } = await stage();
  vi.doMock(IMPLEMENTATION, () => {
    throw new Error("no such file");
  });
  const refused = await Promise.allSettled([locks.request("a", () => {}), locks.query()]);
  for (const each of refused) {
    expect(each).toMatchObject({
      status: "rejected",
      reason: { name: "ConnectionError", code: "CONNECTION", retryable: true, cause: expect.any(Error) },
    });
  }
  vi.doUnmock(IMPLEMENTATION);
  const again = outcomeOf(locks.request("a", () => "done"));
  await vi.dynamicImportSettled();
  await world.until(() => again.state !== "pending");
  expect(again).toMatchObject({ state: "resolved", value: "done" });
});

test("[I1wfe] the package as a browser sees it loads Web Locks when they are used, and not before", async () => {
  const loads = `import { writeSync } from "node:fs";
    export async function load(url, context, next) {
      const file = url.split("/lockdb/dist/")[1];
      if (file !== undefined) writeSync(1, file + "\\n");
      return next(url, context);
    }`;
  const program = `
    import { register } from "node:module";
    import { writeSync } from "node:fs";
    import WebSocket from "./node_modules/ws/wrapper.mjs";
    register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(loads)}`)});
    Object.assign(globalThis, { WebSocket });
    const { default: LockDB } = await import("lockdb");
    const [apiKey, serverUrl] = ${JSON.stringify([real.server.rootKey, real.server.url])};
    const locker = new LockDB("page", { apiKey, serverUrl });
    await locker.withLock("a", () => {});
    writeSync(1, "locked\\n");
    writeSync(1, await locker.locks.request("a", (lock) => "held " + lock.name) + "\\n");
    writeSync(1, "lead\\n");
    await locker.lead("b", async () => writeSync(1, "led\\n"));
    await locker.close();`;
  const args = ["--conditions=browser", "--input-type=module", "--eval", program];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT });
  const lines = stdout.trim().split("\n");
  const before = lines.slice(0, lines.indexOf("locked"));
  expect(before).toContain("runtime/browser.js");
  expect(before).not.toContain("runtime/node.js");
  expect(before.filter((file) => file.startsWith("client/web-lock"))).toEqual(["client/web-locks-lazy.js"]);
  // Nor does it load what is for those who have a tracer, or lead.
  expect(before.filter((file) => file.startsWith("client/lead"))).toEqual(["client/lead-lazy.js"]);
  expect(before.filter((file) => file.startsWith("client/tracing"))).toEqual(["client/tracing-lazy.js"]);
  const after = lines.slice(lines.indexOf("locked") + 1, lines.indexOf("lead"));
  expect(lines.slice(lines.indexOf("lead") + 1)).toEqual(["client/lead.js", "led"]);
  // Nothing else: of what both parts import, bundlers make a file of its own.
  expect(after).toEqual(["client/web-locks.js", "client/web-lock-request.js", "held a"]);
});
