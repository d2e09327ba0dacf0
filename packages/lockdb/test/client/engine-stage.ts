import type { LockInfo } from "lockdb/protocol";
import type { ClientSession } from "../../src/client/session.js";
import { LockServer } from "./lock-server.js";
import { sessionOn, terms } from "./script.js";
import { Machine, outcomeOf, VirtualRuntime, World } from "./virtual.js";

/** Clients of one real server, in virtual time. */
export async function engineStage() {
  const world = new World();
  const server = new LockServer(world);
  world.endpoints.set("http://one", server);
  await server.start();
  const client = (name: string) => {
    const machine = new Machine(world, name);
    const session = sessionOn(new VirtualRuntime(machine));
    const line = () => world.lines.filter((each) => each.machine === machine).at(-1)!;
    const inspect = async (lock: string) =>
      (await world.settled(session.call(5_000, (id) => ["inspect", id, lock]))) as LockInfo;
    const force = (lock: string, token: number) =>
      session.call(5_000, (id) => ["force", id, lock, token, "it hangs"]);
    return { machine, session, line, inspect, force };
  };
  /** Clients that are connected already. */
  const connected = async <N extends string>(...names: readonly N[]) => {
    const clients = {} as Record<N, ReturnType<typeof client>>;
    for (const name of names) {
      clients[name] = client(name);
      await clients[name].inspect("x");
    }
    return clients;
  };
  return { world, server, client, connected };
}

/** Asks for a lock, and gives that up in the very turn in which its grant is read: it waits in the socket by then. */
export async function abortAsGranted(
  world: World,
  { machine, session }: { readonly machine: Machine; readonly session: ClientSession },
  lock: string,
) {
  const aborter = new AbortController();
  const outcome = outcomeOf(session.acquire(terms(lock), aborter.signal));
  await world.run(1.9);
  machine.block();
  await world.run(1);
  // The abort comes before the grant is read, the cancel's frame leaves after.
  aborter.abort();
  await world.run(0);
  machine.wake();
  await world.run(20);
  return outcome;
}
