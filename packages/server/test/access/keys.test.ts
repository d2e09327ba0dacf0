import { crc32 } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { isWithin } from "../../src/access/key.js";
import { bearerKey, keyIdIn } from "../../src/access/keys.js";
import type { Need } from "../../src/loop/index.js";
import { AccessStage, ALL, codeOf, DAY_MS } from "./stage.js";

const LOCK: Need = { scopes: ["lock"] };
const READ: Need = { scopes: ["read"] };
const ANY: Need = { scopes: [] };
const OVERALL: Need = { scopes: ["admin"], isOverall: true };

let stage: AccessStage;

beforeEach(async () => {
  stage = await AccessStage.open();
});

afterEach(() => stage.close());

describe("keys", () => {
  test("[A1a] a key has the one form, with a checksum, and is stored as its hash alone", async () => {
    const { apiKey, key } = await stage.key();
    expect(apiKey).toMatch(/^ldb_[0-9A-Za-z]{10}_[0-9A-Za-z]{38}$/);
    expect(keyIdIn(apiKey)).toBe(key.id);
    const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const value = [...apiKey.slice(-6)].reduce((sum, digit) => sum * 62 + digits.indexOf(digit), 0);
    expect(value).toBe(crc32(apiKey.slice(0, -6)));
    const stored = JSON.stringify([...(await stage.storedKeys())]);
    expect(stored).not.toContain(apiKey.slice(-38));
    expect(stored).toContain("hash");
    expect(JSON.stringify(await stage.audit())).not.toContain(apiKey.slice(-38));
  });

  test("[A1b] only the whole key is one: each other character makes it a wrong one", async () => {
    const { apiKey } = await stage.key();
    for (let at = 0; at < apiKey.length; at++) {
      const other = apiKey[at] === "x" ? "y" : "x";
      expect(stage.caller(apiKey.slice(0, at) + other + apiKey.slice(at + 1)), `character ${at}`).toBeNull();
    }
    for (const wrong of [apiKey.slice(0, -1), `${apiKey}0`, apiKey.toUpperCase(), "", "undefined"])
      expect(stage.caller(wrong)).toBeNull();
    expect(stage.caller(apiKey)).not.toBeNull();
  });

  test("[A1c] a header is `Bearer` and one word, and nothing else", () => {
    expect(bearerKey("Bearer abc")).toBe("abc");
    expect(bearerKey("bEARER   abc  ")).toBe("abc");
    for (const header of [
      undefined,
      "",
      "abc",
      "Basic abc",
      "Bearer",
      "Bearer ",
      "Bearer a b",
      "Bearer\tabc",
    ])
      expect(bearerKey(header)).toBeNull();
    expect(bearerKey(`Bearer ${"a".repeat(513)}`)).toBeNull();
  });

  test("[A1d] a given root key may look like another key, and both work", async () => {
    const { apiKey, key } = await stage.key();
    const lookalike = `ldb_${key.id}_${"R".repeat(38)}`;
    const again = await AccessStage.open(stage.store, lookalike);
    expect(again.caller(lookalike)?.label).toBe("root key");
    expect(again.caller(apiKey)?.label).toBe(`key ${key.id}`);
    await again.close();
  });

  test("[A2a] what a key may is what it was made with: scopes, services, and until when", async () => {
    const { caller } = await stage.key({
      scopes: ["lock"],
      services: ["reports"],
      expiresAt: stage.at(DAY_MS),
    });
    expect(caller.refusal(LOCK, "reports")).toBeNull();
    expect(caller.refusal(LOCK, "billing")).toBe("FORBIDDEN");
    expect(caller.refusal(LOCK, "report")).toBe("FORBIDDEN");
    expect(caller.refusal(READ, "reports")).toBe("FORBIDDEN");
    expect(caller.refusal({ scopes: ["read", "lock"] }, "reports")).toBeNull();
    expect(caller.refusal(ANY, null)).toBeNull();
    expect(caller.refusal({ ...OVERALL, scopes: ["lock"] }, null)).toBe("FORBIDDEN");
    await stage.wait(DAY_MS + 1);
    expect(caller.refusal(LOCK, "reports")).toBe("UNAUTHORIZED");
    expect(caller.refusal(ANY, null)).toBe("UNAUTHORIZED");
  });

  test("[A2b] a key ends to the millisecond, also when it was admitted before", async () => {
    const { caller, apiKey } = await stage.key({ expiresAt: stage.at(10_000) });
    stage.wallOffsetMs += 9_999;
    expect(caller.refusal(ANY, null)).toBeNull();
    expect(stage.caller(apiKey)).not.toBeNull();
    stage.wallOffsetMs += 1;
    expect(caller.refusal(ANY, null)).toBe("UNAUTHORIZED");
    expect(stage.caller(apiKey)).toBeNull();
  });

  test("[A2c] a narrowed key is less at once for whoever has it open, and can never be made more", async () => {
    const { caller, key } = await stage.key({ scopes: ["lock", "read"], services: ["a", "b"] });
    const narrow = (narrowing: object) => stage.access.narrowKey(stage.root, key, narrowing, "a test");
    expect(await narrow({ scopes: ["read"] })).toMatchObject({ scopes: ["read"], services: ["a", "b"] });
    expect(caller.refusal(LOCK, "a")).toBe("FORBIDDEN");
    expect(caller.refusal(READ, "a")).toBeNull();
    await narrow({ services: ["b"], expiresAt: stage.at(1_000) });
    expect(caller.refusal(READ, "a")).toBe("FORBIDDEN");
    for (const wider of [
      { scopes: ["read", "lock"] },
      { scopes: ALL },
      { services: ["a"] },
      { services: ["a", "b"] },
      { expiresAt: stage.at(1_001) },
      { name: "sly", scopes: ["admin"] },
    ])
      expect(await codeOf(narrow(wider))).toBe("INVALID");
    expect(stage.access.keyInfo(key)).toMatchObject({
      name: "a key",
      scopes: ["read"],
      services: ["b"],
      expiresAt: stage.at(1_000),
    });
  });

  test("[A2d] a name is no right: it may change alone", async () => {
    const { key } = await stage.key({ scopes: ["read"] });
    expect(await stage.access.narrowKey(stage.root, key, { name: "another" }, "a test")).toMatchObject({
      name: "another",
      scopes: ["read"],
      services: null,
      expiresAt: null,
    });
  });

  test("[A2e] after a rotation two secrets work, until the old one ends; of three the oldest is gone", async () => {
    const { apiKey: first, key } = await stage.key();
    const old = stage.caller(first)!;
    const { apiKey: second, key: info } = await stage.access.rotateKey(stage.root, key, 60_000, "a test");
    expect(info.oldSecretEndsAt).toBe(stage.at(60_000));
    expect(info).toMatchObject({ id: key.id, scopes: ALL });
    expect(keyIdIn(second)).toBe(key.id);
    for (const apiKey of [first, second]) expect(stage.caller(apiKey)?.label).toBe(`key ${key.id}`);
    stage.wallOffsetMs += 59_999;
    expect(old.refusal(ANY, null)).toBeNull();
    stage.wallOffsetMs += 1;
    expect(old.refusal(ANY, null)).toBe("UNAUTHORIZED");
    expect(stage.caller(first)).toBeNull();
    expect(stage.caller(second)).not.toBeNull();
    expect(stage.access.keyInfo(key).oldSecretEndsAt).toBeNull();

    const { apiKey: third } = await stage.access.rotateKey(stage.root, key, 60_000, "a test");
    const { apiKey: fourth } = await stage.access.rotateKey(stage.root, key, 60_000, "a test");
    const works = [first, second, third, fourth].map((apiKey) => stage.caller(apiKey) !== null);
    expect(works).toEqual([false, false, true, true]);
    expect(key.record!.secrets.length).toBe(2);
  });

  test("[A2f] an old secret that is kept for no time at all ends with the rotation", async () => {
    const { apiKey, key, caller } = await stage.key();
    const rotated = await stage.access.rotateKey(stage.root, key, 0, "a test");
    expect(rotated.key.oldSecretEndsAt).toBeNull();
    expect(stage.caller(apiKey)).toBeNull();
    expect(caller.refusal(ANY, null)).toBe("UNAUTHORIZED");
    expect(stage.caller(rotated.apiKey)!.refusal(ANY, null)).toBeNull();
  });

  test("[A2g] a revoked key is nobody's, at once, and its id is unknown", async () => {
    const { apiKey, key, caller } = await stage.key();
    await stage.access.revokeKey(stage.root, key, "a test");
    expect(stage.caller(apiKey)).toBeNull();
    expect(caller.refusal(ANY, null)).toBe("UNAUTHORIZED");
    expect(() => stage.access.keyOf(stage.own, key.id)).toThrow("no such thing");
    for (const act of [
      stage.access.revokeKey(stage.root, key, "a test"),
      stage.access.narrowKey(stage.root, key, { name: "x" }, "a test"),
      stage.access.rotateKey(stage.root, key, 0, "a test"),
    ])
      expect(await codeOf(act)).toBe("NOT_FOUND");
  });

  test("[A2h] the root key is not changed by acts: it is set from outside", async () => {
    const root = stage.access.keyOf(stage.own, "root");
    for (const act of [
      stage.access.revokeKey(stage.root, root, "a test"),
      stage.access.narrowKey(stage.root, root, { scopes: ["read"] }, "a test"),
      stage.access.rotateKey(stage.root, root, 0, "a test"),
    ])
      expect(await codeOf(act)).toBe("INVALID");
    expect(stage.root.refusal(OVERALL, null)).toBeNull();
  });

  test("[A2i] nobody makes or rotates a key that may what his own may not, or touches one of services that his own is not for", async () => {
    const { caller: maker } = await stage.key({
      scopes: ["admin", "lock"],
      services: ["a"],
      expiresAt: stage.at(DAY_MS),
    });
    const end = stage.at(DAY_MS);
    const wishes = [
      { scopes: ["read"], services: ["a"], expiresAt: end },
      { scopes: ["lock", "force"], services: ["a"], expiresAt: end },
      { scopes: ["lock"], services: ["b"], expiresAt: end },
      { scopes: ["lock"], services: ["a", "b"], expiresAt: end },
      { scopes: ["lock"], services: null, expiresAt: end },
      { scopes: ["lock"], services: ["a"], expiresAt: stage.at(DAY_MS + 1) },
      { scopes: ["lock"], services: ["a"], expiresAt: null },
    ] as const;
    for (const wish of wishes) {
      expect(await codeOf(stage.key(wish, maker)), JSON.stringify(wish)).toBe("FORBIDDEN");
      const { key } = await stage.key(wish);
      expect(await codeOf(stage.access.rotateKey(maker, key, 0, "a test"))).toBe("FORBIDDEN");
      // Who may look after all its services may make it less, or end it: it may have leaked.
      const isHis = wish.services?.every((service) => service === "a") === true;
      const code = isHis ? "done" : "FORBIDDEN";
      expect(await codeOf(stage.access.narrowKey(maker, key, { name: "x" }, "a test"))).toBe(code);
      expect(await codeOf(stage.access.revokeKey(maker, key, "a test"))).toBe(code);
    }
    const { key, info } = await stage.key({ scopes: ["lock"], services: ["a"], expiresAt: end }, maker);
    expect(info.createdBy).toBe(maker.label);
    expect(await codeOf(stage.access.revokeKey(maker, key, "a test"))).toBe("done");
  });

  test("[A2j] what an old secret makes ends with it: whoever has a leaked one gains no time", async () => {
    const { apiKey, key } = await stage.key();
    const old = stage.caller(apiKey)!;
    const { apiKey: newer } = await stage.access.rotateKey(stage.root, key, 60_000, "a test");
    expect(await codeOf(stage.key({ scopes: ["lock"] }, old))).toBe("FORBIDDEN");
    expect(await codeOf(stage.access.rotateKey(old, key, 60_000, "a test"))).toBe("FORBIDDEN");
    expect(await codeOf(stage.key({ expiresAt: stage.at(60_001) }, old))).toBe("FORBIDDEN");
    expect(await codeOf(stage.key({ expiresAt: stage.at(60_000) }, old))).toBe("done");
    expect(await codeOf(stage.key({ scopes: ["lock"] }, stage.caller(newer)!))).toBe("done");
  });

  test("[A2k] whoever was an admin when he asked, and is none when it is his turn, changes nothing", async () => {
    const { caller, key } = await stage.key();
    const { key: another } = await stage.key({ scopes: ["lock"] });
    const { account } = await stage.account();
    const narrowed = stage.access.narrowKey(stage.root, key, { scopes: ["lock", "read"] }, "a test");
    const after = [
      stage.key({ scopes: ["lock"] }, caller),
      stage.access.narrowKey(caller, another, { name: "x" }, "a test"),
      stage.access.rotateKey(caller, another, 0, "a test"),
      stage.access.revokeKey(caller, another, "a test"),
    ].map(codeOf);
    after.push(
      codeOf(stage.access.changeAccount(caller, account, { trialEndsAt: null }, "a test")),
      codeOf(stage.access.addAccount({ email: null, isTrial: false }, "a test", caller)),
    );
    await narrowed;
    expect(await Promise.all(after)).toEqual(Array(6).fill("FORBIDDEN"));
    const revoked = stage.access.revokeKey(stage.root, key, "a test");
    const late = codeOf(stage.key({ scopes: ["lock"] }, caller));
    await revoked;
    expect(await late).toBe("UNAUTHORIZED");
  });

  test("[A2l] within is: no scope, service or moment more", () => {
    const might = (scopes: readonly string[], services: readonly string[] | null, expiresAt: string | null) =>
      ({ scopes, services, expiresAt }) as Parameters<typeof isWithin>[0];
    const all = might(ALL, null, null);
    const some = might(["lock"], ["a"], "2026-01-01T00:00:00.000Z");
    expect(isWithin(some, all)).toBe(true);
    expect(isWithin(all, some)).toBe(false);
    expect(isWithin(some, some)).toBe(true);
    expect(isWithin(might([], [], "2026-01-01T00:00:00.000Z"), some)).toBe(true);
    expect(isWithin(might(["lock"], null, "2026-01-01T00:00:00.000Z"), some)).toBe(false);
    expect(isWithin(might(["lock"], ["a"], null), some)).toBe(false);
  });
});

describe("who has a key open", () => {
  test("[A2m] each is told once of each change, as often as he watches, and no more when he has left", async () => {
    const { caller, key } = await stage.key();
    const told: string[] = [];
    const watch = (name: string) => caller.watch(() => void told.push(name));
    const same = () => void told.push("twice");
    const [one, two] = [watch("one"), watch("two")];
    const [left] = [caller.watch(same), caller.watch(same)];
    await stage.access.narrowKey(stage.root, key, { scopes: ["lock"] }, "a test");
    expect(told).toEqual(["one", "two", "twice", "twice"]);
    told.length = 0;
    one();
    one();
    left();
    await stage.access.revokeKey(stage.root, key, "a test");
    expect(told).toEqual(["two", "twice"]);
    two();
    expect(key.watchers.size).toBe(1);
  });

  test("[A2n] an end that comes by time is told within half a second, that of an old secret too", async () => {
    const { caller, key, apiKey } = await stage.key({ expiresAt: stage.at(100_000) });
    await stage.access.rotateKey(stage.root, key, 50_000, "a test");
    const told: string[] = [];
    caller.watch(() => void told.push(String(caller.refusal(ANY, null))));
    const newer = await stage.key({ expiresAt: stage.at(50_000) });
    newer.caller.watch(() => void told.push("another key"));
    await stage.time.pass(49_000);
    expect(told).toEqual([]);
    await stage.time.pass(1_500);
    expect(told.sort()).toEqual(["UNAUTHORIZED", "another key"]);
    told.length = 0;
    await stage.time.pass(49_000);
    expect(told).toEqual([]);
    await stage.time.pass(1_500);
    expect(told).toEqual(["UNAUTHORIZED"]);
    expect(stage.caller(apiKey)).toBeNull();
  });

  test("[A2o] a note of when it was used last is no change: nobody is told", async () => {
    const { caller, key } = await stage.key();
    let count = 0;
    caller.watch(() => void count++);
    caller.take(ANY);
    await stage.time.pass(61_000);
    expect(key.record!.lastUsedAt).not.toBeNull();
    expect(count).toBe(0);
    expect(caller.refusal(ANY, null)).toBeNull();
  });
});
