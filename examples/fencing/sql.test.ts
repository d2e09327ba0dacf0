import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { serve } from "@lockdb/server";
import LockDB from "lockdb";
import { POSTGRES_MIGRATION, postgresFence, postgresMigration } from "lockdb/guards";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { hasRedis, PrivateRedis } from "../../packages/lockdb/test/guards/private-redis.js";
// @ts-expect-error Plain JavaScript, as its readers run it.
import { answer, setInPostgres, setInRedis, setOverHttp } from "./guards.js";
// @ts-expect-error Plain JavaScript, as its readers run it.
import { appendSale, asHolder, putCount, raiseFence, sell, writeCount } from "./sql.js";
import { gate } from "./support/gate.js";
import { type Connection, findPostgres, PrivatePostgres, untilOneWaits } from "./support/postgres.js";

const SCHEMA = readFileSync(new URL("sql/schema.sql", import.meta.url), "utf8");
const READ = "SELECT count FROM stock WHERE id = $1";
const LATE = expect.objectContaining({ name: "StaleTokenError" });

const [item, service, name] = ["teapot", "shop", "stock/teapot"];
const [OLD, NEW] = [1, 2];

const programs = findPostgres();

describe.skipIf(programs === null)("the fence in PostgreSQL", () => {
  let postgres: PrivatePostgres;
  let oldHolder: Connection;
  let newHolder: Connection;
  let observer: Connection;

  beforeAll(async () => {
    postgres = await PrivatePostgres.start(programs!);
  });
  beforeEach(async () => {
    [oldHolder, newHolder, observer] = [postgres.connect(), postgres.connect(), postgres.connect()];
    await observer.query("DROP SCHEMA public CASCADE");
    await observer.query("CREATE SCHEMA public");
    await observer.query(POSTGRES_MIGRATION);
    await observer.query(SCHEMA);
    await observer.query("INSERT INTO stock (id, count) VALUES ($1, 20)", [item]);
  });
  afterEach(() => postgres.closeConnections());
  afterAll(() => postgres?.stop());

  test("[F4b] a holder may write many times; after a later one it may not, and nothing is changed", async () => {
    await writeCount(oldHolder, { item, count: 19, token: OLD });
    await writeCount(oldHolder, { item, count: 18, token: OLD });
    expect(await raiseFence(oldHolder, { item, token: OLD })).toBe(18);
    await writeCount(newHolder, { item, count: 17, token: NEW });
    await expect(writeCount(oldHolder, { item, count: 99, token: OLD })).rejects.toEqual(LATE);
    await expect(raiseFence(oldHolder, { item, token: OLD })).rejects.toEqual(LATE);
    expect(await theRow()).toEqual({ count: 17, fence: NEW });
  });

  test("[F4c] tokens are compared as numbers", async () => {
    await writeCount(oldHolder, { item, count: 19, token: 9 });
    await writeCount(newHolder, { item, count: 18, token: 10 });
    await writeCount(newHolder, { item, count: 17, token: Number.MAX_SAFE_INTEGER });
    await expect(writeCount(oldHolder, { item, count: 99, token: 11 })).rejects.toEqual(LATE);
  });

  test("[F4d] an item that is not there is not taken for a late holder", async () => {
    await expect(raiseFence(newHolder, { item: "kettle", token: NEW })).rejects.toThrow("There is no kettle");
    await expect(writeCount(newHolder, { item: "kettle", count: 1, token: NEW })).rejects.toThrow(
      "no kettle",
    );
  });

  test("[F4e] a holder that stalls in its transaction is refused when it goes on, and without the check overwrites", async () => {
    const unguarded = "UPDATE stock SET count = $2 WHERE id = $1";
    expect(await stallBetweenReadAndWrite((count) => oldHolder.query(unguarded, [item, count]))).toEqual({
      // 20 in stock, the new holder sold three: its sales are lost.
      count: 19,
      fence: NEW,
    });
    await observer.query("UPDATE stock SET count = 20, fence = 0");
    const guarded = (count: number) => writeCount(oldHolder, { item, count, token: OLD });
    expect(await stallBetweenReadAndWrite(guarded)).toEqual({ count: 17, fence: NEW });
  });

  test("[F4f] a write that waits for a later holder's commit is checked against what was committed", async () => {
    await newHolder.query("BEGIN");
    await writeCount(newHolder, { item, count: 17, token: NEW });
    const late = writeCount(oldHolder, { item, count: 99, token: OLD }).catch((error: Error) => error);
    await untilOneWaits(observer);
    await newHolder.query("COMMIT");
    expect(await late).toEqual(LATE);
    expect(await theRow()).toEqual({ count: 17, fence: NEW });
  });

  test("[F4g] a check in a statement of its own, even in the same transaction, comes too early", async () => {
    await oldHolder.query("BEGIN");
    const { rows } = await oldHolder.query("SELECT fence FROM stock WHERE id = $1", [item]);
    expect(Number(rows[0]!.fence) <= OLD).toBe(true); // Checked: fine.
    await writeCount(newHolder, { item, count: 17, token: NEW });
    await oldHolder.query("UPDATE stock SET count = $2, fence = $3 WHERE id = $1", [item, 99, OLD]);
    await oldHolder.query("COMMIT");
    expect(await theRow()).toEqual({ count: 99, fence: OLD }); // The fence is down, too.
  });

  test("[F4h] a new holder that only reads leaves the door open; one that raises the fence closes it", async () => {
    const { rows } = await newHolder.query(READ, [item]);
    await writeCount(oldHolder, { item, count: 15, token: OLD }); // Late, between the read and the write: passes.
    await writeCount(newHolder, { item, count: Number(rows[0]!.count) - 1, token: NEW });
    expect(await theRow()).toEqual({ count: 19, fence: NEW }); // Five sales are forgotten.

    await observer.query("UPDATE stock SET count = 20, fence = 0");
    const left = await raiseFence(newHolder, { item, token: NEW });
    await expect(writeCount(oldHolder, { item, count: 15, token: OLD })).rejects.toEqual(LATE);
    await writeCount(newHolder, { item, count: left - 1, token: NEW });
    expect(await theRow()).toEqual({ count: 19, fence: NEW });
  });

  test("[F4i] insert or update: the first makes the row, a later holder updates it, a late one does neither", async () => {
    await observer.query("DELETE FROM stock");
    await putCount(oldHolder, { item, count: 5, token: OLD });
    await putCount(oldHolder, { item, count: 4, token: OLD });
    await putCount(newHolder, { item, count: 3, token: NEW });
    await expect(putCount(oldHolder, { item, count: 99, token: OLD })).rejects.toEqual(LATE);
    expect(await theRow()).toEqual({ count: 3, fence: NEW });
  });

  test("[F4j] two inserts at once: the late one waits for the other's row and is refused", async () => {
    await observer.query("DELETE FROM stock");
    await newHolder.query("BEGIN");
    await putCount(newHolder, { item, count: 3, token: NEW });
    const late = putCount(oldHolder, { item, count: 99, token: OLD }).catch((error: Error) => error);
    await untilOneWaits(observer);
    await newHolder.query("COMMIT");
    expect(await late).toEqual(LATE);
    expect(await theRow()).toEqual({ count: 3, fence: NEW });
  });

  test("[F4k] one fence for several tables: a late transaction leaves nothing behind, a failed one neither", async () => {
    await asHolder(newHolder, { service, name, token: NEW }, (client: Connection) =>
      takeOne(client, "sale-1", NEW),
    );
    const late = asHolder(oldHolder, { service, name, token: OLD }, (client: Connection) =>
      takeOne(client, "sale-2", OLD),
    );
    await expect(late).rejects.toEqual(LATE);
    const failed = asHolder(newHolder, { service, name, token: NEW }, async (client: Connection) => {
      await takeOne(client, "sale-3", NEW);
      throw new Error("out of paper");
    });
    await expect(failed).rejects.toThrow("out of paper");
    expect(await theSales()).toEqual(["sale-1"]);
    expect((await theRow()).count).toBe(19);
    await asHolder(newHolder, { service, name, token: NEW }, (client: Connection) =>
      takeOne(client, "sale-4", NEW),
    );
    expect(await theSales()).toEqual(["sale-1", "sale-4"]);
  });

  test("[F4l] an old holder inside its transaction makes the new one wait, and is the last of the old", async () => {
    const inside = await startAsHolder(oldHolder, OLD);
    const next = asHolder(newHolder, { service, name, token: NEW }, async (client: Connection) => {
      const { rows } = await client.query(READ, [item]);
      await takeOne(client, "sale-2", NEW);
      return Number(rows[0]!.count);
    });
    await untilOneWaits(observer);
    await inside.finish("sale-1");
    expect(await next).toBe(19); // It waited, so it sees the sale before its own.
    expect((await theRow()).count).toBe(18);
    await expect(asHolder(oldHolder, { service, name, token: OLD }, () => {})).rejects.toEqual(LATE);
  });

  test("[F4m] under a stricter isolation the wait ends in 40001, and the next try is refused", async () => {
    await asHolder(oldHolder, { service, name, token: OLD }, () => {}); // The fence's row is there.
    const inside = await startAsHolder(newHolder, NEW);
    await oldHolder.query("SET default_transaction_isolation = 'repeatable read'");
    const late = () =>
      asHolder(oldHolder, { service, name, token: OLD }, (client: Connection) =>
        takeOne(client, "sale-2", OLD),
      );
    const first = late().catch((error: Error) => error);
    await untilOneWaits(observer);
    await inside.finish("sale-1");
    expect(await first).toMatchObject({ code: "40001" });
    await expect(late()).rejects.toEqual(LATE);
    expect(await theSales()).toEqual(["sale-1"]);
  });

  test("[F4n] a table that only grows: a late insert is refused; one that looks for later rows itself is not", async () => {
    await appendSale(oldHolder, { service, name, token: OLD, sale: "sale-1", item });
    await appendSale(oldHolder, { service, name, token: OLD, sale: "sale-2", item });
    await newHolder.query("BEGIN");
    await appendSale(newHolder, { service, name, token: NEW, sale: "sale-3", item });
    // Sees no later sale, since that one is not committed, and no lock makes it wait.
    const looking =
      "INSERT INTO sales (id, item, token) SELECT $1, $2, $3::bigint WHERE NOT EXISTS (SELECT FROM sales WHERE token > $3)";
    expect((await oldHolder.query(looking, ["sale-4", item, OLD])).rowCount).toBe(1);
    const late = appendSale(oldHolder, { service, name, token: OLD, sale: "sale-5", item }).catch(
      (error: Error) => error,
    );
    await untilOneWaits(observer);
    await newHolder.query("COMMIT");
    expect(await late).toEqual(LATE);
    expect(await theSales()).toEqual(["sale-1", "sale-2", "sale-3", "sale-4"]);
  });

  test("[F4o] with the real service: a holder that stood still while its lock was given on cannot write", async () => {
    const server = await serve({ port: 0, store: "memory", logLevel: "silent" });
    const options = { serverUrl: server.url, apiKey: server.rootKey };
    const lockers = [new LockDB("shop", options), new LockDB("shop", options)] as const;
    try {
      const [packing, goOn] = [gate(), gate()];
      const stalled = sell(lockers[0], oldHolder, {
        item,
        pack: () => {
          packing.open();
          return goOn.opened;
        },
      }).catch((error: Error) => error);
      await Promise.race([packing.opened, stalled]);
      const { holders } = await lockers[1].inspect(name);
      await lockers[1].forceRelease(name, holders[0]!.token, "It has been packing for an hour.");
      expect(await sell(lockers[1], newHolder, { item, pack: () => {} })).toBe("sold");
      goOn.open();
      expect(await stalled).toEqual(LATE);
      expect((await theRow()).count).toBe(19);
    } finally {
      await Promise.all(lockers.map((locker) => locker.close()));
      await server.close();
    }
  });

  test("[F5a] a fence is entered by its holder any number of times; after a later one it is not, and says so", async () => {
    const fence = postgresFence(service, name);
    await inTransaction(oldHolder, () => fence.enter(oldHolder, OLD));
    await inTransaction(oldHolder, () => fence.enter(oldHolder, { token: OLD }));
    await inTransaction(newHolder, () => fence.enter(newHolder, NEW));
    await expect(inTransaction(oldHolder, () => fence.enter(oldHolder, OLD))).rejects.toMatchObject({
      name: "StaleTokenError",
      code: "STALE_TOKEN",
      status: 409,
      token: OLD,
    });
    expect(await theFences()).toEqual([[service, name, NEW]]);
  });

  test("[F5b] outside of a transaction nothing is raised, since nothing that follows would be guarded", async () => {
    await expect(postgresFence(service, name).enter(oldHolder, OLD)).rejects.toThrow("BEGIN first");
    expect(await theFences()).toEqual([]);
  });

  test("[F5c] each lock of each service has a fence of its own; tokens are numbers, and may jump as after a restore", async () => {
    const [nine, ten, restored] = [9, 10, 30_000_000_000_000];
    const others = [postgresFence("shop-2", name), postgresFence(service, "stock/kettle")];
    await inTransaction(newHolder, () => postgresFence(service, name).enter(newHolder, ten));
    for (const other of others) await inTransaction(oldHolder, () => other.enter(oldHolder, nine));
    await inTransaction(newHolder, () => postgresFence(service, name).enter(newHolder, restored));
    await expect(
      inTransaction(oldHolder, () => postgresFence(service, name).enter(oldHolder, ten)),
    ).rejects.toEqual(LATE);
    expect(await theFences()).toEqual([
      [service, "stock/kettle", nine],
      ["shop-2", name, nine],
      [service, name, restored],
    ]);
  });

  test("[F5d] a table of another name; the statement sent by hand, whose answer is rows or has them", async () => {
    await observer.query(postgresMigration("public.late_holders"));
    const fence = postgresFence(service, name, { table: "public.late_holders" });
    const { text, values } = fence.statement(NEW);
    const answer = await newHolder.query(text, values);
    fence.check(answer, NEW);
    fence.check(answer.rows, NEW);
    const late = await oldHolder.query(text, fence.statement(OLD).values);
    expect(() => fence.check(late, OLD)).toThrow(LATE);
    expect(() => fence.check(late.rows, OLD)).toThrow(LATE);
    expect(() => fence.check({ rowCount: 1 }, OLD)).toThrow("no rows");
    expect(await theFences()).toEqual([]);
  });

  test("[F5p] the guards of the docs: a late holder's lines change nothing in PostgreSQL, Redis or another service", async () => {
    const [late, holder] = [{ token: OLD }, { token: NEW }];
    await setInPostgres(newHolder, holder, 17);
    await expect(setInPostgres(oldHolder, late, 99)).rejects.toEqual(LATE);
    expect((await theRow()).count).toBe(17);

    const other = createServer(answer).listen(0, "127.0.0.1");
    await once(other, "listening");
    const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
    expect((await setOverHttp(url, holder, 17)).status).toBe(200);
    expect((await setOverHttp(url, late, 99)).status).toBe(409);
    other.closeAllConnections();
    other.close();

    if (!hasRedis()) return;
    const redis = await PrivateRedis.start();
    await setInRedis(redis.send, holder, 17);
    await expect(setInRedis(redis.send, late, 99)).rejects.toEqual(LATE);
    expect(await redis.send(["GET", item])).toBe("17");
    await redis.stop();
  });

  async function inTransaction(client: Connection, work: () => Promise<void>): Promise<void> {
    await client.query("BEGIN");
    await work().then(
      () => client.query("COMMIT"),
      (error) => client.query("ROLLBACK").then(() => Promise.reject(error)),
    );
  }

  async function theFences(): Promise<[string, string, number][]> {
    const { rows } = await observer.query(
      "SELECT service, name, token FROM lockdb_fences ORDER BY token, service",
    );
    return rows.map((row) => [row.service!, row.name!, Number(row.token)]);
  }

  /** The old holder reads, stands still while a new one sells three, and then writes. */
  async function stallBetweenReadAndWrite(write: (count: number) => Promise<unknown>) {
    await oldHolder.query("BEGIN");
    const { rows } = await oldHolder.query(READ, [item]);
    const left = await raiseFence(newHolder, { item, token: NEW });
    await writeCount(newHolder, { item, count: left - 3, token: NEW });
    const refused = await write(Number(rows[0]!.count) - 1).then(
      () => false,
      () => true,
    );
    await oldHolder.query(refused ? "ROLLBACK" : "COMMIT");
    return theRow();
  }

  /** A holder that has entered its transaction and stands still there until it is told to finish. */
  async function startAsHolder(client: Connection, token: number) {
    const [entered, goOn] = [gate(), gate<string>()];
    const done = asHolder(client, { service, name, token }, async () => {
      entered.open();
      await takeOne(client, await goOn.opened, token);
    });
    await Promise.race([entered.opened, done]);
    return {
      finish: async (sale: string) => {
        goOn.open(sale);
        await done;
      },
    };
  }

  async function takeOne(client: Connection, sale: string, token: number): Promise<void> {
    await client.query("UPDATE stock SET count = count - 1 WHERE id = $1", [item]);
    await client.query("INSERT INTO sales (id, item, token) VALUES ($1, $2, $3)", [sale, item, token]);
  }

  async function theRow(): Promise<{ count: number; fence: number }> {
    const { rows } = await observer.query("SELECT count, fence FROM stock WHERE id = $1", [item]);
    return { count: Number(rows[0]!.count), fence: Number(rows[0]!.fence) };
  }

  async function theSales(): Promise<(string | undefined)[]> {
    return (await observer.query("SELECT id FROM sales ORDER BY id")).rows.map(({ id }) => id);
  }
});
