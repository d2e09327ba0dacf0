import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Webhook } from "standardwebhooks";
import { describe, expect, test } from "vitest";
import { newSecret, signedHeaders } from "../../src/webhooks/signature.js";

const body = JSON.stringify({ serviceId: "reports", lockName: 'a"€😀' });

/** The headers of a message that is made now: the library refuses old ones. */
function headersOf(secrets: readonly string[], id = "msg_1", atS = Math.floor(Date.now() / 1_000)) {
  return { ...signedHeaders(secrets, { id, atS, body }) };
}

/** The code of a language in the page for those who receive webhooks. */
function codeIn(language: string, contains: string): string {
  const page = readFileSync(fileURLToPath(new URL("../../../../docs/webhooks.md", import.meta.url)), "utf8");
  const blocks = [...page.matchAll(new RegExp(`\`\`\`${language}\\n([^]*?)\`\`\``, "g"))].map(
    (match) => match[1]!,
  );
  return blocks.find((block) => block.includes(contains))!;
}

/** What was signed with the right secrets, with another, at another time, and for another body. */
function casesAt(atS: number) {
  const [secret, old, other] = [newSecret(), newSecret(), newSecret()];
  const sign = (secrets: readonly string[], signedAtS = atS) => headersOf(secrets, "msg_1", signedAtS);
  return [
    { isGood: true, secret, headers: sign([secret]), body },
    { isGood: true, secret, headers: sign([old, secret]), body },
    { isGood: true, secret, headers: sign([secret], atS - 299), body },
    { isGood: false, secret, headers: sign([other]), body },
    { isGood: false, secret, headers: sign([secret], atS - 301), body },
    { isGood: false, secret, headers: sign([secret], atS + 301), body },
    { isGood: false, secret, headers: sign([secret]), body: `${body} ` },
    { isGood: false, secret, headers: { ...sign([secret]), "webhook-id": "msg_2" }, body },
    { isGood: false, secret, headers: { ...sign([secret]), "webhook-signature": "v1," }, body },
  ];
}

describe("how receivers verify, as docs/webhooks.md says", () => {
  const atS = 1_700_000_000;

  test("[C5ct] in Node", async () => {
    const code = codeIn("js", "timingSafeEqual");
    const { isFromLockDB } = (await import(`data:text/javascript,${encodeURIComponent(code)}`)) as {
      isFromLockDB(secret: string, headers: object, body: string, nowS: number): boolean;
    };
    const found = casesAt(atS).map(({ secret, headers, body }) => isFromLockDB(secret, headers, body, atS));
    expect(found).toEqual(casesAt(atS).map(({ isGood }) => isGood));
    expect(isFromLockDB(newSecret(), {}, body, atS)).toBe(false);
  });

  test("[C5cu] in Python", (context) => {
    const cases = casesAt(atS);
    const calls = `
import json, sys
for each in json.load(sys.stdin):
    print(is_from_lockdb(each["secret"], each["headers"], each["body"].encode(), ${atS}))`;
    const python = spawnSync("python3", ["-c", codeIn("python", "def is_from_lockdb") + calls], {
      input: JSON.stringify(cases),
      encoding: "utf8",
    });
    if (python.error !== undefined) return context.skip("python3 is not installed");
    expect(python.stderr).toBe("");
    expect(python.stdout.trim().split("\n")).toEqual(cases.map(({ isGood }) => (isGood ? "True" : "False")));
  });
});

describe("signatures", () => {
  test("[C5q] are what the library of Standard Webhooks verifies", () => {
    const secret = newSecret();
    expect(new Webhook(secret).verify(body, headersOf([secret]))).toEqual(JSON.parse(body));
  });

  test("[C5r] are exactly what that library would make", () => {
    const secret = newSecret();
    const at = new Date(1_700_000_000_000);
    expect(headersOf([secret], "msg_7", 1_700_000_000)["webhook-signature"]).toBe(
      new Webhook(secret).sign("msg_7", at, body),
    );
  });

  test("[C5s] with two secrets both verify, and no third", () => {
    const [old, current, other] = [newSecret(), newSecret(), newSecret()];
    const headers = headersOf([current, old]);
    expect(headers["webhook-signature"]).toMatch(/^v1,\S{44} v1,\S{44}$/);
    for (const secret of [old, current]) expect(new Webhook(secret).verify(body, headers)).toBeTruthy();
    expect(() => new Webhook(other).verify(body, headers)).toThrow();
  });

  test("[C5t] cover the id, the time and the body", () => {
    const secret = newSecret();
    const headers = headersOf([secret]);
    const verify = (text: string, changed: object) => () =>
      new Webhook(secret).verify(text, { ...headers, ...changed });
    expect(verify(body.replace("reports", "reportz"), {})).toThrow();
    expect(verify(body, { "webhook-id": "msg_2" })).toThrow();
    expect(verify(body, { "webhook-timestamp": String(Number(headers["webhook-timestamp"]) + 1) })).toThrow();
    expect(verify(body, {})).not.toThrow();
  });

  test("[C5u] a secret is 256 random bits, in the form of Standard Webhooks", () => {
    const secrets = [newSecret(), newSecret()];
    for (const secret of secrets) {
      expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
      expect(Buffer.from(secret.slice(6), "base64").length).toBe(32);
    }
    expect(secrets[0]).not.toBe(secrets[1]);
  });
});
