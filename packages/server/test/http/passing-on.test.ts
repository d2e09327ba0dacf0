/**
 * Requests that come to a member that does not serve what they are about. They go on to the one that does, and nobody can tell the difference.
 */
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Api, refusalOf } from "./api.js";
import { EventReader } from "./event-reader.js";
import { Members } from "./members.js";
import { OriginalClient } from "./original-client.js";
import { ask, callBody, HttpConnection, isRefusal, NativeClient, requestBytes, SERVICE } from "./server.js";

let members: Members;
/** Where things are, and where they are asked for. */
let owner: Api;
let wrong: Api;
let native: NativeClient;

beforeAll(async () => {
  members = await Members.start(2, { signup: true });
  owner = new Api(members.all[0]!);
  wrong = new Api(members.all[1]!);
  native = await NativeClient.welcome(members.all[0]!);
});

beforeEach(() => {
  members.all.length = 2;
  members.where = 0;
  members.keeper = 0;
  members.places.clear();
  for (const { cluster } of members.all) cluster.stale = null;
});

afterAll(async () => {
  native.close();
  await members.close();
});

const INVALID = JSON.stringify({
  error: { code: "INVALID", message: "So it is.", retryable: false, details: {} },
});
const toWrong = () => members.all[1]!;

describe("an operation of a service", () => {
  /** What is not the same when the same is asked twice. */
  const plain = (body: unknown) =>
    JSON.stringify(body, (key, value) =>
      /Ms$|^(at|token|requestId|sessionId|ticket|position|head|next|id|owner)$/.test(key)
        ? typeof value
        : value,
    );

  test("[I3ra] each is served by its member, whoever is asked, with the answer that it gives itself", async () => {
    const { body: document } = await owner.get("/openapi.json");
    // What is over cannot end again: one for each that asks.
    const sessions = new Map([owner, wrong].map((api) => [api, randomUUID()]));
    for (const sessionId of sessions.values()) await owner.post("/sessions", { sessionId });
    const token = await owner.token("held");
    const bodies: Record<string, object> = {
      acquire: { names: [{ name: "of nine", permits: 9 }], leaseMs: 300_000 },
      release: { token: 999_999_999 },
      renew: { token },
      openSession: {},
      putSettings: { lockDelayMs: 0 },
    };
    const queries: Record<string, string> = {
      events: "?since=0",
      forceRelease: "?token=999999999&reason=because",
      forceReleaseNamed: "?name=a&token=999999999&reason=because",
    };
    let count = 0;
    for (const [path, methods] of Object.entries<Record<string, { operationId: string }>>(document.paths)) {
      if (!path.includes("{service}")) continue;
      for (const [method, { operationId }] of Object.entries(methods)) {
        const asked =
          path.replace("{service}", SERVICE).replace("{name}", "held") + (queries[operationId] ?? "");
        const answers = [];
        for (const api of [owner, wrong]) {
          const path = asked.replace("{session}", sessions.get(api)!);
          answers.push(await api.call(method.toUpperCase(), path, bodies[operationId]));
        }
        const [own, passedOn] = answers;
        expect([operationId, passedOn!.status]).toEqual([operationId, own!.status]);
        expect(plain(passedOn!.body)).toEqual(plain(own!.body));
        const names = (headers: Headers) =>
          [...headers.keys()].filter((name) => name !== "keep-alive").sort();
        expect(names(passedOn!.headers)).toEqual(names(own!.headers));
        count++;
      }
    }
    expect(count).toBeGreaterThanOrEqual(12);
    // Nothing of it came to be where it was asked for.
    expect(members.all[1]!.loop.services.idsOf("default")).toEqual([]);
  });

  test("[I3rb] says nothing twice: each header of every answer is there once", async () => {
    const connection = await HttpConnection.open(toWrong());
    const path = `/v1/services/${SERVICE}/locks/held`;
    connection.write(
      requestBytes({ method: "GET", path, key: toWrong().rootKey, headers: { connection: "close" } }),
    );
    const lines: string[] = [];
    connection.socket.on("data", (bytes) => lines.push(String(bytes)));
    await connection.closed;
    const names = lines
      .join("")
      .split("\r\n\r\n")[0]!
      .split("\r\n")
      .slice(1)
      .map((line) => line.split(":")[0]!.toLowerCase());
    expect(names).toEqual([...new Set(names)]);
    expect(names).toContain("content-security-policy");
    expect(names).toContain("x-request-id");
  });

  test("[A1qa] a wrong key is refused where it comes, and counted there only", async () => {
    const before = members.all.map(({ loop }) => loop.totals.authFailures.wrong_key);
    expect(refusalOf(await wrong.get("/stats", { key: "wrong-key-wrong-key" }))).toEqual([
      401,
      "UNAUTHORIZED",
    ]);
    expect(members.all.map(({ loop }) => loop.totals.authFailures.wrong_key)).toEqual([
      before[0]!,
      before[1]! + 1,
    ]);
  });

  test("[A6ra] its caller is the one who called, with the same address, port and request id", async () => {
    const connection = await HttpConnection.open(toWrong());
    const body = JSON.stringify({ names: "whose" });
    connection.write(requestBytes({ path: `/v1/services/${SERVICE}/acquire`, key: toWrong().rootKey, body }));
    await connection.answer();
    const { port } = connection.socket.address() as AddressInfo;
    expect((await owner.inspect("whose")).holders[0].owner).toBe(`http:127.0.0.1:${port}`);
    connection.socket.destroy();
  });

  test("[A6rb] nobody but a member is believed in what it says of its caller", async () => {
    for (const secret of [undefined, "guessed", members.all[1]!.cluster.secret]) {
      const headers: Record<string, string> = {
        "lockdb-forwarded-by": "me",
        "x-forwarded-for": "203.0.113.7",
      };
      if (secret !== undefined) headers["lockdb-forwarded-secret"] = secret;
      headers["x-request-id"] = "chosen";
      const name = `by ${secret}`;
      const answer = await owner.acquire(name, {}, { headers });
      expect(answer.headers.get("x-request-id")).not.toBe("chosen");
      expect((await owner.inspect(name)).holders[0].owner).toMatch(/^http:127\.0\.0\.1:/);
    }
    // What a caller says so is not passed on as if a member had said it.
    const spoofed = {
      "x-forwarded-for": "203.0.113.7",
      "lockdb-forwarded-secret": members.all[0]!.cluster.secret,
    };
    await wrong.acquire("spoofed", {}, { headers: spoofed });
    expect((await owner.inspect("spoofed")).holders[0].owner).toMatch(/^http:127\.0\.0\.1:/);
  });

  test("[I3rc] one that was passed on and is not for here is refused, and not passed on again", async () => {
    members.all[0]!.cluster.stale = 1;
    members.all[1]!.cluster.stale = 0;
    const headers = { "lockdb-forwarded-by": "another" };
    const answer = await wrong.get("/stats", { headers });
    expect(refusalOf(answer)).toEqual([503, "UNAVAILABLE"]);
    expect(answer.headers.get("lockdb-not-here")).toBe("not here");
    expect(answer.headers.get("retry-after")).toBe("1");
    // Two that each believe that it is with the other: the caller hears of it in the end.
    const lost = await ask(toWrong(), {
      path: "/lock",
      body: callBody("lock", "lost", { waitForLockInMs: 60_000 }),
    });
    expect(lost).toMatchObject({ status: 503, body: expect.stringMatching(/^UNAVAILABLE: /) });
    expect(isRefusal(lost!)).toBe(true);
  });

  test("[I3rd] what is nowhere waits until it is somewhere", async () => {
    members.where = "nowhere";
    const asked = wrong.acquire("waited for");
    const original = new OriginalClient(SERVICE, { apiKey: toWrong().rootKey, serverUrl: toWrong().url });
    const locked = original.lock("waited for too");
    // It has come to the member when that has passed something else on.
    members.places.set("another", 0);
    await wrong.get("/stats", { service: "another" });
    members.where = 0;
    members.changed();
    expect((await asked).status).toBe(200);
    expect(await locked).toBe(true);
    members.where = "nowhere";
    const here = wrong.get("/stats");
    await wrong.get("/stats", { service: "another" });
    members.where = 1;
    members.changed();
    expect((await here).body).toMatchObject({ holds: 0 });
  });

  test("[I3re] a member that has handed it over meanwhile says so, and the request goes where it is now", async () => {
    members.where = 1;
    members.all[1]!.cluster.stale = 0;
    const asked = wrong.acquire("handed over");
    // The former owner has refused it by then, and the next look shows that it is here.
    setTimeout(() => {
      members.all[1]!.cluster.stale = null;
      members.changed();
    }, 100);
    expect((await asked).status).toBe(200);
    expect(members.all[1]!.loop.services.idsOf("default")).toEqual([SERVICE]);
  });

  test("[I3rf] one connection there serves all requests of one here", async () => {
    const { server, url, requests, connectionCount } = await listener((_request, response) =>
      response.setHeader("content-type", "application/json").end('{"released":true}'),
    );
    members.where = { url };
    members.all.push({ ...members.all[0]!, url, id: "fake" });
    const connection = await HttpConnection.open(toWrong());
    for (let at = 0; at < 5; at++) {
      connection.write(
        requestBytes({ path: `/v1/services/${SERVICE}/release`, key: toWrong().rootKey, body: "{}" }),
      );
      expect(await connection.answer()).toMatchObject({ status: 200 });
    }
    expect([requests.length, connectionCount()]).toEqual([5, 1]);
    const other = await HttpConnection.open(toWrong());
    other.write(
      requestBytes({ path: `/v1/services/${SERVICE}/release`, key: toWrong().rootKey, body: "{}" }),
    );
    await other.answer();
    expect(connectionCount()).toBe(2);
    // The end of one is the end of the other.
    const sockets = requests.map(({ socket }) => socket);
    const ended = new Promise((resolve) => sockets[0]!.once("end", () => resolve("in good order")));
    connection.socket.end();
    expect(await ended).toBe("in good order");
    const broken = new Promise((resolve) => sockets[5]!.once("close", resolve));
    other.socket.resetAndDestroy();
    await broken;
    members.all.pop();
    server.close();
  });

  test("[I3rg] headers of one connection, and what a caller may not say, go no further; all others do", async () => {
    const { server, url, requests } = await listener((_request, response) =>
      response
        .writeHead(400, { "content-type": "application/json", "x-more": "1", "keep-alive": "timeout=9" })
        .end(INVALID),
    );
    members.where = { url };
    members.all.push({ ...members.all[0]!, url, id: "fake" });
    const headers = {
      connection: "keep-alive, x-hop",
      "x-hop": "1",
      te: "trailers",
      "x-own": "2",
      "lockdb-context": "none",
      "x-forwarded-for": "203.0.113.7",
      "lockdb-forwarded-secret": "guessed",
      "lockdb-only-here": "1",
    };
    const path = `/v1/services/${SERVICE}/stats?x=a%2Fb&y=%20`;
    const answer = await ask(toWrong(), { method: "GET", path, headers });
    const [{ headers: seen, url: target }] = requests as [IncomingMessage];
    expect(target).toBe(path);
    expect(seen).toMatchObject({ "x-own": "2", "lockdb-context": "none", "lockdb-forwarded-by": "member-1" });
    expect(seen["x-forwarded-for"]).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(seen["lockdb-forwarded-secret"]).toBe(members.all[0]!.cluster.secret);
    expect(seen["x-request-id"]).toBe(answer!.headers["x-request-id"]);
    for (const name of ["x-hop", "te", "lockdb-only-here", "content-length"])
      expect(seen[name]).toBeUndefined();
    expect(answer).toMatchObject({ status: 400, body: INVALID, headers: { "x-more": "1" } });
    expect(answer!.headers["keep-alive"]).not.toBe("timeout=9");
    members.all.pop();
    server.close();
  });

  test("[I3rh] a member that is not there: it is asked for again elsewhere, as long as nothing was sent", async () => {
    const { server, url } = await listener(() => {});
    server.close();
    members.where = { url };
    members.all.push({ ...members.all[0]!, url, id: "gone" });
    const asked = wrong.acquire("after all");
    setTimeout(() => {
      members.where = 0;
      members.changed();
    }, 50);
    expect((await asked).status).toBe(200);
    members.all.pop();
  });

  test("[I3ri] a member that dies at it: what looks is asked for again, what changes something is not", async () => {
    const { url, requests } = await listener((request) => request.socket.destroy());
    members.where = { url };
    members.all.push({ ...members.all[0]!, url, id: "dying" });
    const looks = wrong.get("/stats");
    const changes = await wrong.acquire("who knows");
    expect(refusalOf(changes)).toEqual([503, "UNAVAILABLE"]);
    expect(requests.filter(({ method }) => method === "POST")).toHaveLength(1);
    members.where = 0;
    members.changed();
    expect((await looks).status).toBe(200);
    members.all.pop();
  });

  test("[A5ra] is counted against its account once, where it came in", async () => {
    const { body } = await owner.post("/v1/accounts", { trial: true });
    await owner.call("PATCH", `/v1/accounts/${body.account.id}`, { limits: { requestsPerSecond: 1 } });
    const statuses = async (headers: Record<string, string>) => {
      const asked = Array.from({ length: 5 }, () => owner.get("/stats", { key: body.apiKey, headers }));
      return (await Promise.all(asked)).map(({ status }) => status);
    };
    const passedOn = { "lockdb-forwarded-by": "member-1" };
    const shown = { ...passedOn, "lockdb-forwarded-secret": members.all[0]!.cluster.secret };
    expect(await statuses(shown)).toEqual([200, 200, 200, 200, 200]);
    expect(await statuses(passedOn)).toContain(429);
    // And it is told so by the member that has counted it.
    const { server, url } = await listener((_request, response) =>
      response
        .writeHead(400, { "content-type": "application/json", ratelimit: '"account";r=1;t=1' })
        .end(INVALID),
    );
    members.where = { url };
    members.all.push({ ...members.all[0]!, url, id: "fake" });
    expect((await wrong.get("/stats")).headers.get("ratelimit")).toBeNull();
    server.close();
  });
});

describe("a stream of events, at the wrong member", () => {
  test("[I3rk] tells what happens at the member that serves it, and ends with its reader", async () => {
    const reader = await EventReader.open(toWrong(), "?prefix=watched");
    await reader.until("start");
    const token = await native.acquire("watched");
    expect((await reader.until("granted")).at(-1)!.data).toMatchObject({ names: ["watched"], token });
    reader.close();
    await reader.closed;
    await native.release(token);
  });
});

describe("what the keeper alone changes", () => {
  test("[I3rl] accounts and keys are made and changed there, whoever is asked", async () => {
    const made = await wrong.post("/v1/keys", { scopes: ["read"] });
    expect(made.status).toBe(201);
    const { id } = made.body.key;
    expect((await owner.get(`/v1/keys/${id}`)).status).toBe(200);
    expect((await wrong.get(`/v1/keys/${id}`)).status).toBe(200);
    expect((await wrong.call("PATCH", `/v1/keys/${id}`, { name: "less" })).body.name).toBe("less");
    expect((await wrong.delete(`/v1/keys/${id}`)).status).toBe(200);
    expect((await owner.get(`/v1/keys/${id}`)).status).toBe(404);
    const account = await wrong.post("/v1/accounts", {});
    expect(account.status).toBe(201);
    expect((await wrong.get(`/v1/accounts/${account.body.account.id}`)).status).toBe(200);
  });

  test("[A4ra] sign-ups are counted there by the address of who signs up", async () => {
    const begun = await wrong.post("/v1/signup", { email: "a@example.com" }, { key: null });
    expect(begun.status).toBe(201);
    members.keeper = "nowhere";
    const later = wrong.post("/v1/signup", { email: "c@example.com" }, { key: null });
    members.keeper = 0;
    members.changed();
    expect((await later).status).toBe(201);
  });
});

describe("what every member has a part of", () => {
  test("[I3rm] the list of services is that of all members, page by page", async () => {
    for (const service of ["s1", "s3"]) await owner.acquire("a", {}, { service });
    for (const service of ["s2", "s4"]) {
      members.places.set(service, 1);
      await wrong.acquire("a", {}, { service });
    }
    for (const api of [owner, wrong]) {
      const listed: string[] = [];
      let after = "";
      for (let page = 0; page < 20; page++) {
        const { body } = await api.get(`/v1/services?limit=2${after === "" ? "" : `&after=${after}`}`);
        expect(body.missing).toBeUndefined();
        listed.push(...body.services.map(({ service }: { service: string }) => service));
        if (body.next === null) break;
        after = body.next;
      }
      expect(listed).toEqual([...new Set(listed)].sort());
      expect(listed).toEqual(expect.arrayContaining(["s1", "s2", "s3", "s4"]));
    }
  });

  test("[I3rn] what an account has is what it has everywhere", async () => {
    const use = async (api: Api) => (await api.get("/v1/self")).body.account.use;
    const local = members.all.map(({ loop }) => loop.useOf("default"));
    for (const api of [owner, wrong]) {
      const all = await use(api);
      expect(all.services).toBe(local[0]!.services + local[1]!.services);
      expect(all.holds).toBe(local[0]!.holds + local[1]!.holds);
    }
    const { body } = await wrong.get("/v1/accounts/default");
    expect(body.use.services).toBe(local[0]!.services + local[1]!.services);
    const { body: listed } = await wrong.get("/v1/accounts?limit=1000");
    const shown = listed.accounts.find(({ id }: { id: string }) => id === "default");
    expect(shown.use.services).toBe(body.use.services);
  });

  test("[I3ro] who does not answer is named", async () => {
    const { server, url } = await listener((request) => request.socket.destroy());
    members.all.push({ ...members.all[0]!, url, id: "silent" });
    expect((await wrong.get("/v1/services")).body.missing).toEqual(["silent"]);
    expect((await wrong.get("/v1/self")).body.account.use.missing).toEqual(["silent"]);
    members.all.pop();
    server.close();
  });
});

describe("a member that has waited in vain", () => {
  test("[I3ru] is not asked again: who asks for what is nowhere is answered", async () => {
    const { server, url, requests } = await listener((_request, response) => {
      const refuse = () => response.writeHead(503, { "lockdb-not-here": "not here" }).end(INVALID);
      if (requests.length > 2) response.end("{}");
      else setTimeout(refuse, 150);
    });
    for (const { cluster } of members.all) cluster.patienceMs = 100;
    members.where = { url };
    members.all.push({ ...members.all[0]!, url, id: "fake" });
    expect(refusalOf(await wrong.get("/stats"))).toEqual([503, "UNAVAILABLE"]);
    expect(requests.length).toBe(1);
    for (const { cluster } of members.all) cluster.patienceMs = 1_000;
    members.all.pop();
    server.close();
  });
});

describe("a server that is told to stop", () => {
  test("[I3rp] waits for no place any more, and forgets the cluster", async () => {
    const some = await Members.start(2);
    some.where = "nowhere";
    const asked = new Api(some.all[1]!).get("/stats").catch(() => "closed");
    await new Api(some.all[1]!).get("/v1/self");
    const closing = some.close();
    await asked;
    await closing;
    expect(some.all.map(({ cluster }) => cluster.watcherCount)).toEqual([0, 0]);
  });
});

/** Something that listens where a member may be. */
async function listener(handle: Parameters<typeof createServer>[1]) {
  const requests: IncomingMessage[] = [];
  const sockets = new Set<unknown>();
  const server = createServer((request, response) => {
    requests.push(request);
    request.resume().once("end", () => (handle as (...args: unknown[]) => void)(request, response));
  });
  server.on("connection", (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { server, url, requests, connectionCount: () => sockets.size };
}
