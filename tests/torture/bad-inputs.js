// What nobody should send, write or say: over HTTP, over WebSocket, on the command line, in configuration files, backups and data folders.
import { spawn } from "node:child_process";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { EXIT } from "../../packages/lockdb/dist/cli/exit-codes.js";
import { freePorts } from "../../packages/server/test/etcd.js";
import { minimised } from "./lib/bad/minimise.js";
import { HANG_MS, LATE } from "./lib/bad/wire.js";
import { cpuMsOf } from "./lib/cpu.js";
import { asked, atMost, clockMs, ms, ROOT_KEY } from "./lib/stage.js";

export const about =
  "a curated list and what a generator makes of the server's own tables, while somebody else uses locks: crashes, hangs over a second and mistakes of ours";

/** How many of each kind: a frame, a request, a file and a command line are one input. */
const FULL = {
  http: 900_000,
  native: 900_000,
  config: 80_000,
  options: 40_000,
  cli: 60_000,
  backup: 15_000,
  store: 4_000,
  processes: 1_000,
};
const QUICK = {
  http: 4_000,
  native: 5_000,
  config: 400,
  options: 200,
  cli: 200,
  backup: 150,
  store: 60,
  processes: 24,
};
const NETWORK = ["http", "native"];
const A_BATCH = 2_000;
/** What is read in one call, which has its time. */
const A_MEAL = { config: 500, options: 500, cli: 200, backup: 200, store: 20 };
const GOOD_CYCLE_MS = 1_000;
const CLI = fileURLToPath(new URL("../../packages/lockdb/bin/lockdb.js", import.meta.url));
/** Nothing is waited for any longer, however busy the machine is. */
const NEVER_MS = 30_000;
/** Of processor time, and of a clock. */
const CLI_CPU_MS = 5_000;
const CLI_MS = 90_000;
/** What a command that goes on by itself is left, and then to end. */
const CLI_PATIENCE_MS = 3_000;
const CLI_AT_ONCE = 3;
/** Commands that go on until they are ended, or wait as long as they were told. */
const GOES_ON = ["serve", "top", "watch", "run", "lock", "unlock", "check"];
const KEPT = JSON.parse(readFileSync(new URL("lib/bad/kept.json", import.meta.url), "utf8"));

export async function run(stage) {
  const seed = Number(process.env.LOCKDB_SEED ?? Math.floor(Math.random() * 1e9));
  console.log(`LOCKDB_SEED=${seed}`);
  const hostile = new Hostile(stage, seed);
  await hostile.start();
  const counts = scaled(stage.isQuick ? QUICK : FULL, stage.count(total(QUICK), total(FULL)));
  const sent = {};
  await hostile.kept();
  const locals = hostile.local(counts, sent);
  for (const kind of NETWORK) sent[kind] = await hostile.network(kind, counts[kind]);
  await locals;
  const { good, finds, slow } = await hostile.end();
  for (const find of finds) console.log(`find: ${JSON.stringify(find)}`);
  return [
    {
      what: "inputs",
      seen: `${total(sent)}: ${Object.entries(sent)
        .map(([kind, count]) => `${count} ${kind}`)
        .join(", ")}`,
    },
    atMost("crashes, hangs over a second, mistakes of ours", finds.length, 0),
    { what: "answers later than a second that were not so when asked alone", seen: `${slow}` },
    { what: "cycles of the good client meanwhile", seen: `${good.calls}` },
    atMost("of these failed, or holds of it lost", good.failures.length + good.lost, 0),
    stage.within("its longest cycle", good.longestMs, GOOD_CYCLE_MS),
  ];
}

function total(counts) {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

/** As many as that, of each kind its share. */
function scaled(counts, wanted) {
  const share = wanted / total(counts);
  return Object.fromEntries(Object.entries(counts).map(([kind, count]) => [kind, Math.ceil(count * share)]));
}

class Hostile {
  #stage;
  #seed;
  #folder;
  #port;
  #url;
  #server;
  #good;
  #attacker;
  #keys;
  #latest = [];
  #finds = [];
  #slow = 0;
  #given;

  constructor(stage, seed) {
    this.#stage = stage;
    this.#seed = seed;
    this.#folder = stage.folder();
  }

  async start() {
    [this.#port] = await freePorts(1);
    this.#url = `http://127.0.0.1:${this.#port}`;
    await this.#serve();
    this.#keys = await keysOf(this.#url);
    for (let at = 0; at < 200; at++)
      await this.#post(`/v1/services/filled-${at % 3}/acquire`, {
        names: `job/${at}`,
        leaseMs: 3_600_000,
        waitMs: 0,
      });
    const files = this.#stage.folder();
    const [backup, data] = [join(files, "right.backup"), join(files, "data")];
    const answer = await fetch(`${this.#url}/v1/backup`, {
      headers: { authorization: `Bearer ${ROOT_KEY}` },
    });
    writeFileSync(backup, Buffer.from(await answer.arrayBuffer()));
    await this.#server.kill("SIGTERM");
    cpSync(join(this.#folder, "data"), data, { recursive: true });
    await this.#serve();
    const service = `good-${this.#seed}`;
    this.#good = this.#stage.script("users.js", {
      services: [service],
      each: 1,
      urls: [this.#url],
      apiKey: ROOT_KEY,
      holdMs: 3,
    });
    await this.#good.call("ready");
    await this.#good.call("report");
    this.#attacker = this.#newAttacker();
    this.#given = { seed: this.#seed, backup, data };
  }

  /** What was found before, and mended. */
  async kept() {
    for (const input of KEPT.http)
      this.#told({ kind: "kept", problem: await this.#attacker.call("request", input) });
    for (const input of KEPT.native)
      this.#told({ kind: "kept", problem: await this.#attacker.call("conversation", input) });
  }

  /** @returns {Promise<number>} how many were sent */
  async network(kind, count) {
    let [from, total] = [0, 0];
    while (total < count) {
      const { sent, next, finds } = await this.#attacker.call(kind, {
        from,
        count: Math.min(A_BATCH, count - total),
      });
      [from, total] = [next, total + sent];
      for (const find of finds) await this.#look(find);
      await this.#stands(kind);
      if (this.#finds.length > 10) break;
    }
    return total;
  }

  /** Everything that is not sent to the server. */
  async local(counts, sent) {
    const all = Object.keys(counts).filter((kind) => !NETWORK.includes(kind) && kind !== "processes");
    let eater = this.#newEater();
    for (const kind of all) {
      sent[kind] = 0;
      for (let from = 0; from < counts[kind]; from += A_MEAL[kind]) {
        const count = Math.min(A_MEAL[kind], counts[kind] - from);
        try {
          const { finds } = await eater.child.call("eat", { kind, from, count });
          for (const find of finds) this.#told({ ...find, input: await eater.child.call("made", find) });
        } catch (error) {
          const progress = readFileSync(join(eater.folder, "progress"), "utf8").trim();
          this.#told({
            kind,
            problem: `the process that read it ended or stood still, at ${progress}: ${error.message}`,
          });
          await eater.child.kill();
          eater = this.#newEater();
        }
        sent[kind] += count;
      }
    }
    sent.processes = await this.#commandLines(eater, counts.processes);
  }

  async end() {
    const good = await this.#good.call("report");
    const { lost } = await this.#good.call("stop");
    await this.#stands("the end");
    // All that came of it is read again.
    await this.#server.kill("SIGTERM");
    await this.#serve().catch((error) => this.#told({ kind: "restart", problem: error.message }));
    await this.#stands("the restart");
    return { good: { ...good, lost }, finds: this.#finds, slow: this.#slow };
  }

  async #serve() {
    const data = join(this.#folder, "data");
    this.#server = this.#stage.serve([
      "--port",
      `${this.#port}`,
      "--data-dir",
      data,
      "--signup",
      "--webhook-allow",
      "127.0.0.1/32",
    ]);
    await this.#server.listening();
  }

  #newAttacker() {
    return this.#stage.script("bad/attack.js", { url: this.#url, keys: this.#keys, seed: this.#seed });
  }

  #newEater() {
    const folder = this.#stage.folder();
    return { folder, child: this.#stage.script("bad/eat.js", { ...this.#given, folder }) };
  }

  async #post(path, body) {
    return asked(`${this.#url}${path}`, { method: "POST", body });
  }

  #told(find) {
    if (find.problem === null) return;
    this.#finds.push(find);
    console.log(`find: ${JSON.stringify(find).slice(0, 3_000)}`);
  }

  /** Whether the server is there, and has nothing to say of mistakes. */
  async #stands(after) {
    const said = this.#server.end.trim();
    if (said !== "" && said !== this.#latest.at(-1)) {
      this.#latest.push(said);
      this.#told({ kind: after, problem: `the server says: ${said}` });
    }
    if (this.#server.isOver) {
      this.#told({
        kind: after,
        problem: "the server has ended",
        latest: await this.#attacker.call("latest"),
      });
      await this.#serve();
      return;
    }
    const startedMs = clockMs();
    await fetch(`${this.#url}/livez`, { signal: AbortSignal.timeout(10_000) })
      .then((answer) => answer.text())
      .catch((error) =>
        this.#told({ kind: after, problem: `/livez: ${error.message} after ${ms(clockMs() - startedMs)}` }),
      );
  }

  /** A find by itself: whether it comes again, and the least that does it. */
  async #look(find) {
    if (this.#server.isOver) return;
    const input = await this.#attacker.call("made", find);
    const again = (given) => this.#again(find.kind, given);
    if ((await again(input)) === null) {
      if (find.problem === LATE) this.#slow++;
      else this.#told({ ...find, note: "not again by itself", input });
      return;
    }
    // With fewer bytes a request that was whole may be none, and is waited for.
    if (find.problem === LATE) return this.#told({ ...find, input });
    if (find.kind === "http") {
      const bytes = await minimised([...Buffer.from(input.bytes, "base64")], async (parts) => {
        return (await again({ ...input, bytes: Buffer.from(parts).toString("base64") })) !== null;
      });
      return this.#told({
        ...find,
        input: { ...input, bytes: Buffer.from(bytes).toString("base64") },
        text: Buffer.from(bytes).toString("latin1"),
      });
    }
    const [first, ...rest] = input.frames;
    const frames = await minimised(
      rest,
      async (parts) => (await again({ ...input, frames: [first, ...parts] })) !== null,
    );
    this.#told({ ...find, input: { ...input, frames: [first, ...frames] } });
  }

  /** Alone, and with time: on a busy machine an answer may be late that took the server no time. @returns {Promise<string | null>} */
  async #again(kind, input) {
    const before = cpuMsOf(this.#server.pid);
    const problem = await this.#attacker
      .call(kind === "http" ? "request" : "conversation", { ...input, hangMs: NEVER_MS })
      .catch((error) => `nobody listens: ${error.message}`);
    if (this.#server.isOver) {
      await this.#serve();
      return "the server ended";
    }
    const tookMs = cpuMsOf(this.#server.pid) - before;
    return problem ?? (tookMs > HANG_MS ? `took the server ${ms(tookMs)}` : null);
  }

  /** @returns {Promise<number>} */
  async #commandLines(eater, count) {
    const all = await eater.child.call("argvs", { from: 1_000_000, count });
    let next = 0;
    await Promise.all(
      Array.from({ length: CLI_AT_ONCE }, async () => {
        for (let at = next++; at < all.length; at = next++) {
          const problem = await commandLine(all[at], { url: this.#url, folder: eater.folder });
          if (problem !== null) this.#told({ kind: "processes", number: at, problem, input: all[at] });
        }
      }),
    );
    return count;
  }
}

/** Keys that are right, and may different things. */
async function keysOf(url) {
  const made = async (body) => (await asked(`${url}/v1/keys`, { method: "POST", body })).apiKey;
  const trial = await (
    await fetch(`${url}/v1/signup`, { method: "POST", body: JSON.stringify({ email: "a@example.com" }) })
  ).json();
  return [
    ROOT_KEY,
    ROOT_KEY,
    await made({ name: "lock", scopes: ["lock"], services: ["fuzz-0", "fuzz-1"] }),
    await made({ name: "read", scopes: ["read"] }),
    trial.apiKey,
  ];
}

/** A real process. @returns {Promise<string | null>} what is wrong with how it went */
async function commandLine(words, { url, folder }) {
  const env = {
    PATH: process.env.PATH,
    LOCKDB_SERVER_URL: url,
    LOCKDB_API_KEY: ROOT_KEY,
    LOCKDB_SERVICE_ID: "fuzz-0",
    LOCKDB_PORT: "0",
    HOME: folder,
  };
  const child = spawn(process.execPath, [CLI, ...words], {
    env,
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text) => {
      said = `${said}${text}`.slice(-20_000);
    });
  const over = new Promise((resolve) => child.once("close", (code, signal) => resolve({ code, signal })));
  const goesOn = words.some((word) => GOES_ON.includes(word));
  let end = await Promise.race([over, setTimeout(goesOn ? CLI_PATIENCE_MS : CLI_MS, null)]);
  const isEnded = end === null && goesOn;
  if (isEnded) {
    child.kill("SIGTERM");
    end = await Promise.race([over, setTimeout(CLI_MS, null)]);
  }
  const cpuMs = cpuMsOf(child.pid ?? 0);
  if (end === null) child.kill("SIGKILL");
  if (end === null || cpuMs > CLI_CPU_MS)
    return `it does not end, took ${ms(cpuMs)} and has said: ${said.slice(-500)}`;
  if (isEnded) return /\n {4}at /.test(said) ? said.slice(-1_000) : null;
  if (/\n {4}at /.test(said)) return said.slice(-1_000);
  if (end.signal !== null) return `ended by ${end.signal}: ${said.slice(-500)}`;
  const isKnown = Object.values(EXIT).includes(end.code) || (words[0] === "run" && end.code <= 127);
  return isKnown ? null : `exit code ${end.code}: ${said.slice(-500)}`;
}
