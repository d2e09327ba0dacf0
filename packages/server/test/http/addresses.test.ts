import { readdirSync, readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { addressBucket, addressOf, requestClass, TrustedProxies } from "../../src/http/addresses.js";
import type { Server } from "../../src/index.js";
import { decodeRecord } from "../../src/store/index.js";
import { Api } from "./api.js";
import { ManualStore } from "./manual-store.js";
import { ask, callBody, startParts, startServer } from "./server.js";

/** A request from an address, as `node:http` makes it. */
function from(remoteAddress: string | undefined, forwarded?: string, trusted = ""): IncomingMessage {
  const Request = requestClass(new TrustedProxies(trusted));
  const request = new Request({ remoteAddress } as never);
  Object.assign(request.headers, forwarded === undefined ? {} : { "x-forwarded-for": forwarded });
  return request;
}

const said = (peer: string | undefined, forwarded?: string, trusted?: string) =>
  addressOf(from(peer, forwarded, trusted));

describe("the address of a caller", () => {
  test("[A6s] is that of its connection, in one spelling", () => {
    for (const [peer, is] of [
      ["192.0.2.7", "192.0.2.7"],
      ["::ffff:192.0.2.7", "192.0.2.7"],
      ["::FFFF:c000:207", "192.0.2.7"],
      ["2001:DB8:0:0::1", "2001:db8::1"],
      ["fe80::1%eth0", "fe80::1"],
      ["::1", "::1"],
      [undefined, "?"],
    ] as const)
      expect(said(peer)).toBe(is);
  });

  test("[A6t] is not what a header says, unless a trusted proxy has sent it", () => {
    const header = "198.51.100.9";
    expect(said("192.0.2.7", header)).toBe("192.0.2.7");
    expect(said("192.0.2.7", header, "10.0.0.0/8, 192.0.2.8")).toBe("192.0.2.7");
    for (const trusted of ["192.0.2.7", "192.0.2.0/24", "0.0.0.0/0", "10.0.0.0/8,192.0.2.0/30,192.0.2.7"])
      expect(said("192.0.2.7", header, trusted)).toBe(header);
    expect(said("::ffff:192.0.2.7", header, "192.0.2.7")).toBe(header);
    expect(said("2001:db8::7", header, "2001:db8::/32")).toBe(header);
    expect(said("fe80::7%eth0", header, "fe80::/10")).toBe(header);
    // Whoever has gone cannot be trusted any more.
    expect(said(undefined, header, "0.0.0.0/0")).toBe("?");
  });

  test("[A6u] is found from the end of a chain, where the nearest proxy wrote, as far as each is trusted", () => {
    const trusted = "10.0.0.0/8, 2001:db8::/32";
    for (const [header, is] of [
      ["203.0.113.5", "203.0.113.5"],
      ["203.0.113.5, 10.0.0.3", "203.0.113.5"],
      ["203.0.113.5,10.0.0.3,  10.0.0.2", "203.0.113.5"],
      ["1.1.1.1, 203.0.113.5, 10.0.0.3", "203.0.113.5"],
      ["10.9.9.9, 203.0.113.5, 10.0.0.3", "203.0.113.5"],
      ["203.0.113.5, 2001:db8::3", "203.0.113.5"],
      ["203.0.113.5, [2001:db8::3]:443", "203.0.113.5"],
      ["203.0.113.5:51000, 10.0.0.3:80", "203.0.113.5"],
      ["::ffff:203.0.113.5", "203.0.113.5"],
      ["2001:DB9::5", "2001:db9::5"],
      // All of them are ours: the first one is a caller in our own network.
      ["10.0.0.4, 10.0.0.3", "10.0.0.4"],
    ] as const)
      expect(said("10.0.0.1", header, trusted), header).toBe(is);
  });

  test("[A6v] is not made of garbage, which ends the chain where it stands", () => {
    for (const garbage of [
      "",
      " ",
      ",",
      "unknown",
      "localhost",
      "203.0.113",
      "203.0.113.5.6",
      "203.0.113.256",
      "0x7f.1",
      "203.0.113.5/24",
      "for=203.0.113.5",
      "[::1",
      "http://203.0.113.5",
      "203.0.113.5 203.0.113.6",
      "<script>",
      "203.0.113.5:99999999",
      "x".repeat(10_000),
    ]) {
      expect(said("10.0.0.1", garbage, "10.0.0.0/8"), garbage).toBe("10.0.0.1");
      expect(said("10.0.0.1", `203.0.113.5, ${garbage}`, "10.0.0.0/8"), garbage).toBe("10.0.0.1");
      expect(said("10.0.0.1", `${garbage}, 10.0.0.2`, "10.0.0.0/8"), garbage).toBe("10.0.0.2");
      expect(said("10.0.0.1", `${garbage}, 203.0.113.5`, "10.0.0.0/8"), garbage).toBe("203.0.113.5");
    }
    // However long the header is, so many proxies are believed.
    const chain = `203.0.113.5,${"10.0.0.2,".repeat(5_000)}10.0.0.2`;
    expect(said("10.0.0.1", chain, "10.0.0.0/8")).toBe("10.0.0.2");
  });

  test("[A6w] is counted whole for IPv4, and by its /64 for IPv6", () => {
    for (const [address, bucket] of [
      ["192.0.2.7", "192.0.2.7"],
      ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
      ["2001:db8:1:2::6", "2001:db8:1:2::/64"],
      ["2001:db8:1:2::", "2001:db8:1:2::/64"],
      ["2001:db8::6", "2001:db8:0:0::/64"],
      ["::1", "0:0:0:0::/64"],
      ["::", "0:0:0:0::/64"],
      ["?", "?"],
    ] as const)
      expect(addressBucket(address), address).toBe(bucket);
    expect(addressBucket(said("2001:db8:1:2::6"))).toBe(addressBucket(said("2001:db8:1:2:ffff::")));
    expect(addressBucket(said("2001:db8:1:2::6"))).not.toBe(addressBucket(said("2001:db8:1:3::6")));
  });
});

describe("where it is shown", () => {
  let direct: Server;
  let behind: Server;

  beforeAll(async () => {
    direct = await startServer();
    behind = await startServer({ trustedProxies: "127.0.0.0/8" });
  });

  afterAll(() => Promise.all([direct.close(), behind.close()]));

  const headers = { "x-forwarded-for": "198.51.100.1, 203.0.113.5" };

  /** Owner labels that the server itself makes: of the original routes, of a lease, and of a session. */
  async function ownersAt(server: Server): Promise<readonly string[]> {
    const api = new Api(server);
    const { sessionId } = (await api.post("/sessions", {}, { headers })).body;
    await ask(server, { path: "/lock", body: callBody("lock", "original"), headers });
    await api.acquire("leased", {}, { headers });
    await api.acquire("of a session", { sessionId }, { headers });
    const shown = await Promise.all(["original", "leased", "of a session"].map((name) => api.inspect(name)));
    return shown.map(({ holders }) => holders[0].owner);
  }

  test("[A6x] a header from a peer that is not trusted changes nothing", async () => {
    const [original, leased, session] = await ownersAt(direct);
    expect(original).toMatch(/^http:127\.0\.0\.1:\d+$/);
    expect(leased).toMatch(/^http:127\.0\.0\.1:\d+$/);
    expect(session).toBe("http:127.0.0.1");
  });

  test("[A6y] behind a trusted proxy it is the caller's own, without the port of the proxy", async () => {
    expect(await ownersAt(behind)).toEqual(Array(3).fill("http:203.0.113.5"));
  });

  test("[A6z] in the audit log, too", async () => {
    const store = new ManualStore();
    const parts = await startParts({ store, trustedProxies: "127.0.0.1" });
    store.isManual = true;
    const answer = new Api(parts).call("PUT", "/settings", { lockDelayMs: 5 }, { headers });
    const commit = await store.nextCommit();
    const record = commit.batch.find(({ key }) => key.startsWith("default/audit/"))!;
    expect(decodeRecord({ key: record.key, value: record.value! })).toMatchObject({
      who: "root key from 203.0.113.5",
    });
    store.isManual = false;
    commit.succeed();
    expect((await answer).status).toBe(200);
    await parts.close();
  });

  test("[A6zm] wrong keys are counted by it: an IPv6 caller is one in all of its /64, and others are others", async () => {
    const guess = (address: string) =>
      ask(behind, {
        method: "GET",
        path: "/v1/services",
        key: "wrong",
        headers: { "x-forwarded-for": address },
      });
    let count = 0;
    while ((await guess(`2001:db8:1:2::${(++count).toString(16)}`))!.status === 401)
      expect(count).toBeLessThan(100);
    expect((await guess("2001:db8:1:2:ffff::1"))!.status).toBe(429);
    expect((await guess("2001:db8:1:3::1"))!.status).toBe(401);
    expect((await guess("203.0.113.9"))!.status).toBe(401);
    // Where no proxy is trusted, a header makes nobody somebody else.
    const spoof = (address: string) =>
      ask(direct, {
        method: "GET",
        path: "/v1/services",
        key: "wrong",
        headers: { "x-forwarded-for": address },
      });
    count = 0;
    while ((await spoof(`203.0.113.${++count}`))!.status === 401) expect(count).toBeLessThan(100);
    expect((await spoof("198.51.100.1"))!.status).toBe(429);
  });

  test("[A6za] nothing else in the server asks where a caller is", () => {
    const sources = fileURLToPath(new URL("../../src", import.meta.url));
    const files = readdirSync(sources, { recursive: true, encoding: "utf8" }).filter((file) =>
      file.endsWith(".ts"),
    );
    const asking = files.filter((file) =>
      /\bremoteAddress\b|\brequest\.ips?\b|[{,] ips?\b|"x-forwarded-for"/.test(
        readFileSync(join(sources, file), "utf8"),
      ),
    );
    // The listener says in the log which handshake failed, before there is a request.
    expect(asking.sort()).toEqual(["http/addresses.ts", "http/listener.ts"].map((file) => join(file)));
  });
});
