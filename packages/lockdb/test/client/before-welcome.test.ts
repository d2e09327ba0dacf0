import { expect, test } from "vitest";
import { stage, terms } from "./script.js";
import { outcomeOf } from "./virtual.js";

test("[L2s] an answer that comes before the welcome of a resume renews nothing until that has come", async () => {
  const { world, script, session } = stage();
  const lease = await world.settled(session.acquire(terms("disk")));
  await world.run(2_000);
  script.visit.line.cut();
  script.mute.add("sync");
  const asked = outcomeOf(session.call(60_000, (id) => ["check", id, "x", 0]));
  await world.until(() => script.visits.length === 2 && script.visit.of("check").length === 1);
  const before = lease.remainingMs;
  await world.run(100);
  // The server has answered: but it may be waiting for the session, and that renews it with its sync only.
  expect(asked.state).toBe("pending");
  expect(lease.remainingMs).toBe(before - 100);
  const [, { session: name, leaseMs }] = script.visit.of("hello")[0]!;
  script.visit.say(["welcome", { session: name, leaseMs, resumed: true }]);
  await world.run(10);
  expect(asked.state).toBe("resolved");
  expect(lease.remainingMs).toBeGreaterThan(before);
});
