import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { OPTIONS, readOptions, type ServeOptions, serve } from "../src/index.js";
import { withDefaults } from "../src/options/index.js";

const GIVEN = { LOCKDB_ROOT_KEY: "0123456789abcdef" };

describe("the option table", () => {
  test("[I6k] every option has a flag, but the key; a variable; a text that tells what it does", () => {
    for (const [name, row] of Object.entries(OPTIONS)) {
      const kebab = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
      if (row.kind === "secret") expect(row.flag).toBeNull();
      else expect(row.flag).toMatch(new RegExp(`^--${kebab}( <[a-z]+>)?$`));
      expect(row.env).toBe(`LOCKDB_${kebab.toUpperCase().replaceAll("-", "_")}`);
      expect(row.doc).toMatch(/^[A-Z].{15,}\.$/);
    }
  });

  test("[I6l] every default is what its own row would accept", () => {
    for (const row of Object.values(OPTIONS)) {
      if (row.default !== null && row.env !== "LOCKDB_DATA_DIR")
        expect(row.parse(String(row.default))).toEqual(row.default);
    }
    const { options, warnings } = readOptions({}, {});
    expect(options).toEqual(
      Object.fromEntries(Object.entries(OPTIONS).map(([name, row]) => [name, row.default])),
    );
    expect(warnings).toEqual([]);
  });

  const good: Readonly<Record<string, readonly [text: string, value: unknown][]>> = {
    host: [
      ["127.0.0.1", "127.0.0.1"],
      ["127.9.9.9", "127.9.9.9"],
      ["::1", "::1"],
      ["localhost", "localhost"],
    ],
    port: [
      ["0", 0],
      ["65535", 65_535],
      ["080", 80],
    ],
    store: [
      ["lmdb", "lmdb"],
      ["memory", "memory"],
    ],
    rootKey: [
      ["0123456789abcdef", "0123456789abcdef"],
      ["!".repeat(512), "!".repeat(512)],
    ],
    allowPlainText: [
      ["true", true],
      ["false", false],
    ],
    trustedProxies: [
      ["", ""],
      ["10.1.0.0/16, fd00::/8,192.0.2.7", "10.1.0.0/16, fd00::/8,192.0.2.7"],
    ],
    allowOrigins: [
      ["", ""],
      ["https://app.example.com, http://localhost:3000", "https://app.example.com, http://localhost:3000"],
    ],
    waitersMax: [
      ["1", 1],
      ["10000000", 10_000_000],
    ],
    holdsMax: [
      ["1", 1],
      ["100000000", 100_000_000],
    ],
    sessionsMax: [["1", 1]],
    servicesMax: [["1", 1]],
    webhookAllowPrivate: [
      ["true", true],
      ["false", false],
    ],
    webhookAllow: [
      ["", ""],
      ["10.1.0.0/16, fd00::/8,192.0.2.7", "10.1.0.0/16, fd00::/8,192.0.2.7"],
    ],
    webhooksPendingMax: [["1", 1]],
    logLevel: ["fatal", "error", "warn", "info", "debug", "silent"].map((level) => [level, level]),
  };
  const count = [
    "",
    "0",
    "-1",
    "1.5",
    "1e3",
    "0x10",
    " 5",
    "5 ",
    "5k",
    "many",
    "NaN",
    "Infinity",
    "100000001",
    "1_000",
  ];
  const bad: Readonly<Record<string, readonly string[]>> = {
    host: [""],
    port: [
      "",
      "-1",
      "65536",
      "80.5",
      "1e3",
      "0x50",
      " 80",
      "80 ",
      "http",
      "NaN",
      "Infinity",
      "５",
      "99999999999999999999",
    ],
    dataDir: [""],
    store: ["", "LMDB", "Memory", "redis", "lmdb ", "__proto__"],
    rootKey: [
      "",
      "short",
      "x".repeat(15),
      "x".repeat(513),
      "with a space inside it",
      "tab\tinside-of-the-key",
      "ümlaut-in-the-root-key",
    ],
    allowPlainText: ["", "TRUE", "yes", "1", "0", "on"],
    tlsCert: [""],
    tlsKey: [""],
    tlsClientCa: [""],
    trustedProxies: ["10.1.0.0/33", "10.1", "proxy.example.com", "*", "loopback"],
    allowOrigins: ["*", "app.example.com", "https://app.example.com/", "null", "https://a.com;https://b.com"],
    waitersMax: count,
    holdsMax: count,
    sessionsMax: count,
    servicesMax: count,
    webhookAllowPrivate: ["", "TRUE", "yes", "1"],
    webhookAllow: [
      "10.1.0.0/33",
      "fd00::/129",
      "10.1",
      "10.0.0.0-10.0.0.9",
      "example.com",
      "10.0.0.0/8;::1",
      "fe80::1%eth0",
    ],
    webhooksPendingMax: count,
    logLevel: ["", "INFO", "trace", "verbose", "5"],
  };

  test("[I6m] good values are taken from variable and flag alike", () => {
    for (const [name, texts] of Object.entries(good)) {
      const { env, flag } = OPTIONS[name as keyof ServeOptions];
      for (const [text, value] of texts) {
        expect(readOptions({}, { [env]: text }).options).toMatchObject({ [name]: value });
        if (flag !== null) expect(readOptions({ [name]: text }, {}).options).toMatchObject({ [name]: value });
      }
    }
  });

  test("[I6n] a bad value stops the start, names its source and says what would be right", () => {
    for (const [name, texts] of Object.entries(bad)) {
      const { env, flag } = OPTIONS[name as keyof ServeOptions];
      for (const text of texts) {
        expect(() => readOptions({}, { [env]: text })).toThrow(new RegExp(`^${env}: must .{8,}\\.$`, "s"));
        if (flag === null) continue;
        expect(() => readOptions({ [name]: text }, {})).toThrow(
          new RegExp(`^${flag.split(" ")[0]}: must .{8,}\\.$`, "s"),
        );
      }
    }
  });

  test("[I6o] a flag goes before a variable, a variable before the default", () => {
    expect(readOptions({ port: "1" }, { LOCKDB_PORT: "2" }).options.port).toBe(1);
    expect(readOptions({}, { LOCKDB_PORT: "2" }).options.port).toBe(2);
    expect(readOptions({}, {}).options.port).toBe(5_625);
  });

  test("[I6w] the data folder is the one that was meant where the server was started, and so are files", () => {
    const { dataDir } = readOptions({ dataDir: "some/where" }, {}).options;
    expect(isAbsolute(dataDir)).toBe(true);
    expect(dataDir.endsWith(join("some", "where"))).toBe(true);
    const flags = { tlsCert: "tls/a.pem", tlsKey: "tls/a.key", tlsClientCa: "tls/ca.pem" };
    const { tlsCert, tlsKey, tlsClientCa } = readOptions(flags, {}).options;
    expect([tlsCert, tlsKey, tlsClientCa]).toEqual(Object.values(flags).map((file) => resolve(file)));
  });
});

describe("the environment", () => {
  test("[I6x] what Kubernetes sets for a service called lockdb only warns, or not even that", () => {
    const kubernetes = {
      LOCKDB_PORT: "tcp://10.0.0.7:5625",
      LOCKDB_PORT_5625_TCP: "tcp://10.0.0.7:5625",
      LOCKDB_PORT_5625_TCP_ADDR: "10.0.0.7",
      LOCKDB_PORT_5625_TCP_PORT: "5625",
      LOCKDB_PORT_5625_TCP_PROTO: "tcp",
      LOCKDB_SERVICE_HOST: "10.0.0.7",
      LOCKDB_SERVICE_PORT: "5625",
      LOCKDB_SERVICE_PORT_HTTP: "5625",
    };
    const { options, warnings } = readOptions({}, kubernetes);
    expect(options.port).toBe(5_625);
    expect(warnings).toEqual([expect.stringMatching(/^LOCKDB_PORT=tcp:.*Kubernetes.*ignored/)]);
    expect(readOptions({ port: "80" }, kubernetes).options.port).toBe(80);
  });

  test("[I6y] an unknown variable only warns, and those of the client and of others not at all", () => {
    const others = {
      LOCKDB_SERVICE_ID: "reports",
      LOCKDB_API_KEY: "ldb_x",
      LOCKDB_API_KEY_FILE: "/run/secrets/key",
      LOCKDB_SERVER_URL: "http://127.0.0.1",
      LOCKDB_CA_FILE: "/ca.pem",
      LOCKDB_CERT_FILE: "/a.pem",
      LOCKDB_KEY_FILE: "/a.key",
      LOCKDB_TOKEN: "5",
      PATH: "/bin",
      PORT: "80",
      MYLOCKDB_PORT: "80",
      lockdb_port: "80",
    };
    expect(readOptions({}, others)).toMatchObject({ options: withDefaults({}), warnings: [] });
    const { options, warnings } = readOptions(
      {},
      { ...others, LOCKDB_PROT: "80", LOCKDB_: "x", LOCKDB_PORTS: "80" },
    );
    expect(options.port).toBe(5_625);
    expect(warnings.map((text) => text.split(" ")[0])).toEqual(["LOCKDB_PROT", "LOCKDB_", "LOCKDB_PORTS"]);
  });

  test("[I6z] LOCKDB_ROOT_KEY_FILE names a file with the key; its line end is none of it", () => {
    const folder = mkdtempSync(join(tmpdir(), "lockdb-options-"));
    const file = join(folder, "key");
    writeFileSync(file, "key-of-the-file-here\n");
    expect(readOptions({}, { LOCKDB_ROOT_KEY_FILE: file }).options.rootKey).toBe("key-of-the-file-here");
    writeFileSync(file, "key-of-the-file-here\r\n\n");
    expect(readOptions({}, { LOCKDB_ROOT_KEY_FILE: file }).options.rootKey).toBe("key-of-the-file-here");
    expect(readOptions({}, { LOCKDB_ROOT_KEY_FILE: file }).warnings).toEqual([]);
    writeFileSync(file, "short\n");
    expect(() => readOptions({}, { LOCKDB_ROOT_KEY_FILE: file })).toThrow(
      /^LOCKDB_ROOT_KEY_FILE: must have 16/,
    );
    const absent = join(folder, "absent");
    expect(() => readOptions({}, { LOCKDB_ROOT_KEY_FILE: absent })).toThrow(
      /^LOCKDB_ROOT_KEY_FILE: .*absent/,
    );
    rmSync(folder, { recursive: true });
  });

  test("[I6zq] every secret has a variable for a file with it; both at once, an empty file or an unreadable one is an error", () => {
    const folder = mkdtempSync(join(tmpdir(), "lockdb-options-"));
    const [good, empty] = [join(folder, "good"), join(folder, "empty")];
    writeFileSync(good, `${GIVEN.LOCKDB_ROOT_KEY}\n`);
    writeFileSync(empty, "\n");
    const secrets = Object.values(OPTIONS).filter(({ kind }) => kind === "secret");
    expect(secrets.map(({ env }) => env)).toEqual(["LOCKDB_ETCD_PASSWORD", "LOCKDB_ROOT_KEY"]);
    for (const { env } of secrets) {
      const reading = (variables: Record<string, string>) => () => readOptions({}, variables);
      expect(reading({ [`${env}_FILE`]: good, [env]: "" })).toThrow(
        `${env} and ${env}_FILE are both set. Set one of them`,
      );
      expect(reading({ [`${env}_FILE`]: empty })).toThrow(`${env}_FILE: the file ${empty} is empty.`);
      expect(reading({ [`${env}_FILE`]: folder })).toThrow(
        `${env}_FILE: the file ${folder} cannot be read: EISDIR`,
      );
      expect(reading({ [`${env}_FILE`]: "" })).toThrow(`${env}_FILE: must name a file, and is empty.`);
    }
    rmSync(folder, { recursive: true });
  });

  test("[A1x] no message about a key has the key in it", () => {
    for (const text of ["short-secret", "secret with a space", `secret${"x".repeat(600)}`]) {
      expect(() => readOptions({}, { LOCKDB_ROOT_KEY: text })).toThrow(
        expect.not.stringContaining("secret") as unknown as string,
      );
      expect(() => withDefaults({ rootKey: text })).toThrow(
        expect.not.stringContaining("secret") as unknown as string,
      );
    }
  });
});

describe("an embedded server", () => {
  test("[I6za] takes values of the right kind only", () => {
    const wrong: Record<string, unknown> = {
      port: "80",
      host: 5,
      dataDir: 5,
      store: "redis",
      allowPlainText: "true",
      waitersMax: Number.NaN,
      holdsMax: 1.5,
      sessionsMax: -1,
      servicesMax: Number.POSITIVE_INFINITY,
      logLevel: "loud",
      rootKey: 1234567890123456,
    };
    for (const [name, value] of Object.entries(wrong)) {
      expect(() => withDefaults({ [name]: value })).toThrow(new RegExp(`^"${name}"`));
      if (name !== "rootKey") expect(() => withDefaults({ [name]: null })).toThrow(new RegExp(`^"${name}"`));
      expect(withDefaults({ [name]: undefined })).toEqual(withDefaults({}));
    }
    expect(withDefaults({ rootKey: null }).rootKey).toBeNull();
  });

  test("[I6zb] refuses an option that is none", async () => {
    for (const name of ["prot", "Port", "root_key", "constructor"]) {
      expect(() => withDefaults({ [name]: 80 })).toThrow(`"${name}" is no option of the server.`);
      await expect(serve({ [name]: 80 } as object)).rejects.toThrow("is no option");
    }
    expect(() => withDefaults(JSON.parse('{"__proto__": 80}'))).toThrow("is no option");
  });

  test("[A6b] loopback is loopback, and nothing that looks like it", () => {
    for (const host of ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
      expect(withDefaults({ host }).host).toBe(host);
    for (const host of [
      "0.0.0.0",
      "::",
      "127.0.0.1.example.org",
      "localhost.example.org",
      "10.0.0.1",
      "::ffff:10.0.0.1",
    ]) {
      expect(() => withDefaults({ host })).toThrow(/plain text.*--allow-plain-text/);
      expect(withDefaults({ host, allowPlainText: true }).host).toBe(host);
      expect(() => readOptions({ host }, {})).toThrow(/--allow-plain-text/);
      expect(readOptions({ host }, { LOCKDB_ALLOW_PLAIN_TEXT: "true" }).options.host).toBe(host);
      expect(withDefaults({ host, tlsCert: "a.pem", tlsKey: "a.key" }).host).toBe(host);
    }
  });
});
