import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { ask, isRefusal, startServer } from "./server.js";

let server: Server;

beforeEach(async () => {
  server = await startServer({ signup: true });
});

afterEach(() => server.close());

function send(email: string, headers: Readonly<Record<string, string>> = {}) {
  return answerOf({ path: "/v1/signup", key: null, headers, body: JSON.stringify({ email }) });
}

async function answerOf(parts: Parameters<typeof ask>[1]) {
  return (await ask(server, parts))!;
}

describe("signing up", () => {
  test.each(["nobody", "", "a@b@c", 'x"><b>@', "a b@example.com", `${"a".repeat(255)}@x`])(
    "[A4sf] a bad address is refused: %j",
    async (email) => {
      const { status, body } = await send(email);
      expect([status, JSON.parse(body).error.code]).toEqual([400, "INVALID"]);
    },
  );

  test("[A4si] the sixth an hour is told when it may come again", async () => {
    for (let count = 0; count < 5; count++) expect((await send("dev@example.com")).status).toBe(201);
    const { status, headers, body } = await send("dev@example.com");
    expect(status).toBe(429);
    expect(Number(headers["retry-after"])).toBeGreaterThan(3_000);
    expect(Number(headers["retry-after"])).toBeLessThanOrEqual(3_600);
    expect(body).toContain("Five trials an hour");
    expect(body).not.toMatch(/ldb_\w{20}/);
  });

  test("[A4sj] where there are too many accounts, it says so and whom to ask", async () => {
    await server.close();
    server = await startServer({ signup: true, accountsMax: 2 });
    expect((await send("a@b")).status).toBe(201);
    const { status, body, headers } = await send("c@d");
    expect([status, headers["retry-after"]]).toEqual([429, "5"]);
    expect(body).toContain("There are too many accounts. Ask the operator.");
  });

  test("[A4sp] /signup leads to the screen of the web page, also below a path", async () => {
    for (const [path, location] of [
      ["/signup", "./#/signup"],
      ["/signup/", "../#/signup"],
    ])
      expect(await answerOf({ method: "GET", path: path!, key: null })).toMatchObject({
        status: 303,
        headers: { location },
      });
  });

  const host = () => new URL(server.url).host;
  test.each([
    ["the browser says so", () => ({ "sec-fetch-site": "cross-site" })],
    ["it is of a neighbour", () => ({ "sec-fetch-site": "same-site" })],
    ["its origin is another", () => ({ origin: "https://evil.example", host: host() })],
    ["its port is another", () => ({ origin: "http://127.0.0.1:1", host: host() })],
    ["it hides its origin", () => ({ origin: "null", host: host() })],
    [
      "its origin only begins like this server",
      () => ({ origin: `http://${host()}.evil.example`, host: host() }),
    ],
  ])("[A4sk] a page of another site begins no trial: %s", async (_, headersOf) => {
    const { status, body } = await send("dev@example.com", headersOf());
    expect(status).toBe(403);
    expect(body).toContain("This came from a page of another site.");
    const { accounts } = JSON.parse((await answerOf({ method: "GET", path: "/v1/accounts" })).body);
    expect(accounts).toHaveLength(1);
  });

  test.each([
    [
      "the browser says that it is this server's own",
      () => ({ "sec-fetch-site": "same-origin", origin: "null" }),
    ],
    [
      "TLS ends before it comes here",
      () => ({ origin: "https://locks.example.com", host: "locks.example.com" }),
    ],
    ["it is no browser", () => ({})],
  ])("[A4sl] a page of this server begins one: %s", async (_, headersOf) => {
    expect((await send("dev@example.com", headersOf())).status).toBe(201);
  });
});

describe("the original client at a wrong address", () => {
  test("[C2sa] nothing at /signup looks like a lock to it", async () => {
    const body = JSON.stringify({ serviceId: "reports", eventName: "lock", lockName: "a" });
    for (const path of ["/signup", "/signup/", "/signup?x", "/signup/lock"])
      expect(isRefusal(await answerOf({ path, body })), path).toBe(true);
  });
});

describe("without --signup", () => {
  test("[A4so] the address and the API are 404 as any unknown address", async () => {
    await server.close();
    server = await startServer();
    const unknown = await answerOf({ method: "GET", path: "/nothing-here", key: null });
    expect(await answerOf({ method: "GET", path: "/signup", key: null })).toMatchObject({
      status: 404,
      body: unknown.body,
    });
    expect((await send("dev@example.com")).status).toBe(404);
    const { body: document } = await answerOf({ method: "GET", path: "/openapi.json", key: null });
    expect(document).not.toContain("/signup");
  });
});
