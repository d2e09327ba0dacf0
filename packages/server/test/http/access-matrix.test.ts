/**
 * Who may what, over every way in: each operation and message with each kind of key. What is expected stands in a table of its own, and a
 * way in that is not in it fails. See also access-ids.test.ts.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NEEDS } from "../../src/loop/index.js";
import { AccessServer, ALL, type Made } from "./access.js";
import { EventReader } from "./event-reader.js";
import {
  callBody,
  HttpConnection,
  helloOf,
  isRefusal,
  NativeClient,
  requestBytes,
  within,
} from "./server.js";

// biome-ignore lint/suspicious/noExplicitAny: the document is looked at as somebody else would.
type Json = any;
type Scope = (typeof ALL)[number];

interface Row {
  /** Any of these will do; none: any key. Null: it needs no key. */
  readonly scopes: readonly Scope[] | null;
  /** It is about a service, which stands in its path. */
  readonly service?: true;
  /** It is about the account as a whole. */
  readonly overall?: true;
  readonly newLock?: true;
  /** For keys of `default` only. */
  readonly operator?: true;
  readonly query?: string;
  readonly body?: object;
  /** The status for those who may. */
  readonly passes: number;
}

const NOBODYS_TOKEN = 999_999_999;
const FORCED = `token=${NOBODYS_TOKEN}&reason=because`;

/** Everything that there is, what it needs, and a request that changes little. */
const OPERATIONS: Readonly<Record<string, Row>> = {
  acquire: {
    scopes: ["lock"],
    service: true,
    newLock: true,
    body: { leaseMs: 1_000 },
    passes: 200,
  },
  askBack: {
    scopes: ["force"],
    service: true,
    body: { name: "m", token: NOBODYS_TOKEN, reason: "m" },
    passes: 409,
  },
  release: { scopes: ["lock"], service: true, body: { token: NOBODYS_TOKEN }, passes: 409 },
  renew: { scopes: ["lock"], service: true, body: { token: NOBODYS_TOKEN }, passes: 409 },
  openSession: { scopes: ["lock"], service: true, body: { leaseMs: 1_000 }, passes: 201 },
  heartbeat: { scopes: ["lock"], service: true, passes: 409 },
  endSession: { scopes: ["lock"], service: true, passes: 409 },
  listLocks: { scopes: ["read"], service: true, passes: 200 },
  inspectLock: { scopes: ["read"], service: true, passes: 200 },
  forceRelease: { scopes: ["force"], service: true, query: FORCED, passes: 409 },
  forceReleaseNamed: { scopes: ["force"], service: true, query: `name=m&${FORCED}`, passes: 409 },
  events: { scopes: ["read"], service: true, query: "since=0", passes: 200 },
  listServices: { scopes: ["read"], passes: 200 },
  listSessions: { scopes: ["read"], service: true, passes: 200 },
  stats: { scopes: ["read"], service: true, passes: 200 },
  contention: { scopes: ["read"], service: true, passes: 200 },
  contentionOverall: { scopes: ["read"], overall: true, passes: 200 },
  diagnosis: { scopes: ["read"], overall: true, operator: true, passes: 200 },
  getSettings: { scopes: ["read"], service: true, passes: 200 },
  putSettings: { scopes: ["admin"], service: true, body: { lockDelayMs: 0 }, passes: 200 },
  listDeliveries: { scopes: ["read"], overall: true, passes: 200 },
  retryDelivery: { scopes: ["admin"], overall: true, passes: 404 },
  giveUpDelivery: { scopes: ["admin"], overall: true, passes: 404 },
  getWebhookSecret: { scopes: ["admin"], overall: true, passes: 200 },
  rotateWebhookSecret: { scopes: ["admin"], overall: true, passes: 200 },
  whoAmI: { scopes: [], passes: 200 },
  listKeys: { scopes: ["admin"], overall: true, passes: 200 },
  // A key that gives more than it has is another matter: see access-keys.test.ts.
  createKey: { scopes: ["admin"], body: { scopes: [], name: "m" }, passes: 400 },
  getKey: { scopes: ["admin"], overall: true, passes: 404 },
  narrowKey: { scopes: ["admin"], body: { name: "m" }, passes: 404 },
  rotateKey: { scopes: ["admin"], passes: 404 },
  revokeKey: { scopes: ["admin"], passes: 404 },
  listAccounts: { scopes: ["admin"], overall: true, passes: 200 },
  createAccount: { scopes: ["admin"], overall: true, operator: true, passes: 201 },
  getAccount: { scopes: ["admin"], overall: true, passes: 200 },
  changeAccount: { scopes: ["admin"], overall: true, operator: true, body: {}, passes: 400 },
  listAudit: { scopes: ["admin"], overall: true, passes: 200 },
  signUp: { scopes: null, body: { email: "a@example.com" }, passes: 201 },
  signUpPage: { scopes: null, passes: 303 },
  page: { scopes: null, passes: 200 },
  pageFile: { scopes: null, passes: 404 },
  livez: { scopes: null, passes: 200 },
  readyz: { scopes: null, passes: 200 },
  backUp: { scopes: ["admin"], overall: true, operator: true, passes: 200 },
  metrics: { scopes: ["read"], overall: true, operator: true, passes: 200 },
  getCluster: { scopes: ["read"], overall: true, operator: true, passes: 200 },
  openapi: { scopes: null, passes: 200 },
  docs: { scopes: null, passes: 200 },
  originalLock: {
    scopes: ["lock"],
    service: true,
    newLock: true,
    body: { waitForLockInMs: 1_000, lockExpirationInSeconds: 1 },
    passes: 200,
  },
  originalUnlock: { scopes: ["lock"], service: true, body: {}, passes: 200 },
  originalCheck: { scopes: ["lock", "read"], service: true, body: {}, passes: 200 },
};

/** Of these there is no head alone. */
const STREAMS: ReadonlySet<string> = new Set(["events", "backUp"]);

/** The same for native messages. All are about the service of the connection. */
const MESSAGES: Readonly<
  Record<
    string,
    { readonly scopes: readonly Scope[]; readonly newLock?: true; readonly rest: readonly unknown[] | null }
  >
> = {
  hello: { scopes: ["lock", "read", "force"], rest: null },
  sync: { scopes: ["lock", "read", "force"], rest: [] },
  heartbeat: { scopes: ["lock", "read", "force"], rest: ["id"] },
  bye: { scopes: ["lock", "read", "force"], rest: ["id"] },
  cancel: { scopes: ["lock", "read", "force"], rest: ["id"] },
  unwatch: { scopes: ["lock", "read", "force"], rest: ["id"] },
  release: { scopes: ["lock"], rest: ["id", NOBODYS_TOKEN] },
  abandon: { scopes: ["lock"], rest: ["id", NOBODYS_TOKEN] },
  hold: { scopes: ["lock"], rest: [NOBODYS_TOKEN, ["m"]] },
  unlock: { scopes: ["lock"], rest: ["id", "m"] },
  acquire: { scopes: ["lock"], newLock: true, rest: ["id", "m", 0] },
  check: { scopes: ["lock", "read"], rest: ["id", "m", 0] },
  inspect: { scopes: ["read"], rest: ["id", "m"] },
  list: { scopes: ["read"], rest: ["id", {}] },
  watch: { scopes: ["read"], rest: ["id", {}] },
  force: { scopes: ["force"], rest: ["id", "m", NOBODYS_TOKEN, "because"] },
};

interface Holder {
  readonly name: string;
  readonly apiKey: string;
  readonly account: string;
  readonly scopes: readonly Scope[];
  readonly services: readonly string[] | null;
  readonly isDead: boolean;
  readonly trialEnded: boolean;
}

const SERVICE = "reports";
const REACHES = { all: null, own: [SERVICE], another: ["billing"] } as const;

let server: AccessServer;
const holders: Holder[] = [];
/** What only one account knows: no answer to another one has it. */
const marks = new Map<string, readonly string[]>();
let cases = 0;

beforeAll(async () => {
  server = await AccessServer.start();
  const room = { requestsPerSecond: 1_000_000, keys: 1_000, acts: 1_000_000 };
  const accounts: (Made & { name: string })[] = [
    { name: "default", id: "default", apiKey: server.rootKey },
    { name: "team", ...(await server.account(false)) },
    { name: "trial", ...(await server.account(true, room)) },
    { name: "ended trial", ...(await server.account(true, room)) },
  ];
  const sets: readonly (readonly Scope[])[] = [
    ...ALL.map((scope) => [scope]),
    ...ALL.map((without) => ALL.filter((scope) => scope !== without)),
    [...ALL],
  ];
  for (const { name, id, apiKey } of accounts) {
    const trialEnded = name === "ended trial";
    const holder = { account: id, isDead: false, trialEnded };
    marks.set(id, [await mark(name, id, apiKey)]);
    for (const [reach, services] of Object.entries(REACHES)) {
      for (const scopes of sets) {
        const wish = { scopes, services, name: `key of ${name}` };
        const { apiKey: made } = await server.key(wish, apiKey);
        holders.push({ ...holder, name: `${name}, ${reach}, ${scopes}`, apiKey: made, scopes, services });
      }
    }
    const dead = { ...holder, scopes: ALL, services: null, isDead: true };
    const [revoked, expired, rotated] = [
      await server.key({}, apiKey),
      await server.key({}, apiKey),
      await server.key({}, apiKey),
    ];
    await server.revoke(revoked.id, { key: apiKey });
    await server.narrow(expired.id, { expiresAt: "2020-01-01T00:00:00Z" }, { key: apiKey });
    await server.api.post(`/v1/keys/${rotated.id}/rotate`, { oldKeptMs: 0 }, { key: apiKey });
    holders.push({ ...dead, name: `${name}, revoked`, apiKey: revoked.apiKey });
    holders.push({ ...dead, name: `${name}, expired`, apiKey: expired.apiKey });
    holders.push({ ...dead, name: `${name}, an old secret`, apiKey: rotated.apiKey });
    if (trialEnded) await server.endTrial(id);
  }
  const nobody = { account: "", scopes: ALL, services: null, isDead: true, trialEnded: false };
  holders.push({ ...nobody, name: "a wrong key", apiKey: "wrong-key-wrong-key" });
}, 120_000);

afterAll(() => server.close());

/** Something in an account that tells whose it is, wherever it shows. */
async function mark(name: string, id: string, apiKey: string): Promise<string> {
  const text = `mark-of-${name.replace(" ", "-")}`;
  await server.api.acquire(
    "its lock",
    { owner: text, leaseMs: 3_600_000, metadata: { text } },
    { key: apiKey },
  );
  await server.api.post("/sessions", { sessionId: text, owner: text, leaseMs: 3_600_000 }, { key: apiKey });
  await server.api.get("/events?since=0", { key: apiKey });
  return id === "default" ? text : `${text}|${id}`;
}

/** The status and code that a request must come to; null: it is done. */
function refusalOf(
  holder: Holder,
  { scopes, service, overall, newLock, operator }: Partial<Row>,
): readonly [number, string] | null {
  if (scopes === null) return null;
  if (holder.isDead) return [401, "UNAUTHORIZED"];
  if (holder.services !== null && (overall || (service && !holder.services.includes(SERVICE))))
    return [403, "FORBIDDEN"];
  if (scopes!.length > 0 && !scopes!.some((scope) => holder.scopes.includes(scope)))
    return [403, "FORBIDDEN"];
  if (newLock && holder.trialEnded) return [403, "TRIAL_ENDED"];
  if (operator && holder.account !== "default") return [403, "FORBIDDEN"];
  return null;
}

function pathOf(path: string, holder: Holder): string {
  const values: Readonly<Record<string, string>> = {
    service: SERVICE,
    name: "m",
    session: "nobodys-session",
    delivery: "msg_nobodys",
    key: "nobodys",
    file: "nobodys.js",
    account: holder.account === "" ? "default" : holder.account,
  };
  return path.replace(/\{(\w+)\}/g, (_, name) => values[name]!);
}

/** With names and ids that nothing else has. */
function bodyOf(id: string, { body }: Row): string | undefined {
  if (id.startsWith("original")) return callBody(id.slice(8).toLowerCase(), `lock ${cases}`, body);
  const own = { acquire: { names: `lock ${cases}` }, openSession: { sessionId: `session-${cases}` } }[id];
  return body === undefined ? undefined : JSON.stringify({ ...body, ...own });
}

/** Anything of another account in an answer. */
function leaks(holder: Holder, text: string): string[] {
  if (holder.account === "default") return [];
  const others = [...marks].filter(([account]) => account !== holder.account);
  return others.flatMap(([, [each]]) => each!.split("|")).filter((word) => text.includes(word));
}

async function eachHolder(see: (holder: Holder) => Promise<void>): Promise<void> {
  for (const holder of holders) {
    // So many wrong keys from one address would be told to slow down.
    server.ahead.monotonicMs += 61_000;
    await see(holder);
  }
}

describe("who may what", () => {
  test("[A2x] over HTTP: every operation with every kind of key", async () => {
    const { body: document }: { body: Json } = await server.api.get("/openapi.json");
    const found = Object.entries(document.paths as Json).flatMap(([path, methods]) =>
      Object.entries(methods as Json).map(([method, { operationId }]: [string, Json]) => ({
        path,
        method,
        id: operationId as string,
      })),
    );
    // A new operation needs a row here.
    expect(found.map(({ id }) => id).sort()).toEqual(Object.keys(OPERATIONS).sort());
    const wrong: string[] = [];
    await eachHolder(async (holder) => {
      const connection = await HttpConnection.open(server);
      for (const { path, method, id } of found) {
        const row = OPERATIONS[id]!;
        // Long pages that ask nobody who he is: once for each account will do.
        if (row.scopes === null && holder.scopes.length < 4) continue;
        const isOriginal = id.startsWith("original");
        const body = bodyOf(id, row);
        if (id === "signUp") server.ahead.monotonicMs += 3_600_000;
        const methods =
          method === "get" && !isOriginal && !STREAMS.has(id) ? ["GET", "HEAD"] : [method.toUpperCase()];
        for (const each of methods) {
          const parts = {
            method: each,
            path: pathOf(path, holder) + (row.query === undefined ? "" : `?${row.query}`),
            key: holder.apiKey,
            ...(body === undefined ? {} : { body }),
          };
          const answer = await connection.write(requestBytes(parts)).answer(each === "HEAD");
          cases++;
          const refusal = refusalOf(holder, row);
          // `default` alone has no trial and no limits to change.
          const wanted =
            refusal?.[0] ?? (id === "changeAccount" && holder.account !== "default" ? 200 : row.passes);
          const text = answer?.body ?? "";
          const code =
            each === "HEAD" || refusal === null
              ? ""
              : refusal[1] === "UNAUTHORIZED"
                ? /unauthorized/i
                : refusal[1];
          const isSo =
            answer?.status === wanted &&
            text.search(code) !== -1 &&
            (!isOriginal || refusal === null || isRefusal(answer)) &&
            leaks(holder, text).length === 0;
          if (!isSo)
            wrong.push(
              `${id} ${each}, ${holder.name}: ${answer?.status} ${text.slice(0, 150)}, not ${wanted} ${code}; ${leaks(holder, text)}`,
            );
        }
      }
      connection.socket.destroy();
    });
    expect(wrong).toEqual([]);
  }, 300_000);

  test("[A2y] over native connections: every message with every kind of key", async () => {
    // A new message needs a row here.
    expect(Object.keys(MESSAGES).sort()).toEqual(Object.keys(NEEDS).sort());
    const wrong: string[] = [];
    await eachHolder(async (holder) => {
      const connecting = refusalOf(holder, { scopes: MESSAGES.hello!.scopes });
      cases++;
      const client = await NativeClient.open(server.as(holder.apiKey)).catch((error: Error) => error.message);
      if (typeof client === "string") {
        if (connecting === null || !client.includes(String(connecting[0])))
          wrong.push(`connecting, ${holder.name}: ${client}, not ${connecting}`);
        return;
      }
      if (connecting !== null) wrong.push(`connecting, ${holder.name}: came in`);
      client.send(helloOf(), ["sync"]);
      const [kind, code] = await client.take((message) => message[0] === "welcome" || message[0] === "ended");
      const greeting = refusalOf(holder, { scopes: MESSAGES.hello!.scopes, service: true });
      if ((kind === "ended" ? code : null) !== (greeting?.[1] ?? null))
        wrong.push(`hello, ${holder.name}: ${kind} ${JSON.stringify(code)}, not ${greeting}`);
      if (kind === "ended") return client.close();
      const kinds = Object.keys(MESSAGES).filter(
        (each) => each !== "hello" && each !== "bye" && each !== "sync",
      );
      for (const each of [...kinds, "sync", "bye"]) {
        const row = MESSAGES[each]!;
        const id = client.newId();
        client.inbox.length = 0;
        const probe = client.newId();
        // Behind it one that everybody may: what has not come before its answer does not come.
        client.send([each, ...row.rest!.map((field) => (field === "id" ? id : field))], ["heartbeat", probe]);
        await client.take((message) => message[0] === "ended" || message[1] === probe).catch(() => null);
        cases++;
        const told = client.inbox
          .filter(([what]) => what === "refused" || what === "error")
          .map((message) => (message[0] === "error" ? message[1] : message[2]) as string)
          .filter((text) => ["UNAUTHORIZED", "FORBIDDEN", "TRIAL_ENDED", "RATE_LIMITED"].includes(text));
        const wanted = refusalOf(holder, { ...row, service: true });
        if (told.join() !== (wanted?.[1] ?? ""))
          wrong.push(`${each}, ${holder.name}: ${told}, not ${wanted}`);
        const leaked = leaks(holder, JSON.stringify(client.inbox));
        if (leaked.length > 0) wrong.push(`${each}, ${holder.name}: ${leaked}`);
      }
      client.close();
      await client.closed;
    });
    expect(wrong).toEqual([]);
  }, 120_000);

  test("[A2z] of the stream of events: every kind of key, and no event of another account", async () => {
    const wrong: string[] = [];
    await eachHolder(async (holder) => {
      const reader = await EventReader.open(server.as(holder.apiKey));
      const status = await within(5_000, "an answer", reader.status());
      cases++;
      const wanted = refusalOf(holder, { scopes: ["read"], service: true });
      if (status !== (wanted?.[0] ?? 200)) wrong.push(`${holder.name}: ${status}, not ${wanted}`);
      if (wanted === null) {
        await reader.until("start");
        for (const account of marks.keys()) {
          const apiKey = holders.find(
            (each) => each.account === account && each.scopes.length === 4 && each.services === null,
          )!.apiKey;
          await server.api.acquire(`by ${account}`, { leaseMs: 1_000 }, { key: apiKey });
        }
        const told = JSON.stringify(reader.waiting);
        const others = [...marks.keys()].filter(
          (account) => account !== holder.account && told.includes(`by ${account}`),
        );
        if (others.length > 0) wrong.push(`${holder.name}: events of ${others}`);
      }
      reader.close();
      await reader.closed;
    });
    expect(wrong).toEqual([]);
    console.log(`authorization matrix: ${cases} cases, ${holders.length} kinds of key`);
  }, 120_000);
});
