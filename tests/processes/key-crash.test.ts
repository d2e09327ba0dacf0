import { setTimeout } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { Processes, ROOT_KEY, type ServerProcess } from "./processes.js";

/** `LOCKDB_KEY_KILLS=20` is the long form. */
const ROUNDS = Number(process.env.LOCKDB_KEY_KILLS ?? 8);
const WORKERS = 6;
/** So many acts at most are answered in a round before the server is killed, soon after. */
const ACTS_A_ROUND = 60;
const SOON_MS = 10;
/** How long the test may take, for each kill: it takes a tenth of that. */
const ROUND_MS_MAX = 8_000;
const ENTRIES_A_PAGE = 1_000;
const SCOPES = ["lock", "read", "force"];

const processes = new Processes();
afterAll(() => processes.end());

test(`[A7pa] keys are made, rotated, narrowed and revoked, and the server is killed ${ROUNDS} times: each act is there with its entry, or neither is`, {
  timeout: 60_000 + ROUNDS * ROUND_MS_MAX,
}, async () => {
  const server = await processes.server();
  const workers = Array.from({ length: WORKERS }, () => new Worker(server));
  const user = processes.script("steady-user.mjs", {
    serverUrl: server.url,
    apiKey: ROOT_KEY,
    service: "beside",
  });
  const beside = user.call("work", { forMs: 600_000 });
  beside.catch(() => {});
  let before: readonly Entry[] = [];
  let unheardDone = 0;
  for (let round = 0; round < ROUNDS; round++) {
    let left = 1 + Math.floor(Math.random() * ACTS_A_ROUND);
    let enough = () => {};
    const worked = new Promise<void>((resolve) => {
      enough = resolve;
    });
    const heard = () => {
      if (--left === 0) enough();
    };
    const load = Promise.all(workers.map((worker) => worker.work(heard)));
    await Promise.race([worked, load]);
    await setTimeout(Math.random() * SOON_MS);
    await server.child.kill("SIGKILL");
    await load;
    await server.restart();
    const entries = await auditLog(server);
    // It is only added to.
    expect(entries.slice(0, before.length)).toEqual(before);
    const listed = (await admin(server, "GET", "/v1/keys")).keys as readonly Listed[];
    expect(shownOf(listed)).toEqual(toldBy(entries));
    for (const worker of workers) unheardDone += await worker.settle(entries);
    before = entries;
  }
  await user.kill("SIGKILL");
  const acts = workers.reduce((sum, { actCount }) => sum + actCount, 0);
  const unheard = workers.reduce((sum, { unheardCount }) => sum + unheardCount, 0);
  console.info(
    `[A7pa] ${ROUNDS} kills: ${acts} acts were answered, each is there with its entry; ${unheard} were not answered, ` +
      `of which ${unheardDone} were done, entry and all, and ${unheard - unheardDone} were not; ${before.length} entries`,
  );
  expect(acts).toBeGreaterThan(ROUNDS);
  expect(unheard).toBeGreaterThan(0);
});

interface Entry {
  readonly what: string;
  readonly details?: { readonly key?: string; readonly scopes?: readonly string[]; readonly name?: string };
}

interface Listed {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly string[];
}

interface OwnKey {
  readonly id: string;
  /** The one that works, as far as is known. */
  secret: string;
  readonly dead: string[];
  /** Acts on it that were answered. */
  readonly answered: string[];
  isRevoked: boolean;
}

/** Works on keys of its own, one act after the other. */
class Worker {
  actCount = 0;
  unheardCount = 0;
  readonly #server: ServerProcess;
  readonly #keys: OwnKey[] = [];
  /** The act that the server was killed in. */
  #unheard: { readonly what: string; readonly key: OwnKey | null; readonly name?: string } | null = null;
  /** Since the last look. */
  #touched = new Set<OwnKey>();
  #nameCount = 0;

  constructor(server: ServerProcess) {
    this.#server = server;
  }

  /** Until the server is gone. Tells of each act that is answered. */
  async work(heard: () => void): Promise<void> {
    try {
      for (;;) {
        await this.#act();
        heard();
      }
    } catch (error) {
      // The connection broke. Anything else is a finding.
      if (!(error instanceof TypeError)) throw error;
      this.unheardCount++;
    }
  }

  async #act(): Promise<void> {
    const live = this.#keys.filter(({ isRevoked }) => !isRevoked);
    const key = live[Math.floor(Math.random() * live.length)];
    const dice = Math.random();
    if (key === undefined || live.length < 3 || dice < 0.2) return this.#make();
    if (dice < 0.5) return this.#rotate(key);
    if (dice < 0.75) return this.#narrow(key);
    return this.#revoke(key);
  }

  async #make(): Promise<void> {
    const name = `key ${process.pid} ${Math.random()} ${++this.#nameCount}`;
    this.#unheard = { what: "key made", key: null, name };
    const made = await admin(this.#server, "POST", "/v1/keys", { name, scopes: SCOPES });
    const key = { id: made.key.id, secret: made.apiKey, dead: [], answered: [], isRevoked: false };
    this.#keys.push(key);
    this.#heard("key made", key);
  }

  async #rotate(key: OwnKey): Promise<void> {
    this.#unheard = { what: "key rotated", key };
    const { apiKey } = await admin(this.#server, "POST", `/v1/keys/${key.id}/rotate`, { oldKeptMs: 0 });
    key.dead.push(key.secret);
    key.secret = apiKey;
    this.#heard("key rotated", key);
  }

  async #narrow(key: OwnKey): Promise<void> {
    this.#unheard = { what: "key narrowed", key };
    const count = SCOPES.length - key.answered.filter((what) => what === "key narrowed").length;
    const scopes = SCOPES.slice(0, Math.max(1, count - 1));
    await admin(this.#server, "PATCH", `/v1/keys/${key.id}`, { scopes });
    this.#heard("key narrowed", key);
  }

  async #revoke(key: OwnKey): Promise<void> {
    this.#unheard = { what: "key revoked", key };
    await admin(this.#server, "DELETE", `/v1/keys/${key.id}`);
    key.isRevoked = true;
    key.dead.push(key.secret);
    this.#heard("key revoked", key);
  }

  #heard(what: string, key: OwnKey): void {
    this.#unheard = null;
    this.actCount++;
    key.answered.push(what);
    this.#touched.add(key);
  }

  /** Compares what was answered with what there is after the restart. @returns how many of the unanswered acts were done */
  async settle(entries: readonly Entry[]): Promise<number> {
    const unheard = this.#unheard;
    this.#unheard = null;
    if (unheard !== null && unheard.key !== null) this.#touched.add(unheard.key);
    let done = 0;
    for (const key of this.#touched) {
      const told = entries.filter(({ details }) => details?.key === key.id).map(({ what }) => what);
      const isDone = told.length > key.answered.length;
      expect(told).toEqual(isDone ? [...key.answered, unheard!.what] : key.answered);
      if (isDone) {
        expect(unheard!.key).toBe(key);
        done++;
        key.answered.push(unheard!.what);
        if (unheard!.what === "key revoked") key.isRevoked = true;
        // What it has now was never heard: it is of no more use.
        if (unheard!.what !== "key narrowed") key.dead.push(key.secret);
        if (unheard!.what === "key rotated") key.isRevoked = true;
      }
      if (!key.isRevoked) expect(await statusOf(this.#server, key.secret)).toBe(200);
      // 429: so many wrong keys have come from here that it says no more.
      for (const secret of key.dead) expect([401, 429]).toContain(await statusOf(this.#server, secret));
    }
    this.#touched = new Set();
    // A key whose secret nobody heard: it is listed if it has an entry, which was compared before.
    const isMade =
      unheard?.name !== undefined && entries.some(({ details }) => details?.name === unheard.name);
    return done + Number(isMade);
  }
}

/** What the entries say that there is: by id, the name and the scopes. */
function toldBy(entries: readonly Entry[]): object {
  const keys = new Map<string, { name: string; scopes: readonly string[] }>();
  for (const { what, details = {} } of entries) {
    const { key: id, name, scopes } = details;
    if (what === "key made") keys.set(id!, { name: name!, scopes: scopes! });
    if (what === "key narrowed") keys.set(id!, { ...keys.get(id!)!, scopes: scopes! });
    if (what === "key revoked") keys.delete(id!);
  }
  return Object.fromEntries(keys);
}

function shownOf(listed: readonly Listed[]): object {
  const own = listed.filter(({ id }) => id !== "root");
  return Object.fromEntries(own.map(({ id, name, scopes }) => [id, { name, scopes }]));
}

async function auditLog(server: ServerProcess): Promise<readonly Entry[]> {
  const entries: Entry[] = [];
  let after = "";
  for (;;) {
    const page = await admin(server, "GET", `/v1/audit?limit=${ENTRIES_A_PAGE}${after}`);
    entries.push(...page.entries);
    if (page.next === null) return entries;
    after = `&after=${encodeURIComponent(page.next)}`;
  }
}

async function statusOf(server: ServerProcess, apiKey: string): Promise<number> {
  const answer = await fetch(`${server.url}/v1/self`, { headers: { authorization: `Bearer ${apiKey}` } });
  await answer.arrayBuffer();
  return answer.status;
}

// biome-ignore lint/suspicious/noExplicitAny: what comes is compared with the document elsewhere.
async function admin(server: ServerProcess, method: string, path: string, body?: object): Promise<any> {
  const answer = await fetch(server.url + path, {
    method,
    headers: { authorization: `Bearer ${ROOT_KEY}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const value = await answer.json();
  if (answer.status >= 300)
    throw new Error(`${method} ${path} was answered ${answer.status}: ${JSON.stringify(value)}`);
  return value;
}
