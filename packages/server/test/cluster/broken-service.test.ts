import { afterEach, expect, test, vi } from "vitest";
import { Member } from "../../src/cluster/member.js";
import { Engine } from "../../src/engine/index.js";
import { Loop, nodeRuntime } from "../../src/loop/index.js";
import { type Member as LoopMember, serviceOf, Talker } from "../loop/members.js";
import { AT, World } from "./world.js";

const POISON = "poison";
afterEach(() => vi.restoreAllMocks());

test("[R7wc] a service of a member that fails is read anew from its partition, and nobody else's", async () => {
  const { etcd } = new World();
  const logged: string[] = [];
  const note = (_: object, text: string) => void logged.push(text);
  const log = { info: () => {}, warn: note, error: note };
  const options = { etcd: etcd.client(), at: AT, url: "http://one", version: "1", runtime: nodeRuntime, log };
  const member = new Member(options);
  const service = { waitersMax: 10, holdsMax: 99, sessionsMax: 10, writesSessionHolds: false };
  const loop = await Loop.start({
    ...{
      openStore: () => member.openStore(),
      placement: member,
      service,
      servicesMax: 9,
      runtime: nodeRuntime,
    },
    log,
  });
  member.start(loop);
  // Names of which one is the beginning of the other, in whatever partitions.
  const [sick, well] = [serviceOf("sick"), serviceOf("sick2")];
  await vi.waitUntil(() => [sick, well].every((key) => member.placeOf(key) === "here"), { timeout: 10_000 });
  const [ann, dan] = [sick, well].map((key) => new Talker({ loop } as LoopMember, key, "ann")) as [
    Talker,
    Talker,
  ];
  const tokens: unknown[] = [];
  for (const talker of [ann, dan]) {
    talker.hello();
    await talker.next("welcome");
    talker.acquire("disk", 60_000);
    tokens.push((await talker.next("granted"))[2]);
  }
  const apply = Engine.prototype.apply;
  vi.spyOn(Engine.prototype, "apply").mockImplementation(function (this: Engine, command, nowMs, out) {
    apply.call(this, command, nowMs, out);
    if ("names" in command && command.names === POISON) throw new Error("planted");
  });
  ann.acquire(POISON);
  await ann.next("ended");
  await vi.waitUntil(() => loop.services.statsOf(sick)?.holds === 1, { timeout: 10_000 });
  expect(loop.services.statsOf(well)).toMatchObject({ holds: 1 });
  expect(tokens).toEqual([1, 1]);
  expect(loop.totals.serviceFailures).toBe(1);
  expect(logged).toEqual([
    "a service failed by a mistake in LockDB: its memory is dropped, and read from the store anew",
  ]);
  ann.hello();
  await ann.next("welcome");
  ann.release(1);
  expect((await ann.next("done"))[2]).toBe(true);
  await loop.stop();
  await member.close();
});
