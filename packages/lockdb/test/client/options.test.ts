import LockDB, { LockDBError, UnauthorizedError } from "lockdb";
import { describe, expect, test, vi } from "vitest";
import { errorOf, type Options, realServer } from "./real.js";

const real = realServer();

const CIRCLE: { self?: object } = {};
CIRCLE.self = CIRCLE;
/** Some of them cannot be sent: the caller is told, and nobody else of the same frame notices. */
const NO_WEBHOOKS: readonly (readonly [what: string, url: unknown])[] = [
  ["no URL", "x.test/hook"],
  ["empty", ""],
  ["a number", 7],
  ["no JSON", 10n],
  ["a circle", CIRCLE],
  ["a symbol", Symbol("hook")],
  ["longer than a frame", `https://x.test/${"a".repeat(2_000_000)}`],
];

describe("what is refused before it is sent", () => {
  const never = () => expect.unreachable("fn ran");
  const refused: [what: string, ask: (locker: LockDB) => unknown, message: RegExp][] = [
    ["an empty name", (locker) => locker.acquire(""), /name must not be empty/],
    ["a name that is no string", (locker) => locker.acquire(7 as never), /name or a list/],
    ["no name", (locker) => locker.lock(undefined as never), /name or a list/],
    ["an empty list", (locker) => locker.lock([]), /name or a list/],
    ["a list with a bad name", (locker) => locker.unlock(["fine", null as never]), /must be a string/],
    ["no names", (locker) => locker.acquire([]), /name or a list/],
    ["65 names", (locker) => locker.acquire(Array.from({ length: 65 }, (_, n) => `${n}`)), /at most 64/],
    ["a name twice", (locker) => locker.acquire(["a", { name: "a" }]), /each lock once, unlike "a"/],
    ["a lock of a list that is none", (locker) => locker.acquire([7 as never]), /a name, or \{ name/],
    ["a typo in a list", (locker) => locker.acquire([{ name: "a", permit: 2 } as never]), /"permit" is not/],
    [
      "a mode that is none",
      (locker) => locker.acquire("a", { mode: "read" as never }),
      /"exclusive" or "shared"/,
    ],
    ["a mode and permits", (locker) => locker.acquire("a", { mode: "shared", permits: 2 }), /not both/],
    ["no permits", (locker) => locker.acquire("a", { permits: 0 }), /Permits are a whole number/],
    ["half a permit", (locker) => locker.acquire("a", { permits: 1.5 }), /Permits are a whole number/],
    ["a weight alone", (locker) => locker.acquire("a", { weight: 2 }), /part of permits/],
    ["a weight that is too much", (locker) => locker.acquire("a", { permits: 2, weight: 3 }), /weight is/],
    ["a lease that is none", (locker) => locker.acquire("a", { within: {} as never }), /within is a lease/],
    ["reentrant as text", (locker) => locker.acquire("a", { reentrant: "yes" as never }), /true or false/],
    [
      "a prefix that is none",
      (locker) =>
        locker
          .list({ prefix: 7 as never })
          [Symbol.asyncIterator]()
          .next(),
      /prefix/i,
    ],
    ["an unknown option of watch", (locker) => locker.watch({ names: [] } as never).next(), /"names" is not/],
    ["a leader without work", (locker) => locker.lead("a", {}, undefined as never), /needs a function/],
    ["a control character", (locker) => locker.check("a\nb"), /control characters/],
    ["a lone surrogate", (locker) => locker.inspect("a\ud800"), /well-formed/],
    ["a name that is too long", (locker) => locker.check("€".repeat(171)), /512 bytes/],
    [
      "a wait that is no time",
      (locker) => locker.acquire("a", { wait: "soon" as never }),
      /wait must be milli/,
    ],
    ["a negative wait", (locker) => locker.acquire("a", { wait: -1 }), /wait must be between/],
    ["a wait of NaN", (locker) => locker.acquire("a", { wait: Number.NaN }), /wait must be/],
    ["a hold too short to be trusted", (locker) => locker.acquire("a", { maxHold: 249 }), /maxHold .*250ms/],
    ["a detached hold of 0", (locker) => locker.acquire("a", { detached: 0 }), /detached .*250ms/],
    [
      "two ends",
      (locker) => locker.acquire("a", { detached: "1m", maxHold: "1m" }),
      /own end. Leave maxHold out/,
    ],
    [
      "an unknown option",
      (locker) => locker.acquire("a", { timeout: 5 } as never),
      /"timeout" is not supported/,
    ],
    ["options that are none", (locker) => locker.acquire("a", 5_000 as never), /must be an object/],
    ["options that are null", (locker) => locker.tryAcquire("a", null as never), /must be an object/],
    ["a signal that is none", (locker) => locker.acquire("a", { signal: {} as never }), /AbortSignal/],
    ["metadata that is no object", (locker) => locker.acquire("a", { metadata: [] as never }), /Metadata/],
    ["nested metadata", (locker) => locker.acquire("a", { metadata: { a: {} } as never }), /Metadata values/],
    ["long metadata", (locker) => locker.acquire("a", { metadata: { a: "x".repeat(1_024) } }), /1 KiB/],
    ["no function", (locker) => locker.withLock("a", {}, undefined as never), /needs a function/],
    ["a bad option of withLock", (locker) => locker.withLock("a", { wait: -1 }, never), /wait/],
    ["a token that is none", (locker) => locker.release("a", 1.5), /token is an integer/],
    ["a token as text", (locker) => locker.release("a", "7" as never), /token is an integer/],
    [
      "an expiration of 0",
      (locker) => locker.lock("a", { lockExpirationInSeconds: 0 }),
      /lockExpirationInSeconds/,
    ],
    [
      "an expiration as text",
      (locker) => locker.lock("a", { lockExpirationInSeconds: "5" as never }),
      /lockExpirationInSeconds/,
    ],
    ["an endless one", (locker) => locker.lock("a", { lockExpirationInSeconds: Infinity }), /lockExpiration/],
    ["a bad time for unlock", (locker) => locker.unlock("a", { waitTimeoutInMs: -1 }), /waitTimeoutInMs/],
    ["a typo", (locker) => locker.lock("a", { waitTimoutInMs: 1 } as never), /"waitTimoutInMs" is not supp/],
    ...NO_WEBHOOKS.map(([what, url]): [string, (locker: LockDB) => unknown, RegExp] => [
      `a webhook that is ${what}`,
      (locker) => locker.lock("a", { unlockWebhookUrl: url as never }),
      /a whole URL of at most 1,024 bytes/,
    ]),
    [
      "a webhook that nobody can call",
      (locker) => locker.lock("a", { unlockWebhookUrl: "ftp://x.test/hook" }),
      /must be a whole URL that begins with https/,
    ],
    [
      "a webhook that this server may not call",
      (locker) => locker.lock("a", { unlockWebhookUrl: "http://10.0.0.1/hook" }),
      /no public address/,
    ],
  ];

  for (const [what, ask, message] of refused) {
    test(`[I1au] ${what} is INVALID, and says what would be right`, async () => {
      const error = await errorOf(Promise.resolve().then(() => ask(real.client())));
      expect(error).toBeInstanceOf(LockDBError);
      expect(error).toMatchObject({ code: "INVALID", retryable: false });
      expect(error.message).toMatch(message);
    });
  }

  test("[I1ax] a webhook that would be lost on the way is refused, not ignored", async () => {
    const lock = (url: unknown) => real.client().lock("a", { unlockWebhookUrl: url as never });
    for (const url of [Symbol("hook"), () => "https://x.test/"])
      expect((await errorOf(lock(url))).code).toBe("INVALID");
  });

  test("[I1av] withLock takes undefined for its options, as callers in JavaScript pass it", async () => {
    expect(await real.client().withLock(real.name, undefined as never, () => 7)).toBe(7);
  });

  test("[N1c] `__proto__` and the like are ordinary names, and a name of 512 bytes is one", async () => {
    const locker = real.client();
    for (const odd of ["__proto__", "constructor", "toString", " ", "€".repeat(170), "a/b%20c"]) {
      expect(await locker.lock(odd)).toBe(true);
      expect(await locker.unlock(odd)).toBe(true);
    }
  });
});

describe("the constructor", () => {
  const key = { apiKey: "a-key-of-some-length" };

  test("[N2a] a service id is 1 to 64 of A-Z a-z 0-9 . _ -, and begins with a letter or digit", () => {
    for (const id of ["a", "9", "A.b_c-d", "x".repeat(64)])
      expect(new LockDB(id, key)).toBeInstanceOf(LockDB);
    for (const id of ["", "-a", ".a", "a b", "a/b", "ä", "x".repeat(65), 7, null, {}]) {
      expect(() => new LockDB(id as never, key)).toThrow(expect.objectContaining({ code: "INVALID" }));
    }
  });

  test("[I1aw] options that could not work are INVALID at once", () => {
    const wrong: [Options, RegExp][] = [
      [{ ...key, lease: 999 }, /lease must be from 1s to 1h/],
      [{ ...key, lease: "2h" }, /lease must be from 1s to 1h/],
      [{ ...key, lease: "x" as never }, /lease must be/],
      [{ ...key, owner: "" }, /owner must not be empty/],
      [{ ...key, owner: "a\nb" }, /control/],
      [{ ...key, serverUrl: "ws://x.test" }, /begins with http/],
      [{ ...key, serverUrl: "localhost:5625" }, /begins with http/],
      [{ ...key, serverUrl: ["http://x.test", "http://"] }, /begins with http/],
      [{ ...key, serverUrl: "http://x.test/?a=1" }, /no \? or #/],
      [{ ...key, serverUrl: 5625 as never }, /address or a list/],
      [{ apiKey: "key-with-a-line-end\n" }, /no spaces, line ends/],
      [{ ...key, apikey: "x" } as never, /"apikey" is not supported/],
      [null as never, /must be an object/],
    ];
    for (const [options, message] of wrong) {
      const make = () => new LockDB("reports", options);
      expect(make).toThrow(LockDBError);
      expect(make).toThrow(
        expect.objectContaining({ code: "INVALID", message: expect.stringMatching(message) }),
      );
    }
  });

  test("[I1ax] without a key it is UNAUTHORIZED, without a service INVALID, and both say where they may come from", () => {
    expect(() => new LockDB("reports")).toThrow(UnauthorizedError);
    expect(() => new LockDB("reports", { apiKey: "" })).toThrow(/LOCKDB_API_KEY/);
    expect(() => new LockDB(undefined, key)).toThrow(/LOCKDB_SERVICE_ID/);
  });

  test("[I1ay] what is left out comes from the environment", async () => {
    vi.stubEnv("LOCKDB_SERVICE_ID", "from-env");
    vi.stubEnv("LOCKDB_API_KEY", real.server.rootKey);
    vi.stubEnv("LOCKDB_SERVER_URL", `http://127.0.0.1:1, ${real.server.url}`);
    const locker = new LockDB();
    real.closing(locker);
    await locker.lock(real.name);
    for (const variable of ["SERVICE_ID", "API_KEY", "SERVER_URL"])
      vi.stubEnv(`LOCKDB_${variable}`, undefined);
    expect(await real.client().check(real.name)).toBe(false);
    expect(await locker.check(real.name)).toBe(true);
  });

  test("[I1az] its service is the unit of isolation: the same name in another one is another lock", async () => {
    const other = new LockDB("invoices", { apiKey: real.server.rootKey, serverUrl: real.server.url });
    real.closing(other);
    await real.client().acquire(real.name);
    expect(await other.tryAcquire(real.name)).not.toBeNull();
  });
});
