/** Requests under way when what they are about goes to another member. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { ServiceKey } from "../../src/loop/index.js";
import { Api, refusalOf } from "./api.js";
import { EventReader } from "./event-reader.js";
import { Members } from "./members.js";
import { OriginalClient } from "./original-client.js";
import { NativeClient, SERVICE } from "./server.js";

let members: Members;
let apis: Api[];
let native: NativeClient;

beforeEach(async () => {
  members = await Members.start(2, { isPlaced: true });
  apis = members.all.map((member) => new Api(member));
  native = await NativeClient.welcome(members.all[0]!);
});

afterEach(async () => {
  native.close();
  await members.close();
});

/** All services go from the first to the second. */
function handOver(to: 0 | 1 | "nowhere" = 1): Promise<void> {
  return members.all[0]!.loop.handOver(
    () => true,
    [],
    () => {
      members.where = to;
      members.changed();
    },
  );
}

test("[I3rq] requests that wait for a lock wait on where its service went, wherever they came in", async () => {
  await native.acquire("moving");
  const original = new OriginalClient(SERVICE, {
    apiKey: members.all[0]!.rootKey,
    serverUrl: members.all[0]!.url,
  });
  const waits = apis.map((api) => api.acquire("moving", { waitMs: 60_000, leaseMs: 300_000 }));
  const locked = original.lock("moving", { waitTimeoutInMs: 20_000 });
  await native.until("moving", (info) => info.queueLength === 3);
  // They wait longer than for a place.
  for (const { cluster } of members.all) cluster.patienceMs = 50;
  await native.until("moving", (info) => info.queue.every(({ waitingForMs }) => waitingForMs > 100));
  await handOver();
  expect(await native.next("moved")).toEqual(["moved", members.all[1]!.url, expect.any(Array)]);
  const there = await NativeClient.welcome(members.all[1]!);
  // Each has it once: the others wait in the same queue again.
  for (let left = 2; left >= 0; left--) {
    const { holders } = await there.until("moving", (info) => info.held && info.queueLength === left);
    await there.request("force", "moving", holders[0]!.token, "next");
  }
  expect((await Promise.all(waits)).map(({ status }) => status)).toEqual([200, 200]);
  expect(await locked).toBe(true);
  there.close();
});

test("[I3rr] what asks at that moment is answered where the service is then", async () => {
  const moving = handOver();
  const answers = await Promise.all(
    apis.map((api) => api.post("/sessions", { sessionId: "a-session-that-moved" })),
  );
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 201]);
  await moving;
  expect(members.all[1]!.loop.services.statsOf(new ServiceKey("default", SERVICE))).toMatchObject({
    sessions: 1,
  });
});

test("[I3rs] a service that goes nowhere is waited for, and not for ever", async () => {
  for (const { cluster } of members.all) cluster.patienceMs = 100;
  await native.acquire("nowhere");
  const waits = apis[0]!.acquire("nowhere", { waitMs: 60_000 });
  await native.until("nowhere", (info) => info.queueLength === 1);
  await handOver("nowhere");
  expect(refusalOf(await waits)).toEqual([503, "UNAVAILABLE"]);
});

test("[I3rt] a stream of events ends, and says that it may be begun again", async () => {
  const reader = await EventReader.open(members.all[1]!, "?prefix=a");
  await reader.until("start");
  await handOver();
  expect((await reader.until("ended")).at(-1)!.data).toMatchObject({ reason: "UNAVAILABLE" });
  await reader.closed;
  const again = await EventReader.open(members.all[0]!, "?prefix=a");
  await again.until("start");
  await apis[0]!.acquire("a");
  expect((await again.until("granted")).at(-1)!.data).toMatchObject({ names: ["a"] });
  again.close();
});

test("[Q7rz] what was answered a moment ago, and may have been read or not, is not asked again", async () => {
  for (const [at, api] of apis.entries()) {
    expect((await api.acquire(`given/${at}`, { leaseMs: 60_000 })).status).toBe(200);
    const { rootKey: apiKey, url: serverUrl } = members.all[at]!;
    await new OriginalClient(SERVICE, { apiKey, serverUrl }).lock(`original/${at}`);
  }
  // Each of these is still looked after, in case that it was not read.
  await handOver();
  const there = await NativeClient.welcome(members.all[1]!);
  for (const name of apis.flatMap((_, at) => [`given/${at}`, `original/${at}`]))
    expect((await there.inspect(name)).held).toBe(false);
  // These two have stores of their own: had anything been asked for again, it would have this token.
  expect(await there.acquire("first")).toBe(1);
  there.close();
});
