// What is read from this machine: command lines, configuration files, backups and data folders. Right ones, and what can be made of them.
import {
  cpSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { hostile, json, mangled, Raw, TEXTS } from "./random.js";

const VALUES_BY_KIND = {
  switch: ["true", "false"],
  count: ["0", "1", "5625", "65536", "100000"],
  duration: ['"1s"', '"30s"', '"1d"', '"0"', '"99999999999d"'],
  list: ["[]", '["a"]', '["127.0.0.1/8", "::1"]', '["http://a"]'],
  path: ['"nowhere/x"', '"."', '"missing"'],
  secret: ['"missing"', '"."', '"nowhere/x"'],
  choice: ['"info"', '"strict"', '"memory"'],
  text: ['"127.0.0.1"', '"lmdb"', '"etcd://127.0.0.1:1"', '"a"'],
};

/** A configuration file, from the table of options. */
export function configText(random, options) {
  const rows = Object.values(options).filter(({ key }) => key !== undefined);
  const lines = Array.from({ length: random.below(5) }, () => {
    const { key, kind } = random.of(rows);
    const name = random.is(0.9) ? key : JSON.stringify(random.of(TEXTS).slice(0, 200));
    if (random.is(0.05)) return `[${name}]`;
    return `${name} = ${random.is(0.6) ? random.of(VALUES_BY_KIND[kind] ?? VALUES_BY_KIND.text) : json(hostile(random))}`;
  });
  const text = Buffer.from(`${lines.join(random.of(["\n", "\r\n", "\n\n# x\n"]))}\n`);
  return random.is(0.3) ? mangled(random, text) : text;
}

/** Values of options as flags or variables give them. */
export function flagsAndVariables(random, options) {
  const some = () => Object.entries(options).filter(() => random.is(0.05));
  const text = () =>
    random.is(0.5) ? random.of(["0", "1", "30s", "a", "127.0.0.1", "true", "5625", ""]) : textOf(random);
  return {
    flags: Object.fromEntries(
      some()
        .filter(([, { flag }]) => flag !== undefined && flag !== null)
        .map(([name]) => [name, text()]),
    ),
    variables: Object.fromEntries(some().map(([, { env }]) => [env, text()])),
  };
}

/** Arguments of the command line, from what commander knows of it. @returns {string[]} */
export function argv(random, nodes, { plain = false } = {}) {
  const node = random.of(nodes);
  const words = node.path === "" ? [] : node.path.split(" ");
  for (const each of node.args) if (random.is(0.7)) words.push(wordFor(random, each));
  for (let count = random.below(4); count > 0 && node.flags.length > 0; count--) {
    const { names, value } = random.of(node.flags);
    const name = random.of(names);
    const given =
      value === null ? (random.is(0.95) ? null : "x") : random.is(0.9) ? wordFor(random, value) : null;
    if (given === null) words.push(name);
    else if (random.is(0.3)) words.push(`${name}=${given}`);
    else words.push(name, given);
  }
  if (random.is(0.2)) words.splice(random.below(words.length + 1), 0, textOf(random));
  if (random.is(0.1) && words.length > 0) words.splice(random.below(words.length), 1);
  if (node.runsOthers && random.is(0.7))
    words.push("--", random.of(["true", "false", "/none", textOf(random)]));
  // No process is given a zero byte, or more than the system takes.
  return plain ? words.map((word) => word.replaceAll("\0", "").slice(0, 60_000)) : words;
}

function wordFor(random, wanted) {
  if (wanted.kind === "words" && random.is(0.7)) return random.of(wanted.words);
  if (random.is(0.5))
    return random.of([
      "a",
      "1",
      "30s",
      "5",
      "a,b",
      "127.0.0.1",
      "http://127.0.0.1:1",
      "0",
      "-1",
      "x=y",
      "nowhere/x",
    ]);
  return textOf(random);
}

function textOf(random) {
  const value = hostile(random);
  return typeof value === "string" ? value : value instanceof Raw ? value.text : json(value);
}

/** A backup, with something done to it. @param {Buffer} right */
export function backupBytes(random, right) {
  if (random.is(0.1)) return random.bytes(random.below(300));
  if (random.is(0.2)) return right.subarray(0, random.below(right.length));
  return mangled(random, right);
}

/** Makes a copy of a data folder with something done to its files. @returns {string} what was done */
export function spoilFolder(random, from, to) {
  rmSync(to, { recursive: true, force: true });
  cpSync(from, to, { recursive: true });
  const files = readdirSync(to, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
  const { name, parentPath } = random.of(files);
  const path = join(parentPath, name);
  const said = (what) => `${name}: ${what}`;
  switch (random.below(8)) {
    case 0:
      rmSync(path);
      return said("gone");
    case 1:
      rmSync(path);
      mkdirSync(path);
      return said("a folder");
    case 2:
      rmSync(path);
      symlinkSync(name, path);
      return said("a link to itself");
    case 3:
      writeFileSync(path, random.bytes(random.below(5_000)));
      return said("other bytes");
    case 4:
      writeFileSync(path, "");
      return said("empty");
    case 5: {
      const { size } = lstatSync(path);
      truncateSync(path, random.below(size + 1));
      return said("cut");
    }
    case 6: {
      const stray = random.of(TEXTS).replace(/[\0/]/g, "").slice(0, 100) || "stray";
      writeFileSync(join(to, stray === "." || stray === ".." ? "dots" : stray), random.bytes(20));
      return "a stray file";
    }
    default:
      writeFileSync(path, mangled(random, readFileSync(path)));
      return said("changed");
  }
}
