import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { CONFIG_OPTION, OPTIONS } from "../src/index.js";
import { METRICS } from "../src/metrics/index.js";
import { readOptions } from "../src/options/index.js";

const FOLDER = fileURLToPath(new URL("../../../deploy", import.meta.url));
const files = readdirSync(FOLDER, { recursive: true, encoding: "utf8" })
  .filter((path) => statSync(join(FOLDER, path)).isFile())
  .map((path) => ({ path, text: readFileSync(join(FOLDER, path), "utf8") }));

/** Labels by every name that a query may use. */
const known = new Map(
  METRICS.flatMap(({ name, type, label }): [string, string | null][] =>
    type === "histogram"
      ? [
          [`${name}_bucket`, "le"],
          [`${name}_sum`, null],
          [`${name}_count`, null],
        ]
      : [[name, label]],
  ),
);

test("[I6zp] alerts and dashboard use metrics of the table, by labels that they have", () => {
  const wrong: string[] = [];
  const used = new Set<string>();
  for (const { path, text } of files) {
    for (const [, name = "", labels = ""] of text.matchAll(/\b(lockdb_[a-z_]+)(?:\{([^}]*)\})?/g)) {
      used.add(name);
      if (!known.has(name)) wrong.push(`${path}: ${name}`);
      for (const [, label = ""] of labels.matchAll(/([a-z]+)=/g))
        if (label !== "instance" && label !== known.get(name)) wrong.push(`${path}: ${name}{${label}}`);
    }
  }
  expect(wrong).toEqual([]);
  expect(used.size).toBeGreaterThan(30);
});

test("[I6zp] every variable in there is an option, and the dashboard is JSON with a query in each panel", () => {
  const options = new Set(Object.values(OPTIONS).map(({ env }) => env))
    .add("LOCKDB_ROOT_KEY_FILE")
    .add(CONFIG_OPTION.env);
  // What Kubernetes sets by itself is told of in a comment.
  const named = files.flatMap(({ text }) => [
    ...text.replace(/^\s*#.*$/gm, "").matchAll(/\bLOCKDB_[A-Z_]+/g),
  ]);
  expect(named.map(([name]) => name).filter((name) => !options.has(name))).toEqual([]);
  const { panels } = JSON.parse(files.find(({ path }) => path.endsWith(".json"))!.text);
  for (const { type, title, targets = [] } of panels)
    if (type !== "row") expect(targets.length, title).toBeGreaterThan(0);
});

test("[I6zq] what the files for a cluster say is taken: where etcd is, and where each member is reached", () => {
  const ofCluster = files.filter(({ path }) => /cluster\.yaml$/.test(path));
  expect(ofCluster).toHaveLength(2);
  for (const { path, text } of ofCluster) {
    const given = [...text.matchAll(/\b(LOCKDB_[A-Z_]+)(?:, value)?: "?([^"}\s]+)/g)].map(
      ([, name, value]): [string, string] => [
        name!,
        value!.replace("$(POD)", "lockdb-0").replace("$(NAMESPACE)", "x"),
      ],
    );
    // Of a secret only its file is named, and it is not here.
    const env = Object.fromEntries(given.filter(([name]) => name !== "LOCKDB_ROOT_KEY_FILE"));
    const { options, warnings } = readOptions({}, env);
    expect(warnings, path).toEqual([]);
    expect(options.store, path).toMatch(/^etcd:/);
    expect(options.advertise, path).toMatch(/^https?:/);
    // A member hands over for 15 s at most, and is not killed meanwhile.
    expect(text, path).toMatch(/(stop_grace_period|terminationGracePeriodSeconds): 30/);
  }
});
