import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LIMITS_FULL, LIMITS_TRIAL } from "../../src/access/account.js";
import { TokenBucket } from "../../src/access/token-bucket.js";
import { AddressCounts } from "../../src/http/address-counts.js";
import type { Need } from "../../src/loop/index.js";
import { AccessStage, ALL, codeOf, DAY_MS } from "./stage.js";

const NEW_LOCK: Need = { scopes: ["lock"], isNewLock: true };
const ASK: Need = { scopes: ["lock"] };
const GIVE_BACK: Need = { scopes: ["lock"], isWayOut: true };

let stage: AccessStage;

beforeEach(async () => {
  stage = await AccessStage.open();
});

afterEach(() => stage.close());

describe("accounts", () => {
  test("[A2v] a key reaches its own account; one of `default` that is for all services, any", async () => {
    const [team, other] = [await stage.account(false), await stage.account()];
    const { access } = stage;
    const reaches = (caller: typeof stage.root, id: string | undefined) => {
      try {
        return access.accountFor(caller, id).id;
      } catch (error) {
        return (error as { code?: string }).code;
      }
    };
    expect(reaches(team.caller, undefined)).toBe(team.id);
    expect(reaches(team.caller, team.id)).toBe(team.id);
    for (const id of [other.id, "default", "acc_0000000000", "", "__proto__"])
      expect(reaches(team.caller, id)).toBe("NOT_FOUND");
    expect(reaches(stage.root, team.id)).toBe(team.id);
    expect(reaches(stage.root, "acc_0000000000")).toBe("NOT_FOUND");
    const { caller: limited } = await stage.key({ services: ["a"] });
    expect(reaches(limited, undefined)).toBe("default");
    expect(reaches(limited, team.id)).toBe("NOT_FOUND");
    const { caller: gone, key } = await stage.key();
    await access.revokeKey(stage.root, key, "a test");
    expect(reaches(gone, team.id)).toBe("NOT_FOUND");
  });

  test("[A3a] a key of another account is as unknown as none at all", async () => {
    const [team, other] = [await stage.account(false), await stage.account(false)];
    const keyOf = (id: string) => {
      try {
        return stage.access.keyOf(team.account, id).id;
      } catch (error) {
        return `${error}`;
      }
    };
    expect(keyOf(team.caller.key.id)).toBe(team.caller.key.id);
    for (const id of [other.caller.key.id, "root", "0000000000"]) expect(keyOf(id)).toBe(keyOf("nobody"));
    expect(stage.access.keysOf(team.account).map(({ id }) => id)).toEqual([team.caller.key.id]);
  });

  test("[A4a] a trial begins with 30 days, and counts the begun one too", async () => {
    const { account, caller } = await stage.account();
    const daysLeft = () => stage.access.accountInfo(account).daysLeft;
    expect(stage.access.accountInfo(account).trialEndsAt).toBe(stage.at(30 * DAY_MS));
    expect(daysLeft()).toBe(30);
    stage.wallOffsetMs += 1;
    expect(daysLeft()).toBe(30);
    stage.wallOffsetMs += DAY_MS;
    expect(daysLeft()).toBe(29);
    stage.wallOffsetMs += 29 * DAY_MS - 2;
    expect(daysLeft()).toBe(1);
    expect(caller.trialIsOver).toBe(false);
    stage.wallOffsetMs += 1;
    expect(daysLeft()).toBe(0);
    expect(caller.trialIsOver).toBe(true);
    expect(caller.refusal(ASK, "a")).toBeNull();
    stage.wallOffsetMs += 100 * DAY_MS;
    expect(daysLeft()).toBe(0);
  });

  test("[A4b] an operator extends a trial that has ended, ends one, and makes it none", async () => {
    const { account, caller } = await stage.account();
    await stage.wait(31 * DAY_MS);
    expect(caller.trialIsOver).toBe(true);
    const change = (trialEndsAt: string | null) =>
      stage.access.changeAccount(stage.root, account, { trialEndsAt }, "a test");
    expect(await change(stage.at(DAY_MS))).toMatchObject({ daysLeft: 1, limits: LIMITS_TRIAL });
    expect(caller.trialIsOver).toBe(false);
    await change(stage.at(0));
    expect(caller.trialIsOver).toBe(true);
    expect(await change(null)).toMatchObject({ trialEndsAt: null, daysLeft: null, limits: LIMITS_FULL });
    expect(caller.trialIsOver).toBe(false);
    await stage.wait(1_000 * DAY_MS);
    expect(caller.trialIsOver).toBe(false);
    // And a trial again: its limits come back.
    expect(await change(stage.at(DAY_MS))).toMatchObject({ daysLeft: 1, limits: LIMITS_TRIAL });
  });

  test("[A4c] who is not allowed is told so, and not that the trial has ended", async () => {
    const { account, caller } = await stage.account();
    const { caller: reader } = await stage.key({ scopes: ["read"] }, caller, account);
    const { caller: limited } = await stage.key({ services: ["a"] }, caller, account);
    await stage.wait(31 * DAY_MS);
    expect(reader.refusal(NEW_LOCK, "a")).toBe("FORBIDDEN");
    expect(limited.refusal(NEW_LOCK, "b")).toBe("FORBIDDEN");
    expect(limited.trialIsOver).toBe(true);
  });

  test("[A5a] limits are the usual ones until an operator sets others, and again when he takes them back", async () => {
    const { account } = await stage.account();
    const change = (limits: object) => stage.access.changeAccount(stage.root, account, { limits }, "a test");
    expect(stage.access.limitsOf(account.id)).toEqual(LIMITS_TRIAL);
    expect((await change({ holds: 5, keys: 7 })).limits).toEqual({ ...LIMITS_TRIAL, holds: 5, keys: 7 });
    expect((await change({ sessions: 9, keys: null })).limits).toEqual({
      ...LIMITS_TRIAL,
      holds: 5,
      sessions: 9,
    });
    expect(stage.access.limitsOf(account.id)).toMatchObject({ holds: 5 });
    expect((await change({ holds: null, sessions: null })).limits).toEqual(LIMITS_TRIAL);
    expect(account.record.limits).toEqual({});
    await stage.access.changeAccount(
      stage.root,
      account,
      { trialEndsAt: null, limits: { holds: 6 } },
      "a test",
    );
    expect(stage.access.limitsOf(account.id)).toEqual({ ...LIMITS_FULL, holds: 6 });
  });

  test("[A5b] `default` has no limits, and takes none", async () => {
    expect(stage.access.limitsOf("default")).toBeNull();
    for (const change of [{ limits: { holds: 1 } }, { trialEndsAt: stage.at(0) }, { trialEndsAt: null }])
      expect(await codeOf(stage.access.changeAccount(stage.root, stage.own, change, "a test"))).toBe(
        "INVALID",
      );
    for (let n = 0; n < 10_000; n++) expect(stage.root.take(ASK)).toBe(true);
    expect(stage.root.quota).toBeNull();
  });

  test("[A5c] an account has so many keys; a revoked one makes room", async () => {
    const { account, caller } = await stage.account();
    await stage.access.changeAccount(stage.root, account, { limits: { keys: 3 } }, "a test");
    const { key } = await stage.key({}, caller, account);
    await stage.key({}, caller, account);
    expect(await codeOf(stage.key({}, caller, account))).toBe("LIMIT_EXCEEDED");
    expect(await codeOf(stage.key())).toBe("done");
    await stage.access.revokeKey(caller, key, "a test");
    const both = [stage.key({}, caller, account), stage.key({}, caller, account)].map(codeOf);
    expect((await Promise.all(both)).sort()).toEqual(["LIMIT_EXCEEDED", "done"]);
  });

  test("[A5d] there are so many accounts; beyond it nobody gets one", async () => {
    await stage.close();
    stage = await AccessStage.open(undefined, undefined, 3);
    const all = [stage.account(), stage.account(), stage.account(false)].map(codeOf);
    expect(await Promise.all(all)).toEqual(["done", "done", "LIMIT_EXCEEDED"]);
  });

  test("[A5e] requests are counted by the account, over all its keys, and nobody else's", async () => {
    const [trial, other] = [await stage.account(), await stage.account()];
    const { caller } = await stage.key({ scopes: ["lock"] }, trial.caller, trial.account);
    const take = (need: Need, count: number, who = caller) =>
      Array.from({ length: count }, () => who.take(need)).filter(Boolean).length;
    expect(take(ASK, 30)).toBe(30);
    expect(take(ASK, 100, trial.caller)).toBe(20);
    expect(take(ASK, 60, other.caller)).toBe(50);
    // What gives back is another sum.
    expect(take(GIVE_BACK, 2_100)).toBe(2_000);
    expect(caller.quota).toEqual({ ratePerS: 50, left: 0 });
    await stage.time.pass(500);
    expect(caller.quota).toEqual({ ratePerS: 50, left: 25 });
    expect(take(ASK, 100)).toBe(25);
    expect(take(GIVE_BACK, 600)).toBe(250);
    // The time of day has no say in it.
    stage.wallOffsetMs += DAY_MS;
    expect(take(ASK, 1)).toBe(0);
  });

  test("[A5f] however few requests an account may make, it can give back", async () => {
    const { account, caller } = await stage.account();
    await stage.access.changeAccount(stage.root, account, { limits: { requestsPerSecond: 0 } }, "a test");
    expect(caller.take(ASK)).toBe(false);
    expect(caller.take(GIVE_BACK)).toBe(true);
    await stage.access.changeAccount(stage.root, account, { limits: { requestsPerSecond: 2 } }, "a test");
    expect([1, 2, 3].map(() => caller.take(ASK))).toEqual([true, true, false]);
    await stage.access.changeAccount(stage.root, account, { limits: { holds: 2 } }, "a test");
    // A change of something else fills nothing up.
    expect(caller.take(ASK)).toBe(false);
  });

  test("[A7a] the acts on accounts and keys are written down in their order: who, what, when, on what", async () => {
    const { account, caller, id } = await stage.account();
    const { access } = stage;
    const { key, info } = await stage.key({ scopes: ["lock"], services: ["a"] }, caller, account);
    await access.narrowKey(caller, key, { name: "n", expiresAt: stage.at(DAY_MS) }, "who 2");
    await access.rotateKey(caller, key, 5, "who 3");
    await access.changeAccount(stage.root, account, { limits: { keys: 5 } }, "who 4");
    await access.revokeKey(caller, key, "who 5");
    const at = new Date(stage.wallMs).toISOString();
    expect(await stage.audit(id)).toEqual([
      {
        at,
        who: "a test",
        what: "account made",
        details: { key: caller.key.id, trialEndsAt: account.record.trialEndsAt },
      },
      {
        at,
        who: "a test",
        what: "key made",
        details: { key: info.id, name: "a key", scopes: ["lock"], services: ["a"], expiresAt: null },
      },
      {
        at,
        who: "who 2",
        what: "key narrowed",
        details: { key: info.id, name: "n", expiresAt: stage.at(DAY_MS) },
      },
      { at, who: "who 3", what: "key rotated", details: { key: info.id, oldKeptMs: 5 } },
      { at, who: "operator", what: "account changed", details: { limits: { keys: 5 } } },
      { at, who: "who 5", what: "key revoked", details: { key: info.id } },
    ]);
    // Of what was refused there is no entry, and other accounts have none of these.
    await codeOf(access.narrowKey(caller, stage.access.keyOf(account, caller.key.id), { scopes: ALL }, "x"));
    await codeOf(
      stage.key({ scopes: ["read"], services: null }, (await stage.key({ services: ["a"] })).caller),
    );
    expect((await stage.audit(id)).length).toBe(7);
    // But for the operator, in whose own it says which account it was.
    const his = (await stage.audit()).filter(({ details }) => "account" in (details as object));
    expect(his).toMatchObject([{ who: "who 4", what: "account changed", details: { account: id } }]);
  });
});

describe("what counts", () => {
  test("[A5g] a bucket gives so many a second, and never more at once", () => {
    const bucket = new TokenBucket(10);
    const take = (nowMs: number, count: number) =>
      Array.from({ length: count }, () => bucket.take(nowMs)).filter(Boolean).length;
    expect(take(0, 20)).toBe(10);
    expect(take(99, 20)).toBe(0);
    expect(take(100, 20)).toBe(1);
    expect(bucket.left(250)).toBe(1);
    expect(take(1_000_000, 20)).toBe(10);
    // A clock that goes back gives nothing, and takes nothing.
    expect(take(0, 20)).toBe(0);
    let all = 0;
    for (let ms = 2_000_000; ms <= 2_010_000; ms += 7) all += take(ms, 3);
    expect(all).toBeGreaterThanOrEqual(109);
    expect(all).toBeLessThanOrEqual(110);
  });

  test("[A1j] wrong keys are counted by address, for a minute from the first", () => {
    let nowMs = 0;
    const counts = new AddressCounts(60, 60_000, () => nowMs);
    for (let n = 1; n <= 60; n++) expect(counts.add("a")).toEqual({ count: n, waitMs: 0 });
    nowMs = 59_000;
    expect(counts.add("a")).toEqual({ count: 61, waitMs: 1_000 });
    expect(counts.add("b")).toEqual({ count: 1, waitMs: 0 });
    nowMs = 60_000;
    expect(counts.add("a")).toEqual({ count: 1, waitMs: 0 });
  });

  test("[A1k] ten thousand addresses are remembered, and the oldest are forgotten first", () => {
    let nowMs = 0;
    const counts = new AddressCounts(1, 60_000, () => nowMs);
    for (let n = 0; n < 10_000; n++) counts.add(`a${n}`);
    expect(counts.add("a0").count).toBe(2);
    counts.add("one more");
    // That was the one of the oldest.
    expect(counts.add("a1").count).toBe(2);
    expect(counts.add("a0").count).toBe(1);
    // One that is counted anew is a new one.
    nowMs = 60_000;
    counts.add("a2");
    for (let n = 10_000; n < 19_999; n++) counts.add(`a${n}`);
    expect(counts.add("a2").count).toBe(2);
  });
});
