/** What members of a cluster hear of each other's changes of accounts and keys (decision 028). */
import { afterEach, beforeEach, expect, test } from "vitest";
import type { KeyRecord } from "../../src/access/key.js";
import type { OutsideChange } from "../../src/loop/index.js";
import { AccessStage, isAlive } from "./stage.js";

let stage: AccessStage;
beforeEach(async () => {
  stage = await AccessStage.open();
});
afterEach(() => stage.close());

const heard = (...changes: OutsideChange[]) =>
  stage.access.readAnew(async () => ({ isWhole: false, changes }));

test("[A2da] a key that another member has revoked is refused, and what is open under it hears of it; all others stay as they are", async () => {
  const [gone, other] = [await stage.key(), await stage.key()];
  const told: string[] = [];
  gone.key.watchers.add(() => void told.push("gone"));
  other.key.watchers.add(() => void told.push("other"));
  await heard({ key: `default/key/${gone.key.id}`, value: null });
  expect([stage.caller(gone.apiKey), isAlive(gone.key), told]).toEqual([null, false, ["gone"]]);
  expect([stage.caller(other.apiKey) !== null, stage.own.keys.has(gone.key)]).toEqual([true, false]);
  expect(stage.caller("ldb_root_testtesttesttesttesttesttesttest000000")).not.toBeNull();
  // Heard of twice, or of one that was never known: nothing more.
  await heard({ key: `default/key/${gone.key.id}`, value: null }, { key: "default/key/never", value: null });
  expect(told).toEqual(["gone"]);
});

test("[A2db] an account and its key are there at once, whichever comes first, and a key that is narrowed may do less", async () => {
  const { key, apiKey } = await stage.key();
  const record = key.record as KeyRecord;
  const account = { createdAt: record.createdAt, email: null, trialEndsAt: null };
  await heard({ key: "acme/key/new", value: record }, { key: "acme/account", value: account });
  expect(stage.access.accounts().map(({ id, keys }) => [id, keys.size])).toEqual([
    ["acme", 1],
    ["default", 2],
  ]);
  await heard({ key: `default/key/${key.id}`, value: { ...record, scopes: ["read"] } });
  expect(stage.caller(apiKey)?.refusal({ scopes: ["lock"] }, null)).toBe("FORBIDDEN");
  await heard({ key: "acme/account", value: { ...account, limits: { holds: 3 } } });
  expect(stage.access.limitsOf("acme")?.holds).toBe(3);
});

test("[A2dc] what does not go with what is known is told, and a revocation beside it counts all the same", async () => {
  const { key, apiKey } = await stage.key();
  const stray = { key: "nobody/key/x", value: key.record };
  const revoked = { key: `default/key/${key.id}`, value: null };
  await expect(heard(stray, revoked)).rejects.toThrow("whose account is not known");
  expect(stage.caller(apiKey)).toBeNull();
  await expect(heard({ key: "default/account", value: null })).rejects.toThrow("account is gone");
  // Of another account's key of that name nothing is said.
  const second = await stage.key();
  await heard({ key: `nobody/key/${second.key.id}`, value: null });
  expect(stage.caller(second.apiKey)).not.toBeNull();
});
