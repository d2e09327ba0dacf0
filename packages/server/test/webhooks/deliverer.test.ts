import { describe, expect, test } from "vitest";
import { restartDelayMs, retryDelayMs } from "../../src/webhooks/backoff.js";
import { DOWN, OK, Stage } from "./stage.js";

const S = 1_000;
const HOUR = 3_600 * S;
const DAY = 24 * HOUR;

describe("when a delivery is tried", () => {
  test("[C5ap] at once, and no more once it is delivered", async () => {
    const stage = new Stage();
    const delivery = stage.owe();
    await stage.time.pass(2 * DAY);
    expect(stage.timesOf(delivery)).toEqual([0]);
    expect(stage.written).toEqual([
      expect.objectContaining({ status: "delivered", attempts: 1, answered: 200 }),
    ]);
    expect(stage.time.timerCount).toBe(0);
  });

  test("[C5aq] again after 5 s, then twice as long each time up to an hour, for a day; then it is given up", async () => {
    const stage = new Stage();
    // Another one of its target gets through in between, so that the target is never taken for dead.
    const delivery = stage.delivery("https://a.example/refused");
    stage.answer = (each) => (each === delivery ? { ...DOWN, status: 500, error: "answered 500" } : OK);
    stage.deliverer.schedule(delivery, 0);
    for (let minute = 0; minute < 25 * 60; minute++) {
      stage.owe();
      await stage.time.pass(60 * S);
    }
    const times = stage.timesOf(delivery);
    const delays = times.slice(1).map((atMs, at) => atMs - times[at]!);
    expect(delays.slice(0, 11)).toEqual(
      [5, 10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600].map((s) => s * S),
    );
    expect(Math.max(...delays)).toBe(HOUR);
    expect(times.at(-1)).toBe(DAY);
    const mine = stage.written.filter(({ url }) => url.endsWith("/refused"));
    expect(mine.at(-1)).toMatchObject({
      status: "failed",
      attempts: times.length,
      error: "answered 500",
      ageMs: DAY,
    });
    expect(mine.slice(0, -1).every(({ status }) => status === undefined)).toBe(true);
  });

  test("[C5ar] half of each wait is left to chance", () => {
    for (const attempts of [1, 2, 5, 11, 60]) {
      const [least, most] = [retryDelayMs(attempts, 0, 0, 0)!, retryDelayMs(attempts, 0, 0, 1)!];
      expect(most).toBe(Math.min(HOUR, 5 * S * 2 ** (attempts - 1)));
      expect(least).toBe(most / 2);
    }
  });

  test("[C5as] a receiver may ask for more time, up to an hour, and not for less", () => {
    expect(retryDelayMs(1, 0, 60 * S, 1)).toBe(60 * S);
    expect(retryDelayMs(1, 0, 1 * S, 1)).toBe(5 * S);
    expect(retryDelayMs(1, 0, 400_000 * S, 1)).toBe(HOUR);
    expect(retryDelayMs(1, DAY - 7 * S, 60 * S, 1)).toBe(7 * S);
    expect(retryDelayMs(1, DAY, 60 * S, 1)).toBeNull();
  });

  test("[C5at] a receiver that says it is gone gets it no more", async () => {
    const stage = new Stage();
    stage.answer = () => ({ status: 410, error: "answered 410", retryAfterMs: 0, isGone: true });
    const delivery = stage.owe();
    await stage.time.pass(DAY);
    expect(stage.timesOf(delivery)).toEqual([0]);
    expect(stage.written).toEqual([
      expect.objectContaining({ status: "failed", attempts: 1, answered: 410 }),
    ]);
  });

  test("[C5au] the day is counted on over restarts, in the time that the server is up", async () => {
    const stage = new Stage();
    stage.answer = () => DOWN;
    const delivery = stage.owe(undefined, { attempts: 30, ageMs: DAY - 60 * S });
    await stage.time.pass(59 * S);
    expect(delivery.isPending).toBe(true);
    await stage.time.pass(2 * S);
    expect(delivery.record).toMatchObject({ status: "failed", attempts: 32, ageMs: DAY });
  });

  test("[C5av] after a start the rest of its wait is short, and left to chance", () => {
    expect(restartDelayMs(0, 1)).toBe(0);
    expect(restartDelayMs(HOUR, 1)).toBe(10 * S);
    expect(restartDelayMs(HOUR, 0.25)).toBe(2.5 * S);
    expect(restartDelayMs(4 * S, 0.5)).toBe(2 * S);
  });
});

describe("how many at once", () => {
  test("[C5aw] four to one origin, and the others of it in their order", async () => {
    const stage = new Stage();
    stage.answer = () => null;
    const all = Array.from({ length: 6 }, () => stage.owe());
    await stage.time.pass(HOUR);
    expect(stage.attempts.map(({ delivery }) => delivery)).toEqual(all.slice(0, 4));
    stage.attempts[2]!.settle(OK);
    await stage.time.pass(0);
    expect(stage.attempts.slice(4).map(({ delivery }) => delivery)).toEqual([all[4]]);
  });

  test("[C5ax] 64 in all, in turn from one origin to the next", async () => {
    const stage = new Stage();
    stage.answer = () => null;
    const urls = Array.from({ length: 20 }, (_, at) => `https://${at}.example/`);
    for (let round = 0; round < 10; round++) for (const url of urls) stage.owe(url);
    await stage.time.pass(S);
    expect(stage.attempts.length).toBe(64);
    for (const attempt of stage.attempts.splice(0)) attempt.settle(OK);
    await stage.time.pass(0);
    expect(stage.attempts.length).toBe(64);
    const byOrigin = new Map<string, number>();
    for (const { delivery } of stage.attempts)
      byOrigin.set(delivery.origin, (byOrigin.get(delivery.origin) ?? 0) + 1);
    expect(byOrigin.size).toBe(20);
    expect(Math.max(...byOrigin.values())).toBe(4);
  });

  test("[C5ay] an origin is scheme, host and port: one that is slow keeps no other waiting", async () => {
    const stage = new Stage();
    stage.answer = ({ origin }) => (origin === "https://slow.example" ? null : OK);
    for (let count = 0; count < 100; count++) stage.owe("https://slow.example/x");
    for (const url of ["https://slow.example:444/", "http://slow.example/", "https://fast.example/"])
      stage.owe(url);
    await stage.time.pass(0);
    expect(stage.written.map(({ url }) => url)).toEqual([
      "https://slow.example:444/",
      "http://slow.example/",
      "https://fast.example/",
    ]);
  });
});

describe("a target that is down", () => {
  test("[C5az] is left alone after five failures in a row, but for one probe now and then", async () => {
    const stage = new Stage();
    stage.answer = () => DOWN;
    for (let count = 0; count < 50; count++) stage.owe();
    await stage.time.pass(25 * S);
    // The four that were on their way together, and those that came to their turn until there were five failures.
    expect(stage.attempts.length).toBeLessThan(10);
    expect(stage.noted).toEqual(["opened https://a.example"]);
    const before = stage.attempts.length;
    await stage.time.pass(10 * S);
    expect(stage.attempts.length).toBe(before + 1);
    await stage.time.pass(50 * S);
    expect(stage.attempts.length).toBe(before + 1);
    await stage.time.pass(10 * S);
    expect(stage.attempts.length).toBe(before + 2);
  });

  test("[C5ba] gets one probe every ten minutes in the end, however many wait for it", async () => {
    const stage = new Stage();
    stage.answer = () => DOWN;
    for (let count = 0; count < 50; count++) stage.owe();
    await stage.time.pass(2 * HOUR);
    const before = stage.attempts.length;
    await stage.time.pass(HOUR);
    expect(stage.attempts.length - before).toBe(6);
  });

  test("[C5bb] has all that waits for it at once when it is back, four at a time", async () => {
    const stage = new Stage();
    stage.answer = () => DOWN;
    for (let count = 0; count < 50; count++) stage.owe();
    await stage.time.pass(3 * HOUR);
    stage.answer = () => OK;
    await stage.time.pass(600 * S);
    expect(stage.written.filter(({ status }) => status === "delivered").length).toBe(50);
    expect(stage.noted.at(-1)).toBe("closed https://a.example");
  });

  test("[C5bc] a single success in between starts the count anew", async () => {
    const stage = new Stage();
    let count = 0;
    stage.answer = () => (++count % 5 === 0 ? OK : DOWN);
    stage.chance = 0;
    for (let each = 0; each < 40; each++) stage.owe();
    await stage.time.pass(DAY);
    expect(stage.noted).toEqual([]);
  });

  test("[C5bd] keeps no other target waiting", async () => {
    const stage = new Stage();
    stage.answer = ({ origin }) => (origin === "https://a.example" ? DOWN : OK);
    for (let count = 0; count < 50; count++) stage.owe();
    await stage.time.pass(HOUR);
    const other = stage.owe("https://b.example/");
    await stage.time.pass(0);
    expect(other.record.status).toBe("delivered");
  });

  test("[C5be] what waits for one that does not come back within the day is given up, tried or not", async () => {
    const stage = new Stage();
    stage.answer = () => DOWN;
    const all = Array.from({ length: 300 }, () => stage.owe());
    await stage.time.pass(23 * HOUR);
    expect(all.filter(({ isPending }) => isPending).length).toBe(300);
    await stage.time.pass(HOUR + 1_200 * S);
    expect(all.filter(({ record }) => record.status === "failed").length).toBe(300);
    const untried = all.filter(({ record }) => record.attempts === undefined);
    expect(untried.length).toBeGreaterThan(0);
    for (const { record } of untried) expect(record.error).toMatch(/did not answer for a day/);
    expect(stage.time.timerCount).toBe(0);
  });

  test("[C5bf] one that somebody wants tried now is the next probe, before all others", async () => {
    const stage = new Stage();
    stage.answer = () => DOWN;
    const all = Array.from({ length: 50 }, () => stage.owe());
    await stage.time.pass(HOUR);
    const before = stage.attempts.length;
    stage.deliverer.now(all[40]!);
    await stage.time.pass(0);
    expect(stage.attempts.slice(before).map(({ delivery }) => delivery)).toEqual([all[40]]);
  });
});

describe("a stop", () => {
  test("[C5bg] begins nothing more, waits a little for what is on its way, then cuts it off", async () => {
    const stage = new Stage();
    stage.answer = () => null;
    for (let count = 0; count < 5; count++) stage.owe();
    let isOver = false;
    const stopping = stage.deliverer.stop(500).then(() => {
      isOver = true;
    });
    stage.attempts[0]!.settle(OK);
    await stage.time.pass(499);
    expect([stage.attempts.length, isOver]).toEqual([4, false]);
    expect(stage.written.length).toBe(1);
    await stage.time.pass(1);
    await stopping;
    expect(stage.attempts.slice(1).every(({ signal }) => signal.aborted)).toBe(true);
    stage.attempts[1]!.settle(DOWN);
    await stage.time.pass(DAY);
    // What was cut off says nothing of its target, and is made again by the next start.
    expect(stage.written.length).toBe(1);
  });

  test("[C5bh] is over at once when nothing is on its way, or as soon as that has come", async () => {
    const stage = new Stage();
    stage.owe();
    await stage.time.pass(0);
    await stage.deliverer.stop(500);
    const other = new Stage();
    other.answer = () => null;
    other.owe();
    const stopping = other.deliverer.stop(500);
    other.attempts[0]!.settle(OK);
    await stopping;
    expect(other.written.length).toBe(1);
    expect([stage.time.timerCount, other.time.timerCount]).toEqual([0, 0]);
  });
});
