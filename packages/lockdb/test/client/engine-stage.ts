import type { LockInfo } from "lockdb/protocol";
import { LockServer } from "./lock-server.js";
import { sessionOn } from "./script.js";
import { Machine, VirtualRuntime, World } from "./virtual.js";

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
