import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { type Change, type Entries, openMemoryStore, type Store } from "../../src/store/index.js";
import { NativeClient, startParts } from "./server.js";

/** A disk that takes its time: while one commit is written, the next one fills. */
class SlowStore implements Store {
  readonly #memory = openMemoryStore();

  load(prefix: string): Entries {
    return this.#memory.load(prefix);
  }

  async commit(batch: readonly Change[]): Promise<void> {
    await sleep(5);
    await this.#memory.commit(batch);
  }

  async close(): Promise<void> {}
}

test("[R5e] a stop ends though clients go on asking for what has to be flushed", async () => {
  const parts = await startParts({ store: new SlowStore() });
  const clients = await Promise.all(Array.from({ length: 4 }, () => NativeClient.welcome(parts)));
  const ask = async (client: NativeClient, at: number) => {
    for (let n = 0; !client.isClosed; n++) {
      client.send(["acquire", client.newId(), `lock-${at}-${n}`, 0, { detachedMs: 60_000 }]);
      await client.take(([kind]) => kind === "granted" || kind === "refused");
    }
  };
  // Each ends with its connection.
  const asking = clients.map((client, at) => ask(client, at).catch(() => {}));
  const stopping = parts.loop.stop();
  expect(parts.loop.ready).toBe(false);
  await stopping;
  await parts.close();
  await Promise.all(asking);
});

test("[R7t] a store that fails again while it is opened anew is closed, and opened once more", async () => {
  const memory = openMemoryStore();
  let [isOpen, failuresLeft] = [false, 0];
  const openStore = async (): Promise<Store> => {
    // As with a data folder: nobody opens it while somebody has it.
    if (isOpen) throw new Error("in use");
    isOpen = true;
    return {
      load: (prefix) => memory.load(prefix),
      commit: async (batch) => {
        if (batch.length > 0 && failuresLeft-- > 0) throw new Error("the disk is full");
        await memory.commit(batch);
      },
      close: async () => {
        isOpen = false;
      },
    };
  };
  const parts = await startParts({ store: memory, openStore });
  const client = await NativeClient.welcome(parts);
  failuresLeft = 3;
  client.send(["acquire", client.newId(), "durable", 0, { detachedMs: 60_000 }]);
  await client.closed;
  expect(parts.loop.ready).toBe(false);
  while (!parts.loop.ready) await sleep(20);
  expect(failuresLeft).toBeLessThanOrEqual(0);
  await parts.close();
  expect(isOpen).toBe(false);
});
