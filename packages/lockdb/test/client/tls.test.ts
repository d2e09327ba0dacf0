import { type Server, serve } from "@lockdb/server";
import LockDB, { type LockDBError } from "lockdb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CA, certFile, keyFile, showing, TLS } from "../../../server/test/tls/files.js";
import { errorOf, type Options, realServer } from "./real.js";

const START = { port: 0, store: "memory", logLevel: "silent" } as const;
const plain = realServer();

let server: Server;
let strict: Server;
let elsewhere: Server;

beforeAll(async () => {
  server = await serve({ ...START, ...TLS });
  strict = await serve({ ...START, ...TLS, tlsClientCa: certFile("ca") });
  elsewhere = await serve({ ...START, tlsCert: certFile("elsewhere"), tlsKey: keyFile("elsewhere") });
});

afterAll(() => Promise.all([server, strict, elsewhere].map((each) => each.close())));

const clientOf = ({ url, rootKey }: Server, tls?: Options["tls"]) =>
  plain.closing(new LockDB("reports", { serverUrl: url, apiKey: rootKey, ...(tls ? { tls } : {}) }));

/** What a client is told that cannot connect. */
async function trouble(target: Server, tls?: Options["tls"]): Promise<LockDBError> {
  const error = await errorOf(clientOf(target, tls).acquire("a", { wait: 0 }));
  expect(error).toMatchObject({ name: "ConnectionError", code: "CONNECTION", retryable: true });
  return error;
}

describe("a client of a server with TLS", () => {
  test("[I1ta] locks and releases at an https address, with the CA as text or as bytes", async () => {
    for (const ca of [CA, CA.toString(), new Uint8Array(CA)]) {
      const locker = clientOf(server, { ca });
      expect(await locker.withLock("report", ({ token }) => token)).toBeGreaterThan(0);
      expect(await locker.lock("old")).toBe(true);
      expect(await locker.unlock("old")).toBe(true);
    }
  });

  test("[I1tb] shows its certificate where the server wants one", async () => {
    const locker = clientOf(strict, showing("client"));
    expect(await locker.withLock("report", ({ token }) => token)).toBeGreaterThan(0);
  });

  test("[I1tc] that it does not trust is told why, and what to do", async () => {
    const cases = [
      [
        server,
        undefined,
        /verify.*: the server's certificate is signed by nobody that is trusted here; give its CA/,
      ],
      [server, { ca: showing("stranger").cert }, /signed by nobody that is trusted here.*LOCKDB_CA_FILE/],
      [elsewhere, { ca: CA }, /not in the cert's list.*is for another name/],
      [strict, { ca: CA }, /wants? a client certificate.*LOCKDB_CERT_FILE/],
      [strict, showing("stranger"), /wants? a client certificate/],
      [
        { ...plain.server, url: plain.server.url.replace("http", "https") },
        { ca: CA },
        /there the server speaks plain text; say http:/,
      ],
    ] as const;
    const errors = await Promise.all(cases.map(([target, tls]) => trouble(target, tls)));
    for (const [at, [, , message]] of cases.entries()) expect(errors[at]!.message).toMatch(message);
  });

  test("[I1td] refuses certificates that are none when it is made, not when it connects", () => {
    const { cert, key } = showing("client");
    for (const [tls, message] of [
      [{ ca: "nothing" }, /^tls: ca is no certificate in PEM form/],
      [{ ca: `${CA}\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----` }, /not all of it is/],
      [{ ca: certFile("ca") }, /^tls: ca is no certificate in PEM form/],
      [{ cert }, /go together/],
      [{ key }, /go together/],
      [{ cert: key, key }, /^tls: cert is no certificate/],
      [{ cert, key: showing("stranger").key }, /^tls: cert and key cannot be used together/],
      [{ cert, key: cert }, /^tls: cert and key cannot be used together/],
      [{ ca: 5 }, /^tls: ca must be text or bytes/],
      [{ pfx: "x" }, /"pfx" is not supported/],
      [null, /must be an object/],
    ] as const) {
      const make = () => new LockDB("reports", { apiKey: "k", tls: tls as never });
      expect(make).toThrow(message);
      expect(make).toThrow(expect.objectContaining({ code: "INVALID" }));
    }
  });
});
