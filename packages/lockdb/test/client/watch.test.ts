import { expect, test } from "vitest";
import { ConnectionError } from "../../src/client/errors.js";
import { stage } from "./script.js";
import { outcomeOf } from "./virtual.js";

test("[I1bn] a watch that is read gives up when no server is ever reached, also when nothing else is asked", async () => {
  const { world, session } = stage({ urls: ["http://nobody"] });
  const outcome = outcomeOf(session.watch({}).next());
  await world.run(4_900);
  expect(outcome.state).toBe("pending");
  await world.run(400);
  expect(outcome.error).toBeInstanceOf(ConnectionError);
  const again = outcomeOf(session.watch({}).next());
  await world.until(() => again.state === "rejected", 6_000);
});

test("[Q9zb] a watch that was asked for, and whose connection was lost before the answer, begins with a gap", async () => {
  const { world, script, session } = stage();
  script.answer = (message) =>
    message[0] === "watch" && script.visits.length > 1
      ? [["done", message[1], { position: "log.7", missed: false }]]
      : null;
  script.mute.add("watch");
  const watch = session.watch({});
  const first = outcomeOf(watch.next());
  await world.run(1_000);
  expect(first.state).toBe("pending");
  script.visit.line.cut();
  await world.until(() => first.state === "resolved", 5_000);
  expect(first.value).toEqual({ done: false, value: { type: "gap" } });
  const second = outcomeOf(watch.next());
  await world.run(1_000);
  expect(second.state).toBe("pending");
  expect(script.visits.length).toBe(2);
});

test("[I1bo] a watch keeps the process alive while somebody reads it, and no longer", async () => {
  const { world, session, runtime } = stage();
  const watch = session.watch({});
  await world.run(1_000);
  expect(runtime.isKeptAlive).toBe(false);
  const read = outcomeOf(watch.next());
  await world.run(1_000);
  expect({ kept: runtime.isKeptAlive, state: read.state }).toEqual({ kept: true, state: "pending" });
  await watch.return();
  await world.run(1_000);
  expect({ kept: runtime.isKeptAlive, state: read.state }).toEqual({ kept: false, state: "resolved" });
});
