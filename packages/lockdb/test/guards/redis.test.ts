import { redisFence } from "lockdb/guards";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { hasRedis, PrivateRedis } from "./private-redis.js";

const [OLD, NEW] = [9, 10];
const fence = redisFence("shop", "stock/teapot");
const KEY = "lockdb:fence:shop/stock/teapot";

describe.skipIf(!hasRedis())("the fence in Redis", () => {
  let redis: PrivateRedis;
  let send: PrivateRedis["send"];

  beforeAll(async () => {
    redis = await PrivateRedis.start();
    send = redis.send;
  });
  beforeEach(async () => {
    await send(["FLUSHALL"]);
  });
  afterAll(() => redis?.stop());

  test("[F5e] a holder writes any number of times; after a later one none of its commands is run", async () => {
    expect(await fence.enter(send, OLD, ["SET", "teapot", 20], ["DECRBY", "teapot", 1])).toEqual(["OK", 19]);
    expect(await fence.enter(send, { token: OLD }, ["GET", "teapot"], ["GET", "none"])).toEqual(["19", null]);
    expect(await fence.enter(send, NEW)).toEqual([]); // Raises the fence before it reads.
    const late = fence.enter(send, OLD, ["SET", "teapot", 99], ["RPUSH", "sales", "late"]);
    await expect(late).rejects.toMatchObject({ name: "StaleTokenError", token: OLD, seen: NEW });
    expect(await send(["MGET", "teapot", "sales", KEY])).toEqual(["19", null, String(NEW)]);
  });

  test("[F5f] large tokens are kept digit by digit and compared as numbers; the fence has no expiry", async () => {
    const restored = 30_000_000_000_001;
    await fence.enter(send, NEW);
    await fence.enter(send, restored);
    await fence.enter(send, Number.MAX_SAFE_INTEGER);
    expect(await send(["GET", KEY])).toBe("9007199254740991");
    expect(await send(["TTL", KEY])).toBe(-1);
    await expect(fence.enter(send, restored)).rejects.toMatchObject({ seen: Number.MAX_SAFE_INTEGER });
  });

  test("[F5g] a fence that holds no number lets nobody in; a command that fails rejects", async () => {
    await send(["SET", KEY, "damaged"]);
    await expect(fence.enter(send, NEW, ["SET", "teapot", 1])).rejects.toThrow("no number in the fence");
    await send(["DEL", KEY]);
    await expect(fence.enter(send, NEW, ["SET", "teapot", 1], ["RPUSH", "teapot", "x"])).rejects.toThrow(
      "WRONGTYPE",
    );
    expect(await send(["MGET", KEY, "teapot"])).toEqual([String(NEW), "1"]);
  });

  test("[F5h] each lock of each service has a fence of its own, or a key that one says; words may be any text", async () => {
    await fence.enter(send, NEW);
    const own = redisFence("shop", "stock/kettle", { key: "{kettle}:fence" });
    await own.enter(send, OLD, ["HSET", "{kettle}", "größe", "2 l\r\n", "count", 7]);
    await redisFence("shop-2", "stock/teapot").enter(send, OLD);
    expect(await send(["HGETALL", "{kettle}"])).toEqual(["größe", "2 l\r\n", "count", "7"]);
    expect(await send(["GET", "{kettle}:fence"])).toBe(String(OLD));
  });

  test("[F5i] what a script is called with goes through EVAL of any client, and its answer is checked by hand", async () => {
    const { script, keys, args } = fence.script(OLD, ["SET", "teapot", 20], ["EXPIRE", "teapot", 60]);
    expect(keys).toEqual([KEY, "teapot"]);
    const evaluate = (args: string[]) => send(["EVAL", script, String(keys.length), ...keys, ...args]);
    expect(fence.check(await evaluate(args), OLD)).toEqual(["OK", 1]);
    await fence.enter(send, NEW);
    const late = await evaluate(args);
    expect(() => fence.check(late, OLD)).toThrow(expect.objectContaining({ code: "STALE_TOKEN" }));
    expect(() => fence.check("OK", OLD)).toThrow(TypeError);
  });
});
