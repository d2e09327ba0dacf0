import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { keyHash } from "../../src/access/keys.js";
import type { Need } from "../../src/loop/index.js";
import { decodeRecord, encodeRecord } from "../../src/store/index.js";
import { ManualStore } from "../http/manual-store.js";
import { AccessStage, ALL, codeOf, isAlive, ROOT_KEY } from "./stage.js";

const ANY: Need = { scopes: [] };

let stage: AccessStage;

beforeEach(async () => {
  stage = await AccessStage.open();
});

afterEach(() => stage.close());

describe("what is durable", () => {
  test("[A2p] keys, accounts, trials and limits are there after a start, as they were", async () => {
    const team = await stage.account(false);
    const trial = await stage.account(true);
    await stage.access.changeAccount(stage.root, trial.account, { limits: { holds: 5 } }, "a test");
    const { apiKey, info } = await stage.key({
      scopes: ["read"],
      services: ["a", "b"],
      expiresAt: stage.at(9_000),
    });
    const rotated = await stage.access.rotateKey(
      stage.root,
      stage.access.keyOf(team.account, team.caller.key.id),
      60_000,
      "a test",
    );
    const before = [team.account, trial.account].map((account) => stage.access.accountInfo(account));
    const keysBefore = stage.access.keysOf(team.account);
    const again = await AccessStage.open(stage.store);
    const accountOf = (id: string) => again.access.accountFor(again.root, id);
    expect([team, trial].map(({ id }) => again.access.accountInfo(accountOf(id)))).toEqual(before);
    expect(again.access.keysOf(accountOf(team.id))).toEqual(keysBefore);
    expect(again.access.keyInfo(again.caller(apiKey)!.key)).toEqual(info);
    for (const key of [team.apiKey, rotated.apiKey]) expect(again.caller(key)?.account).toBe(team.id);
    expect(again.access.accounts().map(({ id }) => id)).toEqual(
      ["default", team.id, trial.id].sort().sort((a, b) => (a < b ? -1 : 1)),
    );
    await again.close();
  });

  test("[A1e] the root key's record may be in its first form", async () => {
    const store = new ManualStore();
    const key = "default/key/root";
    await store.commit([{ key, value: encodeRecord(key, { hash: keyHash("an-old-root-key-of-any-form") }) }]);
    const old = await AccessStage.open(store, null);
    const caller = old.caller("an-old-root-key-of-any-form")!;
    expect(caller.label).toBe("root key");
    for (const scope of ALL) expect(caller.refusal({ scopes: [scope], isOverall: true }, null)).toBeNull();
    expect(old.access.keyInfo(caller.key)).toMatchObject({ id: "root", createdAt: null, services: null });
    expect(old.caller(ROOT_KEY)).toBeNull();
    // Nothing was made, and nothing replaced.
    expect(await old.audit()).toEqual([]);
    caller.take(ANY);
    await old.time.pass(61_000);
    await old.close();
    const again = new AccessStage(store);
    expect(await again.start(null)).toEqual({ rootKey: null, isNew: false });
    expect(again.caller("an-old-root-key-of-any-form")!.key.record!.lastUsedAt).not.toBeNull();
    await again.close();
  });

  test("[A1i] a root key from outside replaces the stored one, with an entry; the same again does not", async () => {
    const same = new AccessStage(stage.store);
    expect(await same.start(ROOT_KEY)).toEqual({ rootKey: ROOT_KEY, isNew: false });
    expect(await same.audit()).toEqual([]);
    const other = new AccessStage(stage.store);
    expect(await other.start("another-root-key")).toEqual({ rootKey: "another-root-key", isNew: false });
    expect(other.caller(ROOT_KEY)).toBeNull();
    expect(other.caller("another-root-key")?.label).toBe("root key");
    expect(await other.audit()).toMatchObject([
      { who: "operator", what: "root key replaced from the environment" },
    ]);
    await same.close();
    await other.close();
  });

  test("[A1ia] a new root key is not undone by a note of the use of the old one, nor by keys that were read before", async () => {
    const { key } = stage.root;
    const before = key.record!;
    let answer: () => void = () => {};
    const reading = stage.access.readAnew(async () => {
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      return { isWhole: false, changes: [{ key: "default/key/root", value: before }] };
    });
    stage.root.take(ANY);
    const taken = stage.access.takeRootKey("another-root-key");
    await stage.time.pass(61_000);
    answer();
    await Promise.all([reading, taken]);
    await stage.access.stop();
    expect([stage.caller(ROOT_KEY), stage.caller("another-root-key")?.key]).toEqual([null, key]);
    const again = await AccessStage.open(stage.store, null);
    expect([again.caller(ROOT_KEY), again.caller("another-root-key")?.label]).toEqual([null, "root key"]);
    await again.close();
  });

  test("[A2q] a change shows when it is durable, and not before", async () => {
    const { key, caller } = await stage.key({ scopes: ["lock", "read"] });
    stage.store.isManual = true;
    const narrowed = stage.access.narrowKey(stage.root, key, { scopes: ["read"] }, "a test");
    const commit = await stage.store.nextCommit();
    expect(caller.refusal({ scopes: ["lock"] }, null)).toBeNull();
    const kinds = commit.batch.map((change) => change.key.split("/")[1]);
    expect(kinds).toContain("key");
    expect(kinds).toContain("audit");
    stage.store.isManual = false;
    commit.succeed();
    expect(await narrowed).toMatchObject({ scopes: ["read"] });
    expect(caller.refusal({ scopes: ["lock"] }, null)).toBe("FORBIDDEN");
  });

  test.each([
    ["was written", true],
    ["was not written", false],
  ])("[R7w] after a failed commit that %s, keys are what the store has", async (_what, isWritten) => {
    const { key: toRevoke, apiKey: revokedKey, caller: revoked } = await stage.key();
    const { key: toNarrow, caller: narrowed } = await stage.key();
    const { key: toRotate, apiKey: oldKey } = await stage.key();
    const auditBefore = (await stage.audit()).length;
    let tellings = 0;
    revoked.watch(() => void tellings++);
    stage.store.isManual = true;
    const acts = [
      stage.access.revokeKey(stage.root, toRevoke, "a test"),
      stage.access.narrowKey(stage.root, toNarrow, { scopes: ["read"] }, "a test"),
      stage.access.rotateKey(stage.root, toRotate, 0, "a test"),
      stage.key({ scopes: ["read"] }),
    ].map(codeOf);
    const commit = await stage.store.nextCommit();
    stage.store.isManual = false;
    commit.fail(isWritten);
    // The first is of unknown fate. Those behind it find the store closed, or open again.
    const [first, ...others] = await Promise.all(acts);
    expect(first).toBe("UNAVAILABLE");
    const done = others.filter((code) => code === "done").length;
    expect(others.filter((code) => code === "UNAVAILABLE").length).toBe(3 - done);
    await stage.isBack();
    expect(isAlive(toRevoke)).toBe(!isWritten);
    expect(stage.caller(revokedKey) === null).toBe(isWritten);
    expect(revoked.refusal(ANY, null)).toBe(isWritten ? "UNAUTHORIZED" : null);
    expect(tellings).toBeGreaterThan(0);
    expect(narrowed.refusal({ scopes: ["lock"] }, null) === null).toBe(others[0] !== "done");
    expect(stage.caller(oldKey) === null).toBe(others[1] === "done");
    // Neither the act without its entry, nor the entry without its act (A7).
    expect((await stage.audit()).length - auditBefore).toBe((isWritten ? 1 : 0) + done);
    // And it works again, with the same callers.
    expect(await codeOf(stage.access.narrowKey(stage.root, toNarrow, { scopes: ["read"] }, "a test"))).toBe(
      "done",
    );
    expect(narrowed.refusal({ scopes: ["lock"] }, null)).toBe("FORBIDDEN");
  });

  test.each([
    ["was written", true],
    ["was not written", false],
  ])("[R7x] after a failed commit that %s, accounts are what the store has", async (_what, isWritten) => {
    const trial = await stage.account();
    stage.store.isManual = true;
    const changed = codeOf(
      stage.access.changeAccount(stage.root, trial.account, { trialEndsAt: null }, "a test"),
    );
    (await stage.store.nextCommit()).fail(isWritten);
    expect(await changed).toBe("UNAVAILABLE");
    stage.store.isManual = false;
    await stage.isBack();
    expect(trial.account.limits.requestsPerSecond).toBe(isWritten ? null : 50);
    expect(stage.access.accountFor(stage.root, trial.id)).toBe(trial.account);
    stage.store.isManual = true;
    const made = codeOf(stage.account());
    (await stage.store.nextCommit()).fail(isWritten);
    expect(await made).toBe("UNAVAILABLE");
    stage.store.isManual = false;
    await stage.isBack();
    expect(stage.access.accounts().length).toBe(isWritten ? 3 : 2);
  });

  test("[A2r] of acts at once on one key none is lost, and each begins with what the one before has left", async () => {
    const { key, apiKey } = await stage.key({ services: ["a", "b", "c", "d"] });
    const { access, root } = stage;
    const acts = await Promise.all(
      [
        access.narrowKey(root, key, { scopes: ["lock", "read"] }, "1"),
        access.narrowKey(root, key, { services: ["a", "b"] }, "2"),
        access.rotateKey(root, key, 60_000, "3"),
        access.narrowKey(root, key, { name: "renamed" }, "4"),
        // More than the second has left.
        access.narrowKey(root, key, { services: ["c"] }, "5"),
        access.rotateKey(root, key, 60_000, "6"),
        access.narrowKey(root, key, { expiresAt: stage.at(500_000) }, "7"),
      ].map(codeOf),
    );
    expect(acts).toEqual(["done", "done", "done", "done", "INVALID", "done", "done"]);
    expect(access.keyInfo(key)).toMatchObject({
      name: "renamed",
      scopes: ["lock", "read"],
      services: ["a", "b"],
      expiresAt: stage.at(500_000),
    });
    expect(stage.caller(apiKey)).toBeNull();
    const again = await AccessStage.open(stage.store);
    expect(again.access.keyInfo(again.access.keyOf(again.own, key.id))).toEqual(access.keyInfo(key));
    expect((await again.audit()).map(({ who }) => who)).toEqual(["a test", "1", "2", "3", "4", "6", "7"]);
    await again.close();
  });
});

describe("when a key was used last", () => {
  test("[A2s] it is written at most once a minute, for those that were used, and at the end", async () => {
    const { key, caller } = await stage.key();
    const { key: idle } = await stage.key();
    await stage.time.pass(60_000);
    const before = stage.store.commitCount;
    for (let second = 0; second < 59; second++) {
      caller.take(ANY);
      await stage.time.pass(1_000);
    }
    expect(stage.store.commitCount - before).toBe(0);
    await stage.time.pass(2_000);
    expect(stage.store.commitCount - before).toBe(1);
    const shown = key.record!.lastUsedAt!;
    expect((await stage.storedKeys()).get(key.id)?.lastUsedAt).toBe(shown);
    expect(stage.wallMs - Date.parse(shown)).toBeLessThan(61_000);
    expect((await stage.storedKeys()).get(idle.id)?.lastUsedAt).toBeNull();
    // Nobody uses it: nothing is written.
    await stage.time.pass(300_000);
    expect(stage.store.commitCount - before).toBe(1);
    caller.take(ANY);
    await stage.access.stop();
    expect((await stage.storedKeys()).get(key.id)!.lastUsedAt! > shown).toBe(true);
  });

  test("[A2t] it gives no revoked key back, and takes nothing from a change that is under way", async () => {
    const { key, caller } = await stage.key();
    const { key: gone, caller: goneCaller } = await stage.key();
    stage.store.isManual = true;
    caller.take(ANY);
    goneCaller.take(ANY);
    const acts = [
      stage.access.narrowKey(stage.root, key, { scopes: ["read"] }, "a test"),
      stage.access.revokeKey(stage.root, gone, "a test"),
    ].map(codeOf);
    const first = await stage.store.nextCommit();
    await stage.time.pass(61_000);
    first.succeed();
    (await stage.store.nextCommit()).succeed();
    (await stage.store.nextCommit()).succeed();
    stage.store.isManual = false;
    expect(await Promise.all(acts)).toEqual(["done", "done"]);
    await stage.time.pass(1_000);
    const stored = await stage.storedKeys();
    expect(stored.has(gone.id)).toBe(false);
    expect(stored.get(key.id)).toMatchObject({ scopes: ["read"], lastUsedAt: expect.any(String) });
  });

  test("[A2u] a use that could not be written is no failure of anybody's call", async () => {
    const { caller, key } = await stage.key();
    stage.store.isManual = true;
    caller.take(ANY);
    await stage.time.pass(61_000);
    const commit = await stage.store.nextCommit();
    expect(decodeRecord(commit.batch.find(({ key: at }) => at.endsWith(key.id))! as never)).toMatchObject({
      lastUsedAt: expect.any(String),
    });
    stage.store.isManual = false;
    commit.fail();
    await stage.isBack();
    expect(caller.refusal(ANY, null)).toBeNull();
  });
});
