import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type Server, serve } from "@lockdb/server";
import LockDB, { type Lease } from "lockdb";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { type Connection, findPostgres, PrivatePostgres } from "../fencing/support/postgres.js";
// @ts-expect-error Plain JavaScript, as its readers run it.
import { consume } from "./consumer.js";
// @ts-expect-error Plain JavaScript, as its readers run it.
import { encodeSome, ifFree, invoiceOnce, readTogether } from "./instead.js";
// @ts-expect-error Plain JavaScript, as its readers run it.
import { schedule } from "./leader.js";
// @ts-expect-error Plain JavaScript, as its readers run it.
import { nightly, refresh } from "./nightly.js";
// @ts-expect-error Plain JavaScript, as its readers run it.
import { pay, payRoute } from "./payments.js";

const BIN = fileURLToPath(new URL("../../packages/lockdb/bin/lockdb.js", import.meta.url));
const SPEC = fileURLToPath(new URL("invoices.spec.js", import.meta.url));
const run = promisify(execFile);
/** What starts processes may be slow on a busy machine. */
const PROCESSES_MS = 60_000;

let server: Server;
const lockers: LockDB[] = [];

beforeAll(async () => {
  server = await serve({ port: 0, store: "memory", logLevel: "silent" });
});
afterEach(async () => {
  await Promise.all(lockers.splice(0).map((locker) => locker.close()));
});
afterAll(() => server.close());

function client(owner: string, service = "shop"): LockDB {
  const locker = new LockDB(service, { serverUrl: server.url, apiKey: server.rootKey, owner });
  lockers.push(locker);
  return locker;
}

async function untilQueued(locker: LockDB, name: string, length = 1): Promise<void> {
  while ((await locker.inspect(name)).queueLength < length) await setImmediate();
}

/** A table that says which days are done. */
function journal() {
  const done = new Map<string, number>();
  return {
    done,
    isDone: async (day: string) => done.has(day),
    markDone: async (day: string, token: number) => done.set(day, token),
  };
}

describe("cron jobs", () => {
  test("[I1xa] every host starts the job, one does it, and once a day", async () => {
    const days = journal();
    const work = vi.fn(async () => {});
    const hosts = ["one", "two", "three"].map((host) => client(host));
    const told = await Promise.all(hosts.map((host) => nightly(host, days, "2026-11-26", work)));
    expect(told.toSorted()).toEqual(["done", "done before", "done before"]);
    expect(await nightly(hosts[0], days, "2026-11-27", work)).toBe("done");
    expect(work).toHaveBeenCalledTimes(2);
  });

  test("[I1xb] when the host that does it fails, the next one does it", async () => {
    const days = journal();
    const [one, two] = [client("one"), client("two")];
    const failing = nightly(one, days, "2026-11-26", async () => {
      await untilQueued(one, "cron/nightly");
      throw new Error("no space left");
    });
    const second = nightly(two, days, "2026-11-26", async () => {});
    await expect(failing).rejects.toThrow("no space left");
    expect(await second).toBe("done");
  });

  test("[I1xc] who comes second to a job that may be left out goes home, also just after it", async () => {
    const [one, two] = [client("one"), client("two")];
    expect(await refresh(one, async () => {})).toBe("done");
    expect(await refresh(two, async () => expect.unreachable())).toBe("somebody does it");
  });
});

test("[I1xd] one process plans, and when it stops the next one does, under a higher token", async () => {
  const [one, two] = [client("one"), client("two")];
  const leaders: [string, number][] = [];
  const [stopOne, stopTwo] = [new AbortController(), new AbortController()];
  const plan =
    (name: string, stop: AbortController) =>
    async ({ token }: Lease) => {
      leaders.push([name, token]);
      if (name === "one") await untilQueued(one, "scheduler");
      stop.abort();
    };
  const first = schedule(one, { signal: stopOne.signal, plan: plan("one", stopOne), everyMs: 60_000 });
  while (leaders.length === 0) await setImmediate();
  await Promise.all([
    first,
    schedule(two, { signal: stopTwo.signal, plan: plan("two", stopTwo), everyMs: 60_000 }),
  ]);
  expect(leaders.map(([name]) => name)).toEqual(["one", "two"]);
  expect(leaders[1]![1]).toBeGreaterThan(leaders[0]![1]);
});

test("[I3xa] a function asks over HTTP under a lease that outlasts it; another one is told that it is busy", async () => {
  vi.stubEnv("LOCKDB_SERVER_URL", server.url).stubEnv("LOCKDB_API_KEY", server.rootKey);
  // @ts-expect-error Plain JavaScript, as its readers run it.
  const { underLock } = await import("./serverless.js");
  vi.unstubAllEnvs();
  let seen: number | undefined;
  const others = await underLock("import/7", { leftMs: 60_000 }, async (token: number) => {
    const { holders } = await client("someone").inspect("import/7");
    expect(holders[0]!.token).toBe(token);
    seen = holders[0]!.expiresInMs;
    return underLock("import/7", { leftMs: 60_000, waitMs: 0 }, () => expect.unreachable());
  });
  expect(others).toBeNull();
  expect(seen).toBeGreaterThan(60_000);
  expect(await client("someone").check("import/7")).toBe(false);
});

test("[I6xa] a service's own tests start a server in memory", { timeout: PROCESSES_MS }, async () => {
  const { stdout } = await run(process.execPath, ["--test-reporter=tap", SPEC], { timeout: PROCESSES_MS });
  expect(stdout).toMatch(/^# pass 2$/m);
});

test("[I4xa] a stuck lock is found, and freed, with the commands of the guide", {
  timeout: PROCESSES_MS,
}, async () => {
  const hanging = client("db3:4711", "billing");
  const lease = await hanging.acquire("nightly");
  const env = {
    ...process.env,
    LOCKDB_SERVER_URL: server.url,
    LOCKDB_API_KEY: server.rootKey,
    LOCKDB_SERVICE_ID: "billing",
  };
  const lockdb = async (...args: string[]) =>
    (await run(process.execPath, [BIN, ...args], { env, timeout: PROCESSES_MS })).stdout;
  expect(await lockdb("show", "nightly")).toContain("db3:4711");
  await lockdb("force-release", "nightly", "--token", String(lease.token), "--reason", "host db3 hangs");
  if (!lease.signal.aborted) await once(lease.signal, "abort");
  expect(lease.signal.reason).toMatchObject({ code: "LOCK_LOST" });
  expect(await client("someone", "billing").check("nightly")).toBe(false);
});

describe("instead of other locks", () => {
  test("[I1xe] one at a time, some at a time, only if free, and readers together", async () => {
    const [one, two] = [client("one"), client("two")];
    const settle = vi.fn(async () => {});
    await Promise.all([invoiceOnce(one, 7, settle), invoiceOnce(two, 7, settle)]);
    expect(settle).toHaveBeenCalledTimes(2);
    let [now, most] = [0, 0];
    const encode = async () => {
      most = Math.max(most, ++now);
      await setImmediate();
      now--;
    };
    await Promise.all(Array.from({ length: 12 }, (_, at) => encodeSome(at % 2 === 0 ? one : two, encode)));
    expect(most).toBeLessThanOrEqual(4);
    expect(await ifFree(one, "x", () => ifFree(two, "x", () => expect.unreachable()))).toBe(true);
    const together = () => readTogether(two, "catalogue", async () => "read");
    expect(await readTogether(one, "catalogue", together)).toBe("read");
  });
});

const schema = ["payments.sql", "consumer.sql"].map((file) =>
  readFileSync(new URL(file, import.meta.url), "utf8"),
);
const programs = findPostgres();

describe.skipIf(programs === null)("guides with PostgreSQL", () => {
  let postgres: PrivatePostgres;
  let [one, two]: LockDB[] = [];
  let connections: readonly [Connection, Connection];

  beforeAll(async () => {
    postgres = await PrivatePostgres.start(programs!);
    connections = [postgres.connect(), postgres.connect()];
    const [db] = connections;
    for (const sql of schema)
      for (const statement of sql.split(/;[^\n]*\n/).filter((each) => each.trim() !== ""))
        await db.query(statement);
    await db.query("INSERT INTO orders (id, cents) VALUES (42, 1999), (43, 500)");
    await db.query("INSERT INTO accounts (id) VALUES ('ann')");
  }, 60_000);
  beforeEach(() => {
    [one, two] = [client("one"), client("two")];
  });
  afterAll(() => postgres?.stop());

  test("[F4zc] an order that two instances pay at once is charged once, and both have its receipt", async () => {
    const charge = vi.fn(async (cents: number, { idempotencyKey }: { idempotencyKey: string }) => {
      return `${idempotencyKey} ${cents}`;
    });
    const answers = await Promise.all([
      pay(one, connections[0], charge, 42),
      pay(two, connections[1], charge, 42),
    ]);
    expect(answers).toEqual(["order-42 1999", "order-42 1999"]);
    expect(charge).toHaveBeenCalledTimes(1);
  });

  test("[F4zd] a holder that a later one has overtaken writes nothing, though it was charged by then", async () => {
    const [db, later] = connections;
    const late = pay(
      one,
      db,
      async () => {
        await later.query("UPDATE orders SET fence = 1000000, receipt = 'of the later one' WHERE id = 43");
        return "of the late one";
      },
      43,
    );
    await expect(late).rejects.toThrow("a later holder was here");
    const { rows } = await later.query("SELECT receipt FROM orders WHERE id = 43");
    expect(rows).toEqual([{ receipt: "of the later one" }]);
  });

  test("[F4ze] the route answers with the receipt, and 409 while the order is being paid", async () => {
    const route = payRoute(one, connections[0], async () => "unused");
    const response = () => {
      const told: { status: number; body?: unknown } = { status: 200 };
      const status = (code: number) => {
        told.status = code;
        return { json };
      };
      const json = (body: unknown) => {
        told.body = body;
      };
      return { told, status, json };
    };
    const paid = response();
    await route({ params: { id: "42" } }, paid, expect.unreachable);
    expect(paid.told).toEqual({ status: 200, body: { receipt: "order-42 1999" } });
    const failed = vi.fn();
    await route({ params: { id: "999" } }, response(), failed);
    expect(failed.mock.calls[0]![0].message).toContain("There is no order 999");
  });

  test("[F4zf] a message that comes twice is done once, and its account has its points once", async () => {
    const message = { id: "m1", account: "ann" };
    const rate = vi.fn(async () => 10);
    const told = await Promise.all([
      consume(one, connections[0], message, rate),
      consume(two, connections[1], message, rate),
    ]);
    expect(told.toSorted()).toEqual(["done", "done before"]);
    expect(rate).toHaveBeenCalledTimes(1);
    expect(await points()).toBe("10");
  });

  test("[F4zg] a consumer that comes too late changes nothing, nor does one that fails in the middle", async () => {
    const message = { id: "m2", account: "ann" };
    const late = await consume(one, connections[0], message, async () => {
      await connections[1].query("INSERT INTO done (id) VALUES ('m2')");
      return 10;
    });
    expect(late).toBe("done before");
    const broken = consume(one, connections[0], { id: "m3", account: "ann" }, async () => "no number");
    await expect(broken).rejects.toThrow();
    const { rowCount } = await connections[0].query("SELECT FROM done WHERE id = 'm3'");
    expect([rowCount, await points()]).toEqual([0, "10"]);
  });

  async function points(): Promise<string> {
    const { rows } = await connections[0].query("SELECT points FROM accounts WHERE id = 'ann'");
    return rows[0]!.points!;
  }
});
