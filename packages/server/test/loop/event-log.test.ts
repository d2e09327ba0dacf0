import type { ServerMessage, WatchQuery, WatchStart } from "lockdb/protocol";
import { expect, test } from "vitest";
import { EventLog } from "../../src/loop/event-log.js";

/** A log, and somebody who watches it. Times are in milliseconds. */
function log(name = "log") {
  const budget = { bytes: 0 };
  const log = new EventLog(name, budget);
  const heard: ServerMessage[] = [];
  const reader = {
    service: null,
    receive: (message: ServerMessage) => void heard.push(message),
    flush: () => {},
  };
  const watch = (query: WatchQuery, nowMs = 0): WatchStart => {
    let start: WatchStart | undefined;
    log.watch(reader, 1, query, (answer) => (start = answer), nowMs);
    return start!;
  };
  const add = (name: string, nowMs = 0) =>
    log.add([{ type: "granted", names: [name], owner: "ann", token: 1 }], "2026-01-01T00:00:00.000Z", nowMs);
  return { log, budget, heard, reader, watch, add };
}

test("[Q9w] each event has a position, and names the one before it that the same watch was told", () => {
  const { heard, watch, add } = log();
  add("before");
  expect(watch({ prefix: "a" })).toEqual({ position: "log.1", missed: false });
  for (const name of ["a1", "b1", "a2"]) add(name);
  expect(heard).toMatchObject([
    ["event", 1, "log.2", "log.1", { names: ["a1"] }],
    ["event", 1, "log.4", "log.2", { names: ["a2"], at: "2026-01-01T00:00:00.000Z" }],
  ]);
});

test("[Q9x] who comes back is told what has happened since", () => {
  const { log: events, heard, reader, watch, add } = log();
  watch({});
  add("a1");
  events.leave(reader, 0);
  add("a2");
  add("b1");
  expect(watch({ prefix: "a", after: "log.1" })).toEqual({ position: "log.1", missed: false });
  expect(heard.slice(1)).toMatchObject([["event", 1, "log.2", "log.1", { names: ["a2"] }]]);
});

test("[Q9y] what is not kept any more is missed, and so is what another process has told", () => {
  const { heard, watch, add } = log();
  watch({});
  for (let n = 0; n < 10_002; n++) add("a");
  expect(watch({ after: "log.1" })).toEqual({ position: "log.10002", missed: true });
  expect(watch({ after: "log.2" })).toEqual({ position: "log.2", missed: false });
  expect(heard).toHaveLength(10_002 + 10_000);
  expect(watch({ after: "other.2" })).toEqual({ position: "log.10002", missed: true });
  expect(watch({ after: "log.10003" })).toEqual({ position: "log.10002", missed: true });
});

test("[Q9z] ten minutes are kept, and nobody's log is forgotten after as long", () => {
  const { log: events, reader, watch, add } = log();
  watch({}, 0);
  add("a", 1_000);
  add("a", 2_000);
  expect(watch({ after: "log.0" }, 601_001)).toMatchObject({ missed: true });
  expect(watch({ after: "log.1" }, 601_001)).toMatchObject({ missed: false });
  expect(events.isWanted(9_999_999)).toBe(true);
  events.unwatch(reader, 1, 700_000);
  expect(events.isWanted(1_299_999)).toBe(true);
  expect(events.isWanted(1_300_000)).toBe(false);
});

test("[N3z] about sixteen megabytes are kept, and sixty-four of all logs together", () => {
  const { log: events, budget, watch } = log();
  watch({});
  const long = { type: "granted" as const, names: ["x".repeat(500_000)], owner: "ann" };
  for (let n = 0; n < 100; n++) events.add([long], "", 0);
  expect(budget.bytes).toBeGreaterThan(15_000_000);
  expect(budget.bytes).toBeLessThan(17_000_000);
  expect(watch({ after: "log.10" })).toMatchObject({ missed: true });
  expect(watch({ after: "log.90" })).toMatchObject({ missed: false });
  budget.bytes += 60_000_000;
  events.add([long], "", 0);
  expect(budget.bytes).toBeLessThan(68_000_000);
  events.clear();
  expect(budget.bytes).toBe(60_000_000);
});
