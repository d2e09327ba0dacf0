import { expect, test } from "vitest";
import type { EngineEvent } from "../../src/engine/index.js";
import { EventLogs } from "../../src/loop/event-logs.js";
import { nodeRuntime } from "../../src/loop/index.js";
import { Service, ServiceKey } from "../../src/loop/service.js";

const OPTIONS = { waitersMax: 10, holdsMax: 10, sessionsMax: 10, writesSessionHolds: false };
const LIMITS = { holds: 1, sessions: 1, waiters: 1, services: 20, acts: 1 };
const AT = "2026-01-01T00:00:00.000Z";

test("[N3ze] trials that fill what is kept of events take nothing from the past of other accounts", () => {
  const logs = new EventLogs(nodeRuntime, (account) => (account.startsWith("trial") ? LIMITS : null));
  const logOf = (account: string, id: string) => logs.of(new Service(new ServiceKey(account, id), OPTIONS));
  const own = logOf("default", "reports");
  const event = (names: readonly string[]) =>
    ({ type: "granted", names, owner: "ann", token: 1 }) as EngineEvent;
  const add = (log: typeof own, count: number, names: readonly string[]) => {
    for (let n = 0; n < count; n++) log.add([event(names)], AT, 0);
  };
  add(own, 500, ["invoice"]);
  // About 64 KiB each, as large as a request may be.
  const large = Array.from({ length: 60 }, (_, at) => `${at}`.padEnd(512, "x"));
  for (let service = 0; service < 20; service++) add(logOf("trial", `s${service}`), 600, large);
  add(own, 500, ["invoice"]);
  const { events, missed } = own.past({}, 2_000, 0);
  expect([events.length, missed]).toEqual([1_000, false]);
});
