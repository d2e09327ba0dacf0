import type { Command } from "commander";
import type { LockDB } from "../index.js";
import { addServerFlags, SERVER_URL_DEFAULT, type ServerFlags, serviceIdOf, withClient } from "./args.js";

const COUNT = 5;
const NAME = "lockdb-ping";

/** `ping`: whether the server answers this key, and how fast. */
export function addPingCommand(program: Command): void {
  const ping = program
    .command("ping")
    .summary("tell whether the server answers, and how fast")
    .description(
      "Connects with the API key, asks five times, and prints the median time of an answer. " +
        'Without a service id it asks in the service "default".',
    );
  addServerFlags(ping).action((flags: ServerFlags) =>
    withClient(
      flags,
      async (client, print) => {
        const medianMs = await medianOf(client);
        const url = flags.serverUrl || SERVER_URL_DEFAULT;
        await print(
          flags.json
            ? JSON.stringify({ url, medianMs, count: COUNT })
            : `${url} answered in ${medianMs} ms (median of ${COUNT})`,
        );
      },
      serviceIdOf(flags, "default"),
    ),
  );
}

async function medianOf(client: LockDB): Promise<number> {
  await client.inspect(NAME); // Connecting takes longer, and happens once.
  const times: number[] = [];
  for (let at = 0; at < COUNT; at++) {
    const startMs = performance.now();
    await client.inspect(NAME);
    times.push(performance.now() - startMs);
  }
  times.sort((a, b) => a - b);
  return Number(times[Math.floor(COUNT / 2)]!.toFixed(2));
}
