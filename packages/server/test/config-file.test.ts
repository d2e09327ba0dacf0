import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  configObject,
  configText,
  exampleConfig,
  OPTIONS,
  type OptionRow,
  optionsPage,
  readOptions,
  type ServeOptions,
} from "../src/index.js";

const ROOT_KEY = "canary-of-the-root-key";
const ROWS = Object.entries(OPTIONS) as [keyof ServeOptions, OptionRow][];

let folder: string;
let path: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lockdb-config-"));
  path = join(folder, "lockdb.toml");
  writeFileSync(join(folder, "root-key"), `${ROOT_KEY}\n`);
});

afterAll(() => rmSync(folder, { recursive: true }));

function read(toml: string, flags: Record<string, string> = {}, env: Record<string, string> = {}) {
  writeFileSync(path, toml);
  return readOptions({ config: path, ...flags }, env);
}

/** A value that is not the default, by kind: as the file has it, and as a flag would. */
const OTHERS: Readonly<Record<OptionRow["kind"], (row: OptionRow) => readonly [toml: string, text: string]>> =
  {
    switch: () => ["true", "true"],
    count: () => ["12", "12"],
    choice: ({ choices, default: value }) => {
      const word = choices!.find((each) => each !== value)!;
      return [`"${word}"`, word];
    },
    text: ({ key }) => {
      const text = { store: "etcd://etcd1:2379", advertise: "http://lockdb1:5625" }[key] ?? "127.0.0.9";
      return [`"${text}"`, text];
    },
    list: ({ key }) => {
      const words =
        key === "allow-origins" ? ["https://a.example", "https://b.example"] : ["10.1.0.0/16", "::1"];
      return [JSON.stringify(words), words.join(",")];
    },
    duration: () => ['"7m"', "7m"],
    path: ({ key }) => [`"files/${key}"`, join(folder, "files", key)],
    secret: () => ['"root-key"', ROOT_KEY],
  };

function wholeFile(): string {
  return ROWS.map(([, row]) => `${row.key} = ${OTHERS[row.kind](row)[0]}`).join("\n");
}

describe("a configuration file", () => {
  test("[I6zr] may have every option, each in the type that it is; a variable and a flag go before it", () => {
    const { options, sources, configPath, warnings } = read(wholeFile());
    expect([configPath, warnings]).toEqual([path, []]);
    for (const [name, row] of ROWS) {
      const [, text] = OTHERS[row.kind](row);
      expect([name, options[name]]).toEqual([name, row.parse(text)]);
      expect(options[name]).not.toEqual(row.default);
      expect(sources[name]).toMatchObject({ from: "file", name: path });
    }
    expect(read("port = 1", {}, { LOCKDB_PORT: "2" }).options.port).toBe(2);
    expect(read("port = 1", { port: "3" }, { LOCKDB_PORT: "2" }).options.port).toBe(3);
    expect(read("signup = true", { signup: "false" }).options.signup).toBe(false);
    expect(read('root-key-file = "absent"', {}, { LOCKDB_ROOT_KEY: ROOT_KEY }).options.rootKey).toBe(
      ROOT_KEY,
    );
    expect(read("# nothing\n").options).toEqual(readOptions({}, {}).options);
  });

  test("[I6zr] LOCKDB_CONFIG names it, a flag goes before that, and paths in it are meant from its folder", () => {
    writeFileSync(path, 'data-dir = "data"\nport = 1');
    const inner = join(folder, "inner");
    mkdirSync(inner, { recursive: true });
    writeFileSync(join(inner, "lockdb.toml"), 'data-dir = "../data"\nport = 2');
    const byVariable = readOptions({}, { LOCKDB_CONFIG: path }).options;
    expect([byVariable.port, byVariable.dataDir]).toEqual([1, join(folder, "data")]);
    const byFlag = readOptions({ config: join(inner, "lockdb.toml") }, { LOCKDB_CONFIG: path }).options;
    expect([byFlag.port, byFlag.dataDir]).toEqual([2, join(folder, "data")]);
  });

  test.each([
    ["prot = 1", "prot: there is no such option. Did you mean port?"],
    ["dataDir = 'x'", "dataDir: there is no such option. Did you mean data-dir?"],
    ["LOCKDB_LOG_LEVEL = 'info'", "LOCKDB_LOG_LEVEL: there is no such option. Did you mean log-level?"],
    ["nonsense = 1", "nonsense: there is no such option. See"],
    ["__proto__ = 1", "__proto__: there is no such option. See"],
    ["config = 'x.toml'", "config: a configuration file names no other."],
    ["[server]\nport = 1", "server: there are no sections."],
    ["port = '80'", "port: must be a whole number, without quotes or a point, and is a text."],
    ["port = 80.0", "port: must be a whole number, without quotes or a point, and is a number."],
    ["port = 65536", 'port: must be a whole number from 0 to 65535, not "65536".'],
    ["port = -1", "port: must be a whole number from 0 to 65535"],
    ["port = 99999999999999999999", "port: must be a whole number from 0 to 65535"],
    ["signup = 'true'", "signup: must be true or false, without quotes, and is a text."],
    ["signup = 1", "signup: must be true or false, without quotes, and is a number."],
    ["store = 'redis'", "store: must be lmdb, memory, or such as etcd://etcd1:2379"],
    ["store = true", "store: must be a text in quotes, and is true or false."],
    ["durability = 'lax'", "durability: must be one of standard, strict"],
    ["durability = true", 'durability: must be one of "standard", "strict", and is true or false.'],
    ["slow-wait = 30", "slow-wait: must be a time span in quotes"],
    ["slow-wait = '30 s'", "slow-wait: must be a time span such as"],
    [
      "trusted-proxies = '10.0.0.0/8'",
      'trusted-proxies: must be a list of texts, such as ["a", "b"], and is a text.',
    ],
    ["trusted-proxies = [1]", "trusted-proxies: must be a list of texts"],
    ["trusted-proxies = ['*']", "trusted-proxies: must be networks"],
    ["data-dir = ''", "data-dir: must be a path, in quotes, and is an empty text."],
    ["host = ''", "host: must not be empty."],
    ["host = 2027-01-01", "host: must be a text in quotes, and is a date."],
    ["root-key-file = 5", "root-key-file: must be the path of a file, in quotes, and is a number."],
    ["root-key-file = 'absent'", "root-key-file: the file "],
    [
      "root-key = 'SECRET'",
      'root-key: a secret stands in no configuration file. Say root-key-file = "<file with it>"',
    ],
  ])("[I6zs] what is wrong in it is told with file and key: %j", (toml, says) => {
    expect(() => read(toml)).toThrow(`${path}: ${says}`);
    expect(() => read(toml)).toThrow(expect.not.stringContaining("SECRET") as unknown as string);
  });

  test("[I6zs] a key of a million letters is refused as soon as any other", () => {
    expect(() => read(`${"x".repeat(1_000_000)} = 1`)).toThrow("x: there is no such option. See");
  });

  test.each([
    ["port = 1\nhost = '127.0.0.1'\nport = 2", "3: port is set twice. Keep one of them."],
    ["port: 80", "1: this is no TOML: illegal character in key."],
    ["host = 127.0.0.1", "1: this is no TOML in the line of host: "],
    ["\nroot-key = 'SECRET' x", "2: this is no TOML in the line of root-key: "],
    ["host = 'SECRET", "1: this is no TOML in the line of host: "],
  ])("[I6zs] so is what is no TOML, with its line, and nothing of what stands there: %j", (toml, says) => {
    expect(() => read(toml)).toThrow(`${path}:${says}`);
    expect(() => read(toml)).toThrow(expect.not.stringContaining("SECRET") as unknown as string);
  });

  test("[I6zs] one that cannot be read is told with what named it; a wrong value is wrong where a flag goes before it, too", () => {
    const absent = join(folder, "absent.toml");
    expect(() => readOptions({ config: absent }, {})).toThrow(
      `--config: the file ${absent} cannot be read: ENOENT`,
    );
    expect(() => readOptions({}, { LOCKDB_CONFIG: absent })).toThrow(`LOCKDB_CONFIG: the file ${absent}`);
    expect(() => readOptions({}, { LOCKDB_CONFIG: "" })).toThrow("LOCKDB_CONFIG: must not be empty.");
    expect(() => read("port = 65536", { port: "1" })).toThrow(`${path}: port: must be`);
  });
});

describe("what is in use", () => {
  test("[I6zt] is printed as a file that gives the same, each with where it is from", () => {
    const env = { LOCKDB_HOLDS_MAX: "77", LOCKDB_ALLOW_ORIGINS: "https://a.example, https://b.example" };
    const given = read(wholeFile().replace(/^(holds-max|allow-origins|port).*\n/gm, ""), { port: "7" }, env);
    const text = configText(given);
    const [elsewhere] = [join(folder, "elsewhere.toml")];
    writeFileSync(elsewhere, text);
    const again = readOptions({ config: elsewhere }, {}).options;
    const allowOrigins = given.options.allowOrigins.replaceAll(" ", "");
    expect(again).toEqual({ ...given.options, allowOrigins });
    expect(text).toMatch(/^port = 7 +# --port$/m);
    expect(text).toMatch(/^holds-max = 77 +# LOCKDB_HOLDS_MAX$/m);
    expect(text).toMatch(new RegExp(`^waiters-max = 12 +# ${path}$`, "m"));
    const byDefault = configText(readOptions({}, {}));
    for (const [, row] of ROWS)
      expect(byDefault).toMatch(new RegExp(`^(${row.key} =|# ${row.key} is not set).* # default$`, "m"));
    expect(byDefault).toMatch(new RegExp(`^data-dir = "${resolve("lockdb-data")}" `, "m"));
  });

  test("[I6zt] is printed for programs, too; a secret in neither form", () => {
    for (const [toml, env] of [
      ['root-key-file = "root-key"', {}],
      ["", { LOCKDB_ROOT_KEY: ROOT_KEY }],
      ["", { LOCKDB_ROOT_KEY_FILE: join(folder, "root-key") }],
    ] as const) {
      const given = read(toml, {}, env);
      expect(given.options.rootKey).toBe(ROOT_KEY);
      const object = configObject(given);
      expect(configText(given) + JSON.stringify(object)).not.toContain(ROOT_KEY);
      const file = "LOCKDB_ROOT_KEY" in env ? null : join(folder, "root-key");
      expect(object).toMatchObject({
        config: path,
        options: { "root-key-file": { value: null, isSet: true, file } },
      });
      const line =
        file === null ? /^# root-key-file: the secret itself is set/m : `root-key-file = "${file}"`;
      expect(configText(given)).toMatch(line);
    }
    const { options } = configObject(readOptions({ port: "7" }, {})) as { options: Record<string, object> };
    expect(Object.keys(options)).toEqual(ROWS.map(([, { key }]) => key));
    expect(options.port).toEqual({ value: 7, from: "flag", source: "--port" });
    expect(options.store).toEqual({ value: "lmdb", from: "default", source: null });
    expect(options["root-key-file"]).toMatchObject({ isSet: false, file: null });
  });
});

describe("the pages that are made of the table", () => {
  const repository = (name: string) => fileURLToPath(new URL(`../../../${name}`, import.meta.url));

  test("[I6zu] docs/configuration.md is of this table; it has flag, variable and key of each option", () => {
    const page = readFileSync(repository("docs/configuration.md"), "utf8");
    expect(page, "node tests/page.js configuration > docs/configuration.md").toBe(optionsPage());
    for (const [, { flag, env, key }] of ROWS)
      expect(page).toMatch(
        new RegExp(`^\\| ${flag === null ? "none" : `\`${flag}\``} \\| \`${env}\`.* \\| \`${key}\` \\|`, "m"),
      );
  });

  test("[I6zu] deploy/lockdb.toml is, too; as it is it gives the defaults, and all of it can be taken", () => {
    const example = readFileSync(repository("deploy/lockdb.toml"), "utf8");
    expect(example, "node tests/page.js example > deploy/lockdb.toml").toBe(exampleConfig());
    expect(read(example)).toMatchObject({ options: readOptions({}, {}).options, warnings: [] });
    const taken = example
      .replace(/^#([a-z-]+ = )/gm, "$1")
      .replace(/\/etc\/lockdb\/(root-key|etcd-password)/g, "root-key")
      .replace('store = "lmdb"', 'store = "etcd://etcd1:2379"');
    const { sources } = read(taken);
    expect(ROWS.filter(([name]) => sources[name].from !== "file")).toEqual([]);
  });
});
