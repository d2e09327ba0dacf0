import { afterAll, afterEach, describe, expect, test } from "vitest";
import { OriginalClient } from "../../packages/server/test/http/original-client.js";
import { Receiver } from "../../packages/server/test/webhooks/receiver.js";
import { Processes, ROOT_KEY, type ServerProcess } from "./processes.js";

const ROUNDS = Number(process.env.LOCKDB_KILLS ?? 4);
const NAMES_A_ROUND = 40;
/** Each round starts a server. */
const ROUND_MS_MAX = 8_000;

const processes = new Processes();
const receivers: Receiver[] = [];

afterEach(() => Promise.all(receivers.splice(0).map((receiver) => receiver.close())));
afterAll(() => processes.end());

async function receiver(port = 0): Promise<Receiver> {
  const opened = await Receiver.open({ port });
  receivers.push(opened);
  return opened;
}

function clientOf(server: ServerProcess): OriginalClient {
  return new OriginalClient("processes", { apiKey: ROOT_KEY, serverUrl: server.url });
}

const allowPrivate = { flags: ["--webhook-allow-private"] };

describe("a server with webhooks that is killed with -9", () => {
  test("[C5cq] between the answer to an unlock and the delivery has it delivered by the next", async () => {
    const target = await receiver();
    const server = await processes.server(allowPrivate);
    const client = clientOf(server);
    await client.lock("disk", { unlockWebhookUrl: target.url() });
    // Nobody is there yet: nothing can be delivered before the kill.
    await target.close();
    expect(await client.unlock("disk")).toBe(true);
    await server.child.kill("SIGKILL");
    const back = await receiver(target.port);
    await server.restart();
    expect((await back.count(1))[0]!.body).toBe('{"serviceId":"processes","lockName":"disk"}');
    await server.child.kill("SIGTERM");
  });

  test("[C5cr] while a receiver thinks has it delivered again by the next, under the same id", async () => {
    const target = await receiver();
    target.answer = () => {};
    const server = await processes.server(allowPrivate);
    const client = clientOf(server);
    await client.lock("disk", { lockExpirationInSeconds: 0.3, unlockWebhookUrl: target.url() });
    await target.count(1);
    await server.child.kill("SIGKILL");
    target.answer = (_request, response) => response.end();
    await server.restart();
    const [first, second] = await target.count(2);
    expect(second!.headers["webhook-id"]).toBe(first!.headers["webhook-id"]);
    expect(second!.body).toBe(first!.body);
    await server.child.kill("SIGTERM");
    await server.restart();
    expect(await client.check("disk")).toBe(false);
    // It was written that it is delivered: a third would have come by now.
    await client.lock("other", { unlockWebhookUrl: target.url() });
    await client.unlock("other");
    expect((await target.count(3))[2]!.body).toContain('"other"');
    await server.child.kill("SIGTERM");
  });

  test(
    `[C5cs] ${ROUNDS} times under load loses nothing that was owed, and tells of no lock that is held`,
    async () => {
      const target = await receiver();
      const server = await processes.server(allowPrivate);
      const client = clientOf(server);
      const owed = new Set<string>();
      const unknown = new Set<string>();
      for (let round = 0; round < ROUNDS; round++) {
        const names = Array.from({ length: NAMES_A_ROUND }, (_, at) => `${round} ${at}`);
        await Promise.all(names.map((name) => client.lock(name, { unlockWebhookUrl: target.url() })));
        const unlocks = names.map((name) =>
          client.unlock(name).then(
            (wasLocked) => expect(wasLocked && owed.add(name)).toBeTruthy(),
            () => unknown.add(name),
          ),
        );
        // When some have been told, and others are under way.
        await Promise.race(unlocks.slice(Math.floor((NAMES_A_ROUND * round) / ROUNDS)));
        await server.child.kill("SIGKILL");
        await Promise.all(unlocks);
        await server.restart();
      }
      const told = () =>
        new Set(target.received.map(({ body }) => (JSON.parse(body) as { lockName: string }).lockName));
      for (const name of unknown) {
        const isHeld = await client.check(name);
        if (isHeld) expect(told()).not.toContain(name);
        // Either this one owes it, or the one that was cut off.
        expect(await client.unlock(name)).toBe(isHeld);
        owed.add(name);
      }
      for (let count = target.received.length; told().size < owed.size; count++)
        await target.count(count + 1);
      expect([...told()].sort()).toEqual([...owed].sort());
      const ids = new Map<string, Set<unknown>>();
      for (const { body, headers } of target.received)
        ids.set(body, (ids.get(body) ?? new Set()).add(headers["webhook-id"]));
      for (const [body, each] of ids) expect([body, each.size]).toEqual([body, 1]);
      await server.child.kill("SIGTERM");
    },
    (ROUNDS + 2) * ROUND_MS_MAX,
  );
});
