import { describe, expect, test } from "vitest";
import { StoreDeposedError, StoreFailedError } from "../../src/store/errors.js";
import { type Guard, openEtcdStore } from "../../src/store/etcd.js";
import type { Etcd } from "../../src/store/etcd-api.js";
import type { Change, Store } from "../../src/store/store.js";
import { put, remove, storeContract, text, textByKey } from "./contract.js";
import { MemoryEtcd } from "./memory-etcd.js";

storeContract("etcd's rules in memory", async () => opened(new MemoryEtcd().client()));

const AT = "/test/";
const OWNER = `${AT}owner`;
/** Larger than a transaction: in two pieces, and copied in six. */
const LARGE: readonly Change[] = [
  ...Array.from({ length: 600 }, (_, index) => put(`k${index}`, "new")),
  remove("old"),
  { key: "blob", value: new Uint8Array(600_000).fill(1) },
  { key: "blob2", value: new Uint8Array(600_000).fill(2) },
];
const SMALL: readonly Change[] = [put("k0", "new"), put("k1", "new"), remove("old")];

describe("a crash at any moment", () => {
  for (const [name, batch] of [
    ["small", SMALL],
    ["large", LARGE],
  ] as const)
    test(`[R1ya] of a ${name} batch leaves all of it or nothing, and all that was acknowledged`, async () => {
      let fates = 0;
      for (let crashAt = 1, isOver = false; !isOver; crashAt++) {
        for (const fate of ["never", "lost", "late"] as const) {
          const { etcd, client, store } = await withBefore();
          const first = etcd.txns.length;
          let crashed = false;
          etcd.fate = (_, number) => {
            if (crashed || number < first + crashAt) return "answered";
            crashed = true;
            client.die();
            return fate;
          };
          const acknowledged = await Promise.race([
            store.commit(batch).then(() => true),
            until(() => crashed).then(() => false),
          ]);
          isOver = acknowledged;
          etcd.fate = () => "answered";
          const next = await opened(etcd.client());
          const seen = await state(next);
          expect(["before", "after"]).toContain(seen);
          if (acknowledged) expect(seen).toBe("after");
          // What a dead process has sent arrives when somebody else has the store.
          etcd.applyLate();
          await next.commit([put("later", "x"), ...(seen === "after" ? [put("k0", "new")] : [])]);
          expect(await state(next)).toBe(seen);
          expect(await state(await opened(etcd.client()))).toBe(seen);
          fates++;
        }
      }
      expect(fates).toBeGreaterThan(name === "large" ? 20 : 5);
    });

  test("[R1yb] while another's batch is brought to its end loses nothing of it", async () => {
    for (let crashAt = 1, isOver = false; !isOver; crashAt++) {
      const { etcd, client, store } = await withBefore();
      // The batch counts: its head is there, and nothing is copied.
      let isMarked = false;
      etcd.fate = (txn) => {
        if (!isMark(txn)) return "answered";
        isMarked = true;
        client.die();
        return "lost";
      };
      void store.commit(LARGE);
      await until(() => isMarked);
      const helper = etcd.client();
      const first = etcd.txns.length;
      let crashed = false;
      etcd.fate = (_, number) => {
        if (number < first + crashAt) return "answered";
        crashed = true;
        helper.die();
        return crashAt % 2 === 0 ? "lost" : "never";
      };
      isOver = await Promise.race([opened(helper).then(() => true), until(() => crashed).then(() => false)]);
      etcd.fate = () => "answered";
      expect(await state(await opened(etcd.client()))).toBe("after");
    }
  });

  test("[R1yc] pieces that came to nothing are cleared away, and a batch leaves none behind", async () => {
    const { etcd, client, store } = await withBefore();
    etcd.fate = (txn) => {
      if (!isMark(txn)) return "answered";
      client.die();
      return "never";
    };
    void store.commit(LARGE);
    await until(() => etcd.txns.some(isMark));
    etcd.fate = () => "answered";
    const reader = etcd.client();
    const staged = async () =>
      (await reader.range({ key: `${AT}staged/`, end: `${AT}staged0` })).entries.length;
    expect(await staged()).toBe(1);
    const next = await opened(etcd.client());
    expect(await staged()).toBe(0);
    await next.commit(LARGE);
    expect(await staged()).toBe(0);
  });
});

describe("an outcome that is not known", () => {
  test("[R7ba] is found out: a transaction whose answer was lost is done once, and the commit resolves", async () => {
    for (const fate of ["lost", "never", "late"] as const) {
      for (const batch of [SMALL, LARGE]) {
        const { etcd, store } = await withBefore();
        // Each first attempt.
        let isAgain = false;
        etcd.fate = () => {
          isAgain = !isAgain;
          return isAgain ? fate : "answered";
        };
        await store.commit(batch);
        etcd.fate = () => "answered";
        expect(await state(store)).toBe("after");
        await store.commit([put("k0", "newer"), put("old", "again")]);
        etcd.applyLate();
        const [first] = await textByKey(store, "k0");
        expect(first).toEqual(["k0", "newer"]);
        await store.commit([put("last", "x")]);
        expect(await textByKey(store, "last")).toEqual([["last", "x"]]);
        expect(await textByKey(store, "old")).toEqual([["old", "again"]]);
      }
    }
  });

  test("[R7bb] stays unknown when etcd says nothing: the commit rejects, every later call too, and whoever opens the store sees one of the two", async () => {
    for (const fate of ["lost", "never", "late"] as const) {
      const { etcd, store } = await withBefore();
      etcd.fate = () => fate;
      await expect(store.commit(SMALL)).rejects.toThrow(StoreFailedError);
      etcd.fate = () => "answered";
      await expect(store.commit([put("x", "x")])).rejects.toThrow(StoreFailedError);
      await expect(textByKey(store, "")).rejects.toThrow("unknown until the store is opened anew");
      const next = await opened(etcd.client());
      const seen = await state(next);
      expect(seen).toBe(fate === "lost" ? "after" : "before");
      etcd.applyLate();
      await next.commit([put("later", "x")]);
      expect(await state(next)).toBe(seen);
    }
  });
});

describe("a guard", () => {
  test("[R8ea] that does not hold any more: nothing is written, and the error names it", async () => {
    for (const batch of [SMALL, LARGE]) {
      const { etcd, client, store } = await withBefore();
      await take(client);
      const failure = await store.commit(batch).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(StoreDeposedError);
      expect((failure as StoreDeposedError).guards.map(({ key }) => key)).toEqual([OWNER]);
      await expect(store.commit([])).rejects.toThrow(StoreDeposedError);
      expect(await state(await opened(etcd.client()))).toBe("before");
    }
  });

  test("[R8eb] is taken away in the midst of a batch: it stays whole, and the old owner writes no more", async () => {
    const { etcd, store } = await withBefore();
    const other = etcd.client();
    let seen: Promise<Store> | null = null;
    etcd.fate = (txn) => {
      // Once its head is there, before its first copy.
      if (isMark(txn) && seen === null) seen = opened(other);
      return "answered";
    };
    await expect(store.commit(LARGE)).rejects.toThrow(StoreDeposedError);
    const next = await seen!;
    await next.commit([put("later", "x")]);
    expect(await state(next)).toBe("after");
  });

  test("[R8ec] of a revision that comes again, with another value, does not hold", async () => {
    const { client, store } = await withBefore();
    const etcd = new MemoryEtcd();
    const guard = await take(etcd.client());
    const again = { ...guard, value: Buffer.from("somebody else") };
    await expect(openEtcdStore({ etcd: etcd.client(), at: AT, guards: [again] })).rejects.toThrow(
      StoreDeposedError,
    );
    await take(client);
    await expect(store.commit(SMALL)).rejects.toThrow(StoreDeposedError);
  });

  test("[R8ed] is compared in each transaction that writes", async () => {
    const { etcd, store } = await withBefore();
    await store.commit(SMALL);
    await store.commit(LARGE);
    for (const { compare, ops } of etcd.txns.slice(1))
      if (ops.some((op) => "put" in op && op.put === OWNER) === false)
        expect(compare.map(({ key }) => key)).toEqual([OWNER, `${AT}head`]);
  });
});

test("[R1yd] a store is opened by a transaction that writes, and read as of then or later", async () => {
  const { etcd } = await withBefore();
  const client = etcd.client();
  const asked: (number | undefined)[] = [];
  let opening = 0;
  const watched: Etcd = {
    ...client,
    txn: async (txn) => {
      const outcome = await client.txn(txn);
      if (outcome.kind === "applied") opening = outcome.revision;
      return outcome;
    },
    range: async (query) => {
      asked.push(query.atRevision);
      return client.range(query);
    },
  };
  const next = await openEtcdStore({ etcd: watched, at: AT, guards: [await take(client)] });
  expect(asked).toEqual([]);
  expect(opening).toBeGreaterThan(0);
  expect(await state(next)).toBe("before");
  expect(asked).toEqual([opening]);
});

/** A store of one owner, with something in it. */
async function withBefore() {
  const etcd = new MemoryEtcd();
  const client = etcd.client();
  const store = await opened(client);
  await store.commit([put("old", "x")]);
  return { etcd, client, store };
}

async function opened(etcd: Etcd): Promise<Store> {
  return openEtcdStore({ etcd, at: AT, guards: [await take(etcd)], patienceMs: 300 });
}

async function take(etcd: Etcd): Promise<Guard> {
  const value = Buffer.from(Math.random().toString());
  const outcome = await etcd.txn({ compare: [], ops: [{ put: OWNER, value }] });
  if (outcome.kind !== "applied") throw new Error(outcome.kind);
  return { key: OWNER, value };
}

async function state(store: Store): Promise<string> {
  const found = new Map(await textByKey(store, ""));
  found.delete("later");
  if (found.size === 1 && found.get("old") === "x") return "before";
  const isSmall = found.size === SMALL.length - 1;
  const isWhole = isSmall || (found.size === LARGE.length - 1 && found.get("blob2")?.length === 600_000);
  return isWhole && !found.has("old") && found.get("k1") === "new" ? "after" : `torn: ${[...found.keys()]}`;
}

/** The transaction from which on a batch in pieces counts. */
function isMark({ ops }: { readonly ops: readonly object[] }): boolean {
  return ops.some(
    (op) =>
      "put" in op &&
      op.put === `${AT}head` &&
      "value" in op &&
      text(op.value as Uint8Array).includes('"staged":2'),
  );
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}
