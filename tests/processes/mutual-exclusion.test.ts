import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { clockMs, Processes, ROOT_KEY } from "./processes.js";

const PROCESSES = 16;
const CYCLES = 500;

const processes = new Processes();
afterAll(() => processes.end());

describe(`${PROCESSES} processes add one to a number in a file, ${CYCLES} times each`, () => {
  let number = 0;
  let grants: { readonly token: number; readonly ticket: number | null }[] = [];

  beforeAll(async () => {
    const folder = processes.folder();
    const [numberFile, logFile] = [join(folder, "number"), join(folder, "log")];
    writeFileSync(numberFile, "0");
    const server = await processes.server();
    const given = { serverUrl: server.url, apiKey: ROOT_KEY, cycles: CYCLES, numberFile, logFile };
    const counters = Array.from({ length: PROCESSES }, () => processes.script("counter.mjs", given));
    await Promise.all(counters.map((counter) => counter.next("ready")));

    const startMs = clockMs();
    await Promise.all(counters.map((counter) => counter.call("run")));
    const seconds = (clockMs() - startMs) / 1_000;

    number = Number(readFileSync(numberFile, "utf8"));
    grants = readFileSync(logFile, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => {
        const [token, ticket] = line.split(" ");
        return { token: Number(token), ticket: ticket === "-" ? null : Number(ticket) };
      });
    const queued = grants.filter(({ ticket }) => ticket !== null).length;
    console.info(
      `[Q1p] ${PROCESSES} processes x ${CYCLES} cycles: counted ${number} in ${seconds.toFixed(1)} s ` +
        `(${Math.round(number / seconds)} handovers a second); ${queued} had queued`,
    );
  }, 120_000);

  test("[Q1p] the count is exact: no two were ever inside together", () => {
    expect(number).toBe(PROCESSES * CYCLES);
    expect(grants).toHaveLength(PROCESSES * CYCLES);
  });

  test("[F1p] tokens rise in the order in which the processes were inside", () => {
    expect(descents(grants.map(({ token }) => token))).toEqual([]);
  });

  test("[Q2p] those who queued were granted in ticket order", () => {
    const tickets = grants.flatMap(({ ticket }) => ticket ?? []);
    // Nearly all have queued: the order says something.
    expect(tickets.length).toBeGreaterThan(0.9 * PROCESSES * CYCLES);
    expect(descents(tickets)).toEqual([]);
  });
});

/** Places where a list does not rise. */
function descents(values: readonly number[]): readonly string[] {
  return values.flatMap((value, at) =>
    at > 0 && values[at - 1]! >= value ? [`${values[at - 1]} then ${value}`] : [],
  );
}
