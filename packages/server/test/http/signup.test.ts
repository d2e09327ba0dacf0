import LockDB from "lockdb";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { ask, isRefusal, startServer } from "./server.js";

const FORM = { "content-type": "application/x-www-form-urlencoded" };

let server: Server;

beforeEach(async () => {
  server = await startServer({ signup: true });
});

afterEach(() => server.close());

/** What the page's form sends. */
function send(email: string, headers: Readonly<Record<string, string>> = {}) {
  const body = new URLSearchParams({ email }).toString();
  return answerOf({ method: "POST", path: "/signup", key: null, headers: { ...FORM, ...headers }, body });
}

async function answerOf(parts: Parameters<typeof ask>[1]) {
  return (await ask(server, parts))!;
}

/** As somebody reads it. */
function shown(html: string): string {
  const plain = html.replace(/<style>[\s\S]*?<\/style>|<[^>]*>/g, "");
  return plain.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(code)).replaceAll("&amp;", "&");
}

function keyIn(html: string): string {
  return / id="key"[^>]* value="(ldb_\w+)"/.exec(html)![1]!;
}

/** What the commands on the page put into the environment. */
function environmentIn(html: string): Record<string, string> {
  return Object.fromEntries(
    [...shown(html).matchAll(/^export (\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]),
  );
}

describe("the sign-up page", () => {
  test("[A4sa] leads from its form to a lock with the key that it shows", async () => {
    const { body: form } = await answerOf({ method: "GET", path: "/signup", key: null });
    const [, method, action] = /<form method="(\w+)" action="([^"]+)"/.exec(form)!;
    const [, field] = /<input [^>]*name="(\w+)"/.exec(form)!;
    const answer = await fetch(new URL(action!, server.url), {
      method: method!,
      body: new URLSearchParams({ [field!]: "dev@example.com" }),
    });
    expect(answer.status).toBe(201);
    const html = await answer.text();
    const env = environmentIn(html);
    expect(env).toEqual({
      LOCKDB_SERVER_URL: server.url,
      LOCKDB_API_KEY: keyIn(html),
      LOCKDB_SERVICE_ID: "demo",
    });
    const locker = new LockDB(env.LOCKDB_SERVICE_ID!, {
      apiKey: env.LOCKDB_API_KEY!,
      serverUrl: env.LOCKDB_SERVER_URL!,
    });
    expect(await locker.lock("teapot")).toBe(true);
    expect(await locker.check("teapot")).toBe(true);
    await locker.close();
  });

  test("[A4sb] tells the end, the limits, and that the key is shown only now", async () => {
    const { status, body } = await send("dev@example.com");
    expect(status).toBe(201);
    const text = shown(body);
    expect(text).toMatch(/It ends on \d{1,2} \w+ \d{4}, in 30 days\. Your account is acc_\w+\./);
    expect(text).toContain("It is shown only now");
    const key = keyIn(body);
    const self = JSON.parse((await answerOf({ method: "GET", path: "/v1/self", key })).body);
    expect(self.account).toMatchObject({ email: "dev@example.com", daysLeft: 30 });
    expect(body).toContain(`<time datetime="${self.account.trialEndsAt}">`);
    for (const limit of Object.values<number>(self.account.limits))
      expect(text).toContain(`${limit.toLocaleString("en")} `);
    expect(self.key.scopes).toEqual(["lock", "read", "force", "admin"]);
  });

  test("[A4sc] nobody keeps the answer, and no address leads to it again", async () => {
    const { body, headers } = await send("dev@example.com");
    const key = keyIn(body);
    expect(headers).toMatchObject({ "cache-control": "no-store", "referrer-policy": "no-referrer" });
    expect(headers.location).toBeUndefined();
    const links = [...body.matchAll(/(?:href|action|src)="([^"]*)"/g)].map(([, target]) => target);
    expect(links).toEqual(["/docs", "/docs#createKey"]);
    const again = await answerOf({ method: "GET", path: "/signup", key: null });
    expect(again.body).not.toContain(key);
    expect(again.body).toContain("<form ");
  });

  test("[A4sd] has no script, takes nothing from elsewhere, and sends its form only here", async () => {
    const pages = [
      await answerOf({ method: "GET", path: "/signup", key: null }),
      await send("dev@example.com"),
      await send("nobody"),
    ];
    for (const { body, headers } of pages) {
      expect(body).not.toMatch(/<script|<link|<img|<iframe|javascript:|\son\w+=|\sstyle=/i);
      expect(headers["content-security-policy"]).toMatch(
        /^default-src 'none'; style-src 'sha256-[^']+'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'$/,
      );
      expect(headers["x-content-type-options"]).toBe("nosniff");
    }
  });

  test("[A4se] can be used without eyes: language, headings, labels, and what is wrong beside its field", async () => {
    for (const { body } of [await send("dev@example.com"), await send("nobody")]) {
      expect(body).toMatch(/<html lang="en">/);
      expect(body.match(/<h1>/g)).toHaveLength(1);
      for (const [, id] of body.matchAll(/<input id="(\w+)"/g)) expect(body).toContain(`<label for="${id}">`);
      for (const [, ids] of body.matchAll(/aria-(?:describedby|labelledby)="([^"]+)"/g))
        for (const id of ids!.split(" ")) expect(body).toContain(`id="${id}"`);
    }
    const { body } = await send("nobody");
    expect(body).toMatch(/<title>Error: /);
    expect(body).toMatch(/id="email-fault" role="alert"/);
    expect(body).toMatch(/<input id="email"[^>]* aria-invalid="true" autofocus/);
  });
});

describe("a form that is not taken", () => {
  test.each(["nobody", "", "a@b@c", 'x"><b>@', "a b@example.com", `${"a".repeat(255)}@x`])(
    "[A4sf] a bad address is told with the form, and what was typed is text: %j",
    async (email) => {
      const { status, body } = await send(email);
      expect(status).toBe(400);
      expect(shown(body)).toContain("Enter an email address");
      const [, value] = /<input id="email"[^>]* value="([^"]*)">/.exec(body)!;
      expect(shown(value!)).toBe(email);
    },
  );

  test.each([
    ["nothing", ""],
    ["JSON", '{"email":"dev@example.com"}'],
    ["two addresses", "email=a@example.com&email=b@example.com"],
    ["bytes that are no text", Buffer.from("email=\xff@example.com", "latin1")],
  ])("[A4sg] %s in place of a form is no address", async (_, body) => {
    const answer = await answerOf({ method: "POST", path: "/signup", key: null, headers: FORM, body });
    expect(answer.status).toBe(400);
    expect(answer.headers["content-type"]).toBe("text/html; charset=utf-8");
  });

  test("[A4sh] a body that is too large is refused with a page", async () => {
    const { status, headers } = await send(`${"a".repeat(5_000)}@example.com`);
    expect([status, headers["content-type"]]).toEqual([413, "text/html; charset=utf-8"]);
  });

  test("[A4si] page and API count together: the sixth an hour is told when it may come again", async () => {
    const overApi = () =>
      answerOf({ path: "/v1/signup", key: null, body: JSON.stringify({ email: "dev@example.com" }) });
    for (const begin of [overApi, overApi, () => send("a@b"), () => send("a@b"), overApi])
      expect((await begin()).status).toBe(201);
    const page = await send("dev@example.com");
    const api = await overApi();
    expect([page.status, api.status]).toEqual([429, 429]);
    for (const { headers } of [page, api]) {
      expect(Number(headers["retry-after"])).toBeGreaterThan(3_000);
      expect(Number(headers["retry-after"])).toBeLessThanOrEqual(3_600);
    }
    expect(shown(page.body)).toMatch(/The trial has not begun\. Five trials an hour .* in (60|59) minutes\./);
    expect(page.body).toContain('value="dev@example.com"');
    expect(keyless(page.body)).toBe(true);
  });

  test("[A4sj] where there are too many accounts, it says so and whom to ask", async () => {
    await server.close();
    server = await startServer({ signup: true, accountsMax: 2 });
    expect((await send("a@b")).status).toBe(201);
    const { status, body, headers } = await send("c@d");
    expect([status, headers["retry-after"]]).toEqual([429, "5"]);
    expect(shown(body)).toContain("There are too many accounts. Ask the operator.");
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
  ])("[A4sk] a page of another site begins no trial, by form or API: %s", async (_, headersOf) => {
    const headers = headersOf();
    const page = await send("dev@example.com", headers);
    expect(page.status).toBe(403);
    expect(shown(page.body)).toContain("This came from a page of another site.");
    const body = JSON.stringify({ email: "dev@example.com" });
    const api = await answerOf({ path: "/v1/signup", key: null, headers, body });
    expect(api.status).toBe(403);
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

describe("the address on the page", () => {
  test("[A4sm] is the one that the browser is at, with its scheme", async () => {
    const { body } = await send("a@b", { origin: "https://locks.example.com", host: "locks.example.com" });
    expect(environmentIn(body).LOCKDB_SERVER_URL).toBe("https://locks.example.com");
  });

  test.each([
    "$(reboot).example.com",
    "x;reboot",
    "a`b`",
    '"><script>',
    "x y",
    "a&b",
    "x'y",
    "",
    "a/b",
    "ü.example",
  ])("[A4sn] is not shown when a shell or a browser could take it for more: %j", async (host) => {
    const { status, body } = await send("a@b", { host });
    // Some are no HTTP at all.
    if (status === 400) return;
    expect(status).toBe(201);
    expect(environmentIn(body).LOCKDB_SERVER_URL).toBe("https://address-of-this-server");
    expect(body).not.toMatch(/reboot|<script>/);
  });
});

describe("the original client at a wrong address", () => {
  test("[C2sa] nothing at /signup looks like a lock to it", async () => {
    const body = JSON.stringify({ serviceId: "reports", eventName: "lock", lockName: "a" });
    for (const path of ["/signup", "/signup/", "/signup?x", "/signup/lock"])
      expect(isRefusal(await answerOf({ path, body })), path).toBe(true);
    for (const [, answer] of Object.entries({
      made: await send("a@b"),
      large: await send("a".repeat(9_999)),
    }))
      expect(() => JSON.parse(answer.body)).toThrow();
  });
});

describe("without --signup", () => {
  test("[A4so] page, form and API are 404 as any unknown address", async () => {
    await server.close();
    server = await startServer();
    const unknown = await answerOf({ method: "GET", path: "/nothing-here", key: null });
    expect(await answerOf({ method: "GET", path: "/signup", key: null })).toMatchObject({
      status: 404,
      body: unknown.body,
    });
    const body = JSON.stringify({ email: "dev@example.com" });
    for (const path of ["/signup", "/v1/signup"])
      expect((await answerOf({ path, key: null, body })).status, path).toBe(404);
    const { body: document } = await answerOf({ method: "GET", path: "/openapi.json", key: null });
    expect(document).not.toContain("/signup");
  });
});

function keyless(html: string): boolean {
  return !/ldb_\w{20}/.test(html);
}
