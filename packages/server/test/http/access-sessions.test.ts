import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AccessServer } from "./access.js";
import { refusalOf } from "./api.js";
import { helloOf, NativeClient, SERVICE } from "./server.js";

let server: AccessServer;
beforeAll(async () => {
  server = await AccessServer.start();
});
afterAll(() => server.close());

describe("sessions of those who may not lock", () => {
  test("[L9zr] whoever may only look or force ends nobody's hold by its token", async () => {
    const { token } = (await server.api.acquire("leased", { leaseMs: 60_000 })).body;
    for (const scope of ["read", "force"]) {
      const { apiKey } = await server.key({ scopes: [scope] });
      const client = await NativeClient.welcome(server.as(apiKey));
      for (const kind of ["release", "abandon"])
        expect((await client.request(kind, token))[2], `${scope} ${kind}`).toBe("FORBIDDEN");
      client.close();
    }
    expect((await server.api.inspect("leased")).holders[0].token).toBe(token);
  });

  test("[A2zs] a key that may lock no more cannot keep a session alive that holds", async () => {
    const { apiKey, id } = await server.key({ scopes: ["lock", "read"] });
    const hello = helloOf({ leaseMs: 1_000, session: "session-narrowed", client: "client-narrowed" });
    const client = await NativeClient.open(server.as(apiKey));
    client.send(hello, ["sync"]);
    await client.next("welcome");
    await client.acquire("kept");
    await server.narrow(id, { scopes: ["read"] });
    await client.closed;
    const again = await NativeClient.open(server.as(apiKey));
    const [, fields] = hello as [string, object];
    again.send(["hello", { ...fields, connection: 2, resume: true }], ["sync"]);
    expect((await again.take(() => true)).slice(0, 2)).toEqual(["ended", "SESSION_ENDED"]);
    const next = await NativeClient.welcome(server);
    expect(await next.acquire("kept", 10_000)).toBeGreaterThan(0);
    next.close();
  });

  test("[R4zt] one that only looks is not waited for after a crash, and cannot become one that holds", async () => {
    const { apiKey } = await server.key({ scopes: ["read"] });
    const service = "looked-at";
    const hello = helloOf({
      service,
      leaseMs: 3_600_000,
      session: "session-that-reads",
      client: "client-that-reads",
    });
    const client = await NativeClient.open(server.as(apiKey));
    client.send(hello, ["sync"]);
    await client.next("welcome");
    const [, fields] = hello as [string, object];
    const lock = await NativeClient.open(server);
    lock.send(["hello", { ...fields, connection: 2, resume: true }]);
    expect((await lock.next("ended"))[1]).toBe("SESSION_ENDED");
    // The same records, read by another process.
    const second = await AccessServer.start({ store: server.store });
    expect((await second.api.get("/stats", { service })).body).toMatchObject({ recovering: false });
    expect((await second.api.acquire("after the crash", {}, { service })).status).toBe(200);
    await second.close();
    client.close();
  });
});

describe("an account whose requests are counted", () => {
  test("[A5zu] a client that comes back says all that it holds, however much that is", async () => {
    const server = await AccessServer.start({ limits: { holdsMax: 10_000 } });
    const { apiKey, id } = await server.account(true, { requestsPerSecond: 10_000, holds: 3_000 });
    const hello = helloOf({ leaseMs: 60_000, session: "session-with-much", client: "client-with-much" });
    const client = await NativeClient.open(server.as(apiKey));
    client.send(hello, ["sync"]);
    await client.next("welcome");
    const names = Array.from({ length: 2_500 }, (_, at) => `held ${at}`);
    client.send(...names.map((name, at) => ["acquire", at + 1, name, 0]));
    const tokens: number[] = [];
    for (const at of names.keys()) {
      const answer = await client.take((message) => message[1] === at + 1);
      expect(answer[0]).toBe("granted");
      tokens.push(answer[2] as number);
    }
    await server.change(id, { limits: { requestsPerSecond: 1 } });
    client.socket.terminate();
    const again = await NativeClient.open(server.as(apiKey));
    const [, fields] = hello as [string, object];
    const claims = names.map((name, at) => ["hold", tokens[at], name]);
    again.send(["hello", { ...fields, connection: 2, resume: true }], ...claims, ["sync"]);
    await again.next("welcome");
    await server.api.get("/stats");
    expect(again.inbox.filter(([kind]) => kind !== "welcome")).toEqual([]);
    expect((await server.api.get("/v1/self", { key: apiKey })).body.account.use.holds).toBe(2_500);
    again.close();
    await server.close();
  });

  test("[A5zv] what is asked for before the sync is made up for behind it", async () => {
    const { apiKey } = await server.account(true);
    const client = await NativeClient.open(server.as(apiKey));
    const acquires = Array.from({ length: 200 }, (_, at) => ["acquire", at + 1, `n${at}`, 0]);
    client.send(helloOf({}), ...acquires, ["inspect", 900, "n0"], ["sync"]);
    await client.next("welcome");
    for (let at = 1; at <= 200; at++) await client.next("granted", at);
    // Nothing else is before its turn, and for some seconds nothing new.
    expect((await client.next("refused", 900))[2]).toBe("RATE_LIMITED");
    expect((await client.request("acquire", "more", 0))[2]).toBe("RATE_LIMITED");
    expect((await client.request("heartbeat"))[0]).toBe("done");
    client.close();
  });

  test("[A5zw] one key cannot use up what others of its account need to give back, and is cut off", async () => {
    const { apiKey } = await server.account(true);
    const reader = await server.key({ scopes: ["read"], services: ["dashboard"] }, apiKey);
    const holder = await NativeClient.welcome(server.as(apiKey));
    const token = await holder.acquire("held");
    const { token: leased } = (await server.api.acquire("leased", { leaseMs: 60_000 }, { key: apiKey })).body;
    const flooder = await NativeClient.welcome(server.as(reader.apiKey), { service: "dashboard" });
    const flood = Array.from({ length: 3_000 }, (_, at) => ["inspect", at + 1, "x"]);
    for (let round = 0; round < 2; round++) flooder.send(...flood);
    expect((await flooder.next("ended"))[1]).toBe("RATE_LIMITED");
    await flooder.closed;
    expect((await holder.request("heartbeat"))[0]).toBe("done");
    expect((await holder.request("release", token))[0]).toBe("done");
    const released = await server.api.post("/release", { token: leased }, { key: apiKey, service: SERVICE });
    expect(refusalOf(released)).toEqual([200, undefined]);
    holder.close();
  });
});
