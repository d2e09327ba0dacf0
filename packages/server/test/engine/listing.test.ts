import type { ListQuery, LockPage } from "lockdb/protocol";
import { expect, test } from "vitest";
import { Story } from "./story.js";

function lists(options = {}) {
  const story = new Story({ holdsMax: 100_000, waitersMax: 100_000, ...options });
  const list = (query: ListQuery, address = "http") => {
    const command = { kind: "list", session: null, address, id: 1, query } as const;
    return story.apply(command).answers[0]!.message;
  };
  const page = (query: ListQuery, address?: string) => list(query, address)[2] as LockPage;
  const names = (query: ListQuery) => page(query).locks.map(({ name }) => name);
  return { story, list, page, names };
}

test("[Q9e] a list has all that is held or waited for, the oldest first, and by prefix", () => {
  const { story, page, names } = lists();
  story.check(`
    0 ann acquire x/1            -> ann granted #1
    1 ann acquire y/1+x/2:s      -> ann granted #2
    2 bob acquire x/2            -> bob queued t1
    3 bob acquire pool:2/3       -> bob granted #3`);
  expect(names({})).toEqual(["x/1", "y/1", "x/2", "pool"]);
  expect(names({ prefix: "x/" })).toEqual(["x/1", "x/2"]);
  expect(names({ prefix: "z" })).toEqual([]);
  const { locks, next } = page({ prefix: "x/2" });
  expect(next).toBeNull();
  expect(locks[0]).toMatchObject({
    held: true,
    holders: [{ token: 2, mode: "shared", names: ["y/1", "x/2"] }],
    queue: [{ ticket: 1, owner: "bob", mode: "exclusive" }],
    queueLength: 1,
  });
});

test("[Q9f] page by page everything is listed once, though locks come and go meanwhile", () => {
  const { story, page } = lists();
  for (let n = 1; n <= 10; n++) story.play(`0 ann acquire lock-${n}`);
  const first = page({ limit: 3 });
  expect(first.locks.map(({ name }) => name)).toEqual(["lock-1", "lock-2", "lock-3"]);
  // The next of the list, the one behind it, one that was listed, and a new one.
  for (const token of [4, 5, 1]) story.play(`1 ann release #${token}`);
  story.play("1 ann acquire lock-11");
  const second = page({ limit: 3, next: first.next! });
  expect(second.locks.map(({ name }) => name)).toEqual(["lock-6", "lock-7", "lock-8"]);
  const third = page({ next: second.next! });
  expect(third.locks.map(({ name }) => name)).toEqual(["lock-9", "lock-10", "lock-11"]);
  expect(third.next).toBeNull();
});

test("[Q9fa] a page has a hundred if nothing else is asked, and a list waits a minute for its next one", () => {
  const { story, list, page } = lists();
  for (let n = 1; n <= 101; n++) story.play(`0 http${n} acquire lock-${n}`);
  const [first, other] = [page({}), page({})];
  expect(first.locks).toHaveLength(100);
  story.play("59999 - tick");
  expect(page({ next: first.next! })).toMatchObject({ locks: [{ name: "lock-101" }], next: null });
  story.play("60000 - tick");
  expect(list({ next: other.next! })).toMatchObject(["refused", 1, "NOT_FOUND", expect.any(String)]);
});

test("[Q9ab] what a start has brought comes before what is new, also when it is first touched later", () => {
  const { story, names } = lists({ packedMin: 1 });
  story.check(`
    0 http1 acquire a 30s for=60m  -> http1 granted #1
    0 http2 acquire b 30s for=60m  -> http2 granted #2
    1 -     crash
    2 http3 acquire c              -> http3 granted #100002
    3 http4 check b                -> http4 done true
    3 http4 check a                -> http4 done true
    4 http5 acquire d              -> http5 granted #100003`);
  expect(names({})).toEqual(["b", "a", "c", "d"]);
  story.check("5 http6 unlock c -> http6 done true");
  expect(names({})).toEqual(["b", "a", "d"]);
});

test("[Q9aa] a list begins with the oldest lock that is left", () => {
  const { story, names } = lists();
  for (let n = 1; n <= 4; n++) story.play(`0 ann acquire lock-${n}`);
  story.play("1 ann release #1");
  story.play("2 ann release #2");
  expect(names({})).toEqual(["lock-3", "lock-4"]);
  story.play("3 ann release #4");
  expect(names({})).toEqual(["lock-3"]);
});

test("[Q9g] a page that is asked for again is the same, and one before it is gone", () => {
  const { story, list, page } = lists();
  for (let n = 1; n <= 6; n++) story.play(`0 ann acquire lock-${n}`);
  const first = page({ limit: 2 });
  const second = page({ limit: 2, next: first.next! });
  story.play("1 ann release #3");
  expect(page({ limit: 2, next: first.next! })).toEqual(second);
  page({ limit: 2, next: second.next! });
  expect(list({ limit: 2, next: first.next! })).toMatchObject([
    "refused",
    1,
    "NOT_FOUND",
    expect.any(String),
  ]);
});

test("[Q9i] a list that nobody goes on with is forgotten after a minute", () => {
  const { story, list, page } = lists();
  for (let n = 1; n <= 3; n++) story.play(`0 ann acquire lock-${n} for=10m`);
  const { next } = page({ limit: 1 });
  story.play("59999 - tick");
  const again = page({ limit: 1, next: next! }).next!;
  story.play("120000 - tick");
  expect(list({ next: again })).toMatchObject(["refused", 1, "NOT_FOUND", expect.any(String)]);
});

test("[N3v] one step looks at no more than a page, however few locks have the prefix", () => {
  const { story, page } = lists();
  for (let n = 1; n <= 4_100; n++) story.play(`0 ann acquire lock-${n}`);
  story.play("0 ann acquire other");
  let { locks, next } = page({ prefix: "other" });
  let pages = 1;
  for (; next !== null; pages++) {
    expect(locks).toEqual([]);
    ({ locks, next } = page({ next }));
  }
  expect(locks.map(({ name }) => name)).toEqual(["other"]);
  expect(pages).toBe(3);
});

test("[N3w] a page is about 256 KiB, whatever its locks have to show", () => {
  const { story, page } = lists();
  const long = "x".repeat(480);
  for (let n = 1; n <= 40; n++) {
    for (let k = 0; k < 20; k++) story.play(`0 ann acquire ${long}-${n}-a:s+${long}-${n}-b:s`);
  }
  const { locks, next } = page({ limit: 500 });
  expect(JSON.stringify(locks).length).toBeGreaterThan(256 * 1_024);
  expect(JSON.stringify(locks).length).toBeLessThan(300 * 1_024);
  expect(locks[0]!.holders).toHaveLength(10);
  expect(next).not.toBeNull();
});

test("[N3x] ten lists that are not at their end at once for one who asks: the oldest is given up", () => {
  const { story, list, page } = lists();
  for (let n = 1; n <= 3; n++) story.play(`0 ann acquire lock-${n}`);
  const begun = Array.from({ length: 11 }, () => page({ limit: 1 }).next!);
  expect(list({ next: begun[0]! })).toMatchObject(["refused", 1, "NOT_FOUND", expect.any(String)]);
  for (const next of begun.slice(1)) expect(page({ next }).locks.map(({ name }) => name)[0]).toBe("lock-2");
});

test("[N3aa] a hundred lists at once; those at their end make room", () => {
  const { story, list, page } = lists();
  for (let n = 1; n <= 3; n++) story.play(`0 ann acquire lock-${n}`);
  for (let n = 0; n < 99; n++) page({ limit: 1 }, `http-${n}`);
  for (let n = 0; n < 150; n++) expect(page({}, "http").next).toBeNull();
  page({ limit: 1 }, "http");
  expect(list({ limit: 1 }, "late")).toMatchObject(["refused", 1, "RATE_LIMITED", expect.any(String)]);
});

test("[Q9we] a walk over all locks looks at so many a step, and goes on where it was though locks come and go", () => {
  const { story } = lists();
  for (let n = 1; n <= 6; n++) story.play(`${n} ann acquire lock-${n}`);
  const survey = story.engine.survey();
  expect(survey.step(2)).toBe(0);
  // One it has seen, the one that is next, and one behind that; and a new one.
  for (const token of [1, 3, 5]) story.play(`10 ann release #${token}`);
  story.play("11 ann acquire lock-7");
  story.play("12 bob acquire lock-4");
  story.play("13 cid acquire lock-7");
  story.play("14 dan acquire lock-7");
  expect(survey.isDone).toBe(false);
  expect(survey.step(100)).toBe(100 - 3);
  expect(survey.isDone).toBe(true);
  const { hottest, longestWaits, oldestHolds, grants } = survey.found(false, 20);
  expect(hottest.map(({ name, queueLength }) => [name, queueLength])).toEqual([
    ["lock-7", 2],
    ["lock-4", 1],
  ]);
  expect(longestWaits.map(({ waiter }) => [waiter.owner, waiter.waitingForMs])).toEqual([
    ["bob", 8],
    ["cid", 7],
    ["dan", 6],
  ]);
  // What was seen and is over meanwhile is not told.
  expect(oldestHolds.map(({ name, holder }) => [name, holder.heldForMs])).toEqual([
    ["lock-2", 18],
    ["lock-4", 16],
    ["lock-6", 14],
    ["lock-7", 9],
  ]);
  expect(grants).toBe(7);
});

test("[Q9wf] a walk that is given up is forgotten, and who waited longest leaves no gap", () => {
  const { story } = lists();
  story.play("0 ann acquire a");
  const survey = story.engine.survey();
  survey.giveUp();
  expect(survey.isDone).toBe(true);
  for (const [at, who] of ["bob", "cid", "dan"].entries()) story.play(`${at} ${who} acquire a 60m`);
  const waiting = () =>
    story.engine
      .survey()
      .found(false, 10)
      .longestWaits.map(({ waiter }) => waiter.owner);
  expect(waiting()).toEqual(["bob", "cid", "dan"]);
  story.play("5 ann release #1");
  expect(waiting()).toEqual(["cid", "dan"]);
  story.play("6 dan bye");
  expect(waiting()).toEqual(["cid"]);
  story.play("7 bob release #2");
  expect(waiting()).toEqual([]);
});
