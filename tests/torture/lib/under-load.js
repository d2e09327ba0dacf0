// Clients that go on while something happens to the server, and what their history says of it.
import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import LockDB from "lockdb";
import { contradictions, counts, descents, holdsOf, overlaps } from "./judge.js";
import { asked, atMost, clockMs, ROOT_KEY } from "./stage.js";

/** Of a client, unless a part says otherwise. */
export const CLIENT_LEASE_MS = 10_000;
const READ_BYTES = 1_024 * 1_024;
const LOOKS_AT_ONCE = 20;
const NO_GRANT_MS = 60_000;

/** Processes of `load.js`. */
export class Load {
  /** All that was seen, as of the last `look`. @type {any[]} */
  entries = [];
  /** @type {import("./child.js").Child[]} */
  processes = [];
  #files;

  /**
   * @param {import("./stage.js").Stage} stage
   * @param {object} options
   * @param {readonly string[]} options.services one a client; clients are dealt out to the processes
   * @param {readonly string[]} options.urls
   * @param {number} [options.processes]
   * @param {object} [options.terms] as `load.js` has them
   * @param {(at: number) => import("./child.js").ChildOptions & { urls?: readonly string[], script?: string }} [options.childOf] how each process is run; script: in place of `load.js`
   */
  constructor(stage, { services, urls, processes: count = 2, terms = {}, childOf = () => ({}) }) {
    const folder = stage.folder();
    this.#files = Array.from({ length: count }, (_, at) => new HistoryFile(join(folder, `load${at}`)));
    this.processes = this.#files.map(({ path: historyFile }, at) => {
      const own = services.filter((_, each) => each % count === at);
      const { urls: ownUrls = urls, script = "load.js", ...options } = childOf(at);
      const given = { id: `c${at}`, services: own, urls: ownUrls, apiKey: ROOT_KEY, historyFile, period: 0 };
      return stage.script(script, { ...given, ...terms }, options);
    });
  }

  /** From now on other names are used: what was seen of one is judged in one search, which has its limits. */
  async period(number) {
    await this.#all("period", { number });
  }

  /** How many holds there were. */
  async grants() {
    return (await this.#all("grants")).reduce((sum, count) => sum + count, 0);
  }

  /** Resolves when there were so many more holds. @throws Error when there is not one more for a long time */
  moreGrants(count) {
    return more(() => this.grants(), count);
  }

  /** The same of each of its processes. */
  async moreGrantsOfEach(count) {
    for (const child of this.processes) await more(() => child.call("grants"), count);
  }

  async stop() {
    await this.#all("stop");
    this.look();
  }

  look() {
    for (const file of this.#files) this.entries.push(...file.more());
  }

  #all(op, given) {
    return Promise.all(this.processes.map((each) => each.call(op, given)));
  }
}

/** @param {() => Promise<number>} grants */
async function more(grants, count) {
  const from = await grants();
  let [last, sinceMs] = [from, clockMs()];
  for (let now = last; now < from + count; now = await grants()) {
    if (now > last) [last, sinceMs] = [now, clockMs()];
    if (clockMs() - sinceMs > NO_GRANT_MS) throw new Error(`nobody was given a lock for ${NO_GRANT_MS} ms`);
    await setTimeout(20);
  }
}

/** What a process appends to. */
class HistoryFile {
  path;
  #offset = 0;
  /** Behind the last line end: it is being written. */
  #rest = "";

  constructor(path) {
    this.path = path;
  }

  /** What has come since. */
  more() {
    if (!existsSync(this.path)) return [];
    const found = [];
    const file = openSync(this.path, "r");
    const bytes = Buffer.alloc(READ_BYTES);
    for (let count = -1; count !== 0; this.#offset += count) {
      count = readSync(file, bytes, 0, READ_BYTES, this.#offset);
      // Nothing that is written there is beyond ASCII: no letter is cut in two.
      const lines = (this.#rest + bytes.toString("latin1", 0, count)).split("\n");
      this.#rest = lines.pop() ?? "";
      for (const line of lines) found.push(JSON.parse(line));
    }
    closeSync(file);
    return found;
  }
}

/**
 * The table of a load, judged.
 * @param {readonly any[]} entries
 * @param {object} seen
 * @param {readonly { fromMs: number, untilMs: number }[]} seen.faults
 * @param {ReadonlySet<string>} seen.lost what was acknowledged, and is not so
 * @param {boolean} [seen.isOrdered] false: leases are so short that a busy machine takes connections too, and who is away may be passed (Q7)
 */
export function judgedLoad(entries, { faults, lost, isOrdered = true }) {
  const doubles = overlaps(entries);
  const back = descents(entries);
  const away = isOrdered
    ? // Clients come back until their leases are over.
      faults.map((fault) => ({ ...fault, untilMs: fault.untilMs + CLIENT_LEASE_MS }))
    : [{ fromMs: Number.NEGATIVE_INFINITY, untilMs: Number.POSITIVE_INFINITY }];
  const verdict = contradictions(entries, away);
  for (const each of [...doubles, ...back, ...lost, ...verdict.problems, ...verdict.unfinished].slice(0, 40))
    console.log(`  ! ${each}`);
  const holds = holdsOf(entries);
  const across = holds.filter(({ fromMs, untilMs }) =>
    faults.some((fault) => fromMs < fault.fromMs && fault.fromMs < untilMs),
  );
  const oneTime = oneTimeOf(entries).length;
  const troubles = entries.filter(({ kind }) => kind === "trouble");
  return [
    { what: "holds", seen: `${holds.length}, of which ${across.length} were believed in when a fault came` },
    atMost("double holds", doubles.length, 0),
    atMost("tokens that went back", back.length, 0),
    atMost(`acknowledged detached holds and releases lost, of ${oneTime}`, lost.size, 0),
    atMost(
      `contradictions in ${verdict.operations} operations on ${verdict.locks} locks`,
      verdict.problems.length,
      0,
    ),
    atMost("histories too large to judge", verdict.unfinished.length, 0),
    { what: "calls that failed", seen: counts(troubles.map(({ doing, what }) => `${doing} ${what}`)) },
  ];
}

function oneTimeOf(entries) {
  return entries.filter(({ kind }) => kind === "kept" || kind === "freed");
}

/**
 * What was acknowledged, and is not so.
 * @param {readonly { child: import("./child.js").Child, ownUrl: string }[]} servers
 * @param {readonly any[]} entries
 * @param {number} [count] of the last ones alone
 */
export async function lostOf(servers, entries, count = Number.POSITIVE_INFINITY) {
  const all = oneTimeOf(entries).slice(-count);
  const lost = [];
  for (let at = 0; at < all.length; at += LOOKS_AT_ONCE) {
    const some = all.slice(at, at + LOOKS_AT_ONCE).map(async ({ kind, name, token }) => {
      const [service] = name.split("/");
      const path = `/v1/services/${service}/locks/${encodeURIComponent(name)}`;
      const { holders } = await patiently(servers, path);
      const isRight = kind === "freed" ? holders.length === 0 : holders[0]?.token === token;
      return isRight ? [] : [`${name} was ${kind} (${token}); now ${JSON.stringify(holders)}`];
    });
    lost.push(...(await Promise.all(some)).flat());
  }
  return lost;
}

/** From whichever answers. */
async function patiently(servers, path) {
  const endMs = clockMs() + 30_000;
  for (let tries = 0; ; tries++) {
    const { child, ownUrl } = servers[tries % servers.length];
    try {
      return await asked(`${ownUrl}${path}`);
    } catch (error) {
      if (clockMs() > endMs) throw child.isOver ? new Error(`a server ended by itself: ${child.end}`) : error;
      await setTimeout(200);
    }
  }
}

/** Each service grants a lock that nobody else wants, to somebody new. */
export async function well(urls, services, untilMs) {
  const grants = services.map(async (service) => {
    // A client that never reached a server gives up after 5 s (I1): then another one asks.
    for (let isGranted = false; ; ) {
      const locker = new LockDB(service, { serverUrl: urls, apiKey: ROOT_KEY });
      const wait = Math.max(1, Math.round(untilMs - clockMs()));
      const lease = await locker.acquire("well", { wait }).catch(() => null);
      isGranted = lease !== null;
      await lease?.release().catch(() => {});
      await Promise.race([locker.close().catch(() => {}), setTimeout(1_000)]);
      if (isGranted || clockMs() > untilMs) return isGranted;
    }
  });
  return (await Promise.all(grants)).every((is) => is);
}
