import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import { inProcess, servedCli } from "./cli.js";

const on = servedCli();
const closing: (() => void)[] = [];

afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** Something else that listens, and what it was asked. */
async function standIn(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    answer(request, response);
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

/** An address where nobody listens. */
async function nowhere(): Promise<string> {
  const server = createTcpServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}

function ask(args: readonly string[], ...urls: string[]) {
  return inProcess(args, {
    LOCKDB_API_KEY: on.env.LOCKDB_API_KEY!,
    LOCKDB_SERVER_URL: urls.length === 0 ? on.env.LOCKDB_SERVER_URL! : urls.join(","),
  });
}

function says(status: number, body: unknown, headers: Record<string, string> = {}) {
  return standIn((request, response) => {
    request.resume();
    response.writeHead(status, headers).end(typeof body === "string" ? body : JSON.stringify(body));
  });
}

test("[I4zx] a server that cannot be reached is passed over, and when none can be each is named, with 69", async () => {
  const gone = await nowhere();
  expect(await ask(["whoami"], gone, on.env.LOCKDB_SERVER_URL!)).toMatchObject({
    code: 0,
    stderr: "",
    stdout: expect.stringMatching(/^key root /),
  });
  const made = await ask(["keys", "create", "--scopes", "read"], gone, `${on.env.LOCKDB_SERVER_URL}/`);
  expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/^ldb_/) });
  const other = await nowhere();
  const none = await ask(["whoami"], gone, other);
  expect(none).toMatchObject({ code: 69, stdout: "" });
  expect(none.stderr).toMatch(/^lockdb whoami: ConnectionError: .*ECONNREFUSED.*Check the address/);
  for (const url of [gone, other]) expect(none.stderr).toContain(`${url} could not be reached`);
  const { code, stderr } = await ask(["audit", "--json"], gone);
  expect({ code, ...JSON.parse(stderr) }).toMatchObject({ code: 69, error: { code: "CONNECTION" } });
});

test("[I4zy] what may have been done is not asked of another server; a look is", async () => {
  const broken = await standIn((request) => request.socket.destroy());
  const url = on.env.LOCKDB_SERVER_URL!;
  expect(await ask(["whoami"], broken.url, url)).toMatchObject({ code: 0 });
  const before = (await ask(["keys", "ls"])).stdout;
  const lost = await ask(["keys", "create", "--scopes", "read"], broken.url, url);
  expect(lost).toMatchObject({ code: 69, stdout: "" });
  expect(lost.stderr).toMatch(/did not answer .*may have been done all the same: look before you try again/);
  expect((await ask(["keys", "ls"])).stdout).toBe(before);
});

describe("[I4zz] what is no answer of LockDB's is not taken for one", () => {
  test.each([
    ["a page", 200, "<html>Welcome</html>", {}, /answered \(200\), but not as LockDB does/],
    ["another JSON", 200, { ok: true }, {}, /not as LockDB does/],
    ["a list", 200, [], {}, /not as LockDB does/],
    ["null", 200, null, {}, /not as LockDB does/],
    ["half of it", 200, { key: { id: "x" }, account: {} }, {}, /not as LockDB does/],
    ["nothing", 204, "", {}, /answered \(204\)/],
    [
      "a redirection",
      301,
      "",
      { location: "https://x.example/" },
      /301, and leads to https:\/\/x\.example\//,
    ],
    ["a gateway", 502, "<html>Bad Gateway</html>", {}, /answered \(502\)/],
    ["another error", 404, { error: "not found" }, {}, /answered \(404\)/],
    ["a code of nobody", 400, { error: { code: "E42", message: "no" } }, {}, /answered \(400\)/],
  ])("%s", async (_what, status, body, headers, message) => {
    const { url } = await says(status, body, headers);
    const { code, stdout, stderr } = await ask(["whoami"], url);
    expect({ code, stdout }).toEqual({ code: 69, stdout: "" });
    expect(stderr).toContain(`ConnectionError: ${url} answered`);
    expect(stderr).toMatch(message);
  });
});

test("[I4zza] a key that steers terminals is no key", async () => {
  const answer = JSON.stringify({
    key: { ...KEY, id: "x" },
    apiKey: "ldb_x_\u001b[2J",
  });
  const { url } = await says(201, answer);
  const made = await ask(["keys", "create", "--scopes", "read"], url);
  expect(made).toMatchObject({ code: 69, stdout: "", stderr: expect.stringContaining("not as LockDB does") });
});

test("[I4zzb] what a server says steers no terminal, in any field, and makes no line of its own", async () => {
  const evil = "\u001b[2J\u009b1m\u202ex\ty\nkey root";
  const answers: Readonly<Record<string, object>> = {
    "/v1/self": { key: hostile(KEY, evil), account: hostile(ACCOUNT, evil) },
    "/v1/keys": { keys: [hostile(KEY, evil)] },
    "/v1/accounts": { accounts: [hostile(ACCOUNT, evil)], next: null },
    "/v1/audit": { entries: [hostile(ENTRY, evil)], next: null },
    "/v1/keys/bad": { error: { code: "NOT_FOUND", message: evil, retryable: false, details: {} } },
  };
  const { url } = await standIn((request, response) => {
    const body = answers[request.url!.replace(/\?.*/, "")]!;
    response.writeHead("error" in body ? 404 : 200).end(JSON.stringify(body));
  });
  const commands = [["whoami"], ["keys", "ls"], ["accounts", "ls"], ["audit"], ["keys", "show", "bad"]];
  for (const args of [...commands, ...commands.map((each) => [...each, "--json"])]) {
    const { stdout, stderr } = await ask(args, url);
    const all = stdout + stderr;
    expect(all).toContain("\\u001b[2J");
    expect(all).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/);
    // The columns are separated by tabs, and nothing else is.
    for (const line of stdout.split("\n")) expect([0, 5]).toContain(line.split("\t").length - 1);
    if (!args.includes("show")) expect(all).not.toMatch(/^key root/m);
  }
  const whole = JSON.parse((await ask(["whoami", "--json"], url)).stdout);
  expect(whole).toEqual(answers["/v1/self"]);
});

test("[I4zzc] no key ever stands in an address, also when somebody names a key by itself", async () => {
  const { apiKey, key } = JSON.parse((await ask(["keys", "create", "--scopes", "read", "--json"])).stdout);
  const seen: (string | undefined)[] = [];
  const { url, asked } = await standIn((request, response) => {
    seen.push(request.headers.authorization);
    request.resume();
    response.end(JSON.stringify(KEY));
  });
  for (const args of [["show"], ["narrow", "--name=x"], ["revoke"]])
    await ask(["keys", args[0]!, apiKey, ...args.slice(1)], url);
  await ask(["keys", "ls", "--account", "default"], url);
  expect(asked).toEqual([
    `GET /v1/keys/${key.id}`,
    `PATCH /v1/keys/${key.id}`,
    `DELETE /v1/keys/${key.id}`,
    "GET /v1/keys?account=default",
  ]);
  expect(new Set(seen)).toEqual(new Set([`Bearer ${on.env.LOCKDB_API_KEY}`]));
});

test("[I4zzd] an export that is told to slow down goes on a little later", async () => {
  let count = 0;
  const { url, asked } = await standIn((_request, response) => {
    count++;
    if (count === 2) {
      const error = { code: "RATE_LIMITED", message: "Slow down.", retryable: true, details: {} };
      return void response.writeHead(429).end(JSON.stringify({ error }));
    }
    response.end(JSON.stringify({ entries: [ENTRY], next: count === 1 ? "page-2" : null }));
  });
  const { code, stdout } = await ask(["audit", "--json", "--account", "acc_1"], url);
  expect({ code, lines: stdout.trimEnd().split("\n").length }).toEqual({ code: 0, lines: 2 });
  expect(asked).toEqual([
    "GET /v1/audit?account=acc_1&limit=1000",
    "GET /v1/audit?account=acc_1&after=page-2&limit=1000",
    "GET /v1/audit?account=acc_1&after=page-2&limit=1000",
  ]);
});

test("[I4zzg] the next page is asked of the server that answered last", async () => {
  const broken = await standIn((request) => request.socket.destroy());
  const { url, asked } = await standIn((request, response) => {
    const next = request.url!.includes("after=") ? null : "2";
    response.end(JSON.stringify({ entries: [ENTRY], next }));
  });
  expect(await ask(["audit"], broken.url, url)).toMatchObject({ code: 0 });
  expect([broken.asked.length, asked.length]).toEqual([1, 2]);
});

test("[I4zzf] a server that takes a request and says nothing, or does not get as far, is not waited for long", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    let taken = () => {};
    const isTaken = new Promise<void>((resolve) => (taken = resolve));
    const silent = await standIn(() => taken());
    const lost = ask(["keys", "create", "--scopes", "read"], silent.url, on.env.LOCKDB_SERVER_URL!);
    await isTaken;
    vi.advanceTimersByTime(30_000);
    expect(await lost).toMatchObject({ code: 69, stderr: expect.stringContaining("nothing within 30 s") });

    const tcp = createTcpServer().listen(0, "127.0.0.1");
    closing.push(() => tcp.close());
    await once(tcp, "listening");
    const connecting = once(tcp, "connection");
    // It never gets as far as TLS: so the next one may be asked for anything.
    const address = `https://127.0.0.1:${(tcp.address() as AddressInfo).port}`;
    const made = ask(["keys", "create", "--scopes", "read"], address, on.env.LOCKDB_SERVER_URL!);
    const [socket] = await connecting;
    vi.advanceTimersByTime(5_000);
    expect(await made).toMatchObject({ code: 0, stdout: expect.stringMatching(/^ldb_/) });
    socket.destroy();
  } finally {
    vi.useRealTimers();
  }
});

test.each([
  ["a user and password", "http://user:secret@127.0.0.1:1", "key", /no user and password/],
  ["no address", "ftp://x", "key", /http:\/\//],
  ["a key with a space", "http://127.0.0.1:1", "a b", /no spaces/],
])("[I4zze] %s is refused before anything is sent", async (_what, url, key, message) => {
  const { code, stderr } = await inProcess(["whoami"], { LOCKDB_SERVER_URL: url, LOCKDB_API_KEY: key });
  expect(code).toBe(64);
  expect(stderr).toMatch(message);
  expect(stderr).not.toContain("secret");
});

const KEY = {
  id: "4fZk2Qm0aB",
  account: "default",
  name: "n",
  scopes: ["read"],
  services: ["s"],
  createdAt: "2026-01-01T09:00:00.000Z",
  createdBy: "root key",
  expiresAt: "2026-01-01T09:00:00.000Z",
  oldSecretEndsAt: "2026-01-01T09:00:00.000Z",
  lastUsedAt: "2026-01-01T09:00:00.000Z",
};
const ACCOUNT = {
  id: "acc_1",
  email: "e",
  createdAt: "2026-01-01T09:00:00.000Z",
  trialEndsAt: "2026-01-01T09:00:00.000Z",
  daysLeft: 3,
  limits: { holds: 3 },
  use: { holds: 1 },
};
const ENTRY = { at: "2026-01-01T09:00:00.000Z", who: "w", what: "w", service: "s", details: { name: "n" } };

/** The same with a hostile text in each place for a text, and in each name of a free record. */
function hostile(value: unknown, text: string): unknown {
  if (typeof value === "string") return text;
  if (Array.isArray(value)) return value.map((each) => hostile(each, text));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([name, each]) => [name, hostile(each, text)] as const);
  const isFree = entries.length === 1;
  return Object.fromEntries(isFree ? entries.map(([name, each]) => [name + text, each]) : entries);
}
