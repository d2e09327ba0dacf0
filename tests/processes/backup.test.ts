import { join } from "node:path";
import LockDB from "lockdb";
import { afterAll, expect, test } from "vitest";
import { clockMs, Processes, ROOT_KEY, type ServerProcess } from "./processes.js";

/** `LOCKDB_RESTORES=20` is the whole proof; by default it is short. */
const ROUNDS = Number(process.env.LOCKDB_RESTORES ?? 2);
/** A thousand grants each. */
const STEPS_BEFORE = 3;
const ROUND_MS_MAX = 30_000;
/** Holds of a mark that are looked at; the last ones are those that a backup would miss. */
const LOOKED_AT = 400;
const LOOKS_AT_ONCE = 50;

const processes = new Processes();
afterAll(() => processes.end());

interface Hold {
  readonly service: string;
  readonly name: string;
  readonly token: number;
}

interface Mark {
  readonly kept: readonly Hold[];
  readonly freed: readonly Omit<Hold, "token">[];
  readonly grants: number;
}

interface Report {
  readonly wrong: readonly string[];
  readonly grants: number;
  readonly tokens: readonly { readonly service: string; readonly highest: number; readonly lowest: number }[];
}

interface Backup {
  readonly file: string;
  readonly mark: Mark;
}

test(
  `[F3zg] backed up under load, killed, and restored elsewhere ${ROUNDS} times: nothing acknowledged before is missing, and no token comes again`,
  async () => {
    const highest = new Map<string, number>();
    const backups: Backup[] = [];
    const rates: number[] = [];
    let server = await processes.server();
    for (let round = 1; round <= ROUNDS; round++) {
      const load = (id: string, services: readonly string[]) =>
        processes.script("load-backup.mjs", { id, services, serverUrl: server.url, apiKey: ROOT_KEY });
      const early = load(`r${round}`, ["one", "two"]);
      await early.next("ready");
      const startedMs = clockMs();
      for (let at = 0; at < STEPS_BEFORE; at++) await early.next("progress");
      const mark = await early.call<Mark>("mark");
      const file = join(processes.folder(), "x.backup");
      const made = await processes.cli(["store", "backup", file, "--json"], env(server));
      expect(made.code, made.stderr).toBe(0);
      backups.push({ file, mark });
      // Services that the backup has never heard of.
      const late = load(`l${round}`, ["two", "late", `late-${round}`]);
      await late.next("progress");
      const seconds = (clockMs() - startedMs) / 1_000;
      await server.child.kill("SIGKILL");
      let all = 0;
      for (const { grants, wrong, tokens } of await Promise.all([report(early), report(late)])) {
        expect(wrong).toEqual([]);
        expect(grants).toBeGreaterThan(0);
        for (const { service, lowest } of tokens) {
          const before = highest.get(service) ?? 0;
          expect(lowest, `tokens of ${service} in round ${round}`).toBeGreaterThan(before);
        }
        all += grants;
        for (const { service, highest: token } of tokens)
          seen.set(service, Math.max(seen.get(service) ?? 0, token));
      }
      rates.push(all / seconds);
      for (const [service, token] of seen) highest.set(service, Math.max(highest.get(service) ?? 0, token));
      await Promise.all([early.kill("SIGKILL"), late.kill("SIGKILL")]);
      // Now and then from an older one: what came between counts all the same.
      const backup = round % 2 === 0 ? backups.at(-2)! : backups.at(-1)!;
      const dataDir = join(processes.folder(), "new");
      const restored = await processes.cli(
        ["store", "restore", backup.file, "--data-dir", dataDir],
        env(server),
      );
      expect(restored.code, restored.stderr).toBe(0);
      server = await processes.server({ dataDir });
      await expectKept(server, backup.mark);
      await expectHigher(server, highest);
    }
    console.info(`grants a second, of each round: ${rates.map(Math.round).join(", ")}`);
  },
  ROUNDS * ROUND_MS_MAX,
);

const seen = new Map<string, number>();

function env({ url }: ServerProcess): NodeJS.ProcessEnv {
  return { LOCKDB_SERVER_URL: url, LOCKDB_API_KEY: ROOT_KEY };
}

function report(load: { call<T>(op: string): Promise<T> }): Promise<Report> {
  return load.call<Report>("report");
}

/** What was acknowledged before the backup was asked for is there, with its token; what was let go of is not. */
async function expectKept(server: ServerProcess, { kept, freed }: Mark): Promise<void> {
  expect(kept.length).toBeGreaterThan(20);
  const clients = new Map<string, LockDB>();
  const of = (service: string) => {
    const client = clients.get(service) ?? new LockDB(service, { serverUrl: server.url, apiKey: ROOT_KEY });
    clients.set(service, client);
    return client;
  };
  const last = kept.slice(-LOOKED_AT);
  for (let at = 0; at < last.length; at += LOOKS_AT_ONCE) {
    const some = last.slice(at, at + LOOKS_AT_ONCE);
    const infos = await Promise.all(some.map(({ service, name }) => of(service).inspect(name)));
    expect(infos.map(({ holders }) => holders[0]?.token)).toEqual(some.map(({ token }) => token));
  }
  const held = await Promise.all(
    freed.slice(-LOOKED_AT).map(async ({ service, name }) => of(service).check(name)),
  );
  expect(held).not.toContain(true);
  await Promise.all([...clients.values()].map((client) => client.close()));
}

/** The very first token of each service, also of those that are new to it. */
async function expectHigher(server: ServerProcess, highest: Map<string, number>): Promise<void> {
  for (const [service, before] of highest) {
    const client = new LockDB(service, { serverUrl: server.url, apiKey: ROOT_KEY });
    const lease = await client.acquire("the first after a restore");
    expect(lease.token, `first token of ${service}`).toBeGreaterThan(before);
    highest.set(service, lease.token);
    await lease.release();
    await client.close();
  }
}
