import { InvalidArgumentError } from "commander";
import { expect, test } from "vitest";
import { duration, expirationSeconds, readableArgv, waitMs, waitMsOrForever } from "../../src/cli/args.js";

test("[C6b] a short flag takes its value after =, up to the first -- only", () => {
  expect(
    readableArgv(["lock", "x", "-i=reports", "-w=10", "-a=a=b", "-u=", "-z=1", "--service-id=y"]),
  ).toEqual(["lock", "x", "-ireports", "-w10", "-aa=b", "-u", "-z=1", "--service-id=y"]);
  expect(readableArgv(["run", "x", "-i=a\nb", "--", "cc", "-i=b", "--", "-w=1"])).toEqual([
    "run",
    "x",
    "-ia\nb",
    "--",
    "cc",
    "-i=b",
    "--",
    "-w=1",
  ]);
});

test.each([
  ["0", 0],
  ["10", 10],
  ["10ms", 10],
  ["1.5s", 1_500],
  ["30d", 2_592_000_000],
])("[I4h] -w %s is %d ms", (text, ms) => {
  expect(waitMs(text)).toBe(ms);
  expect(waitMsOrForever(text)).toBe(ms);
});

test.each([
  ["1", 1],
  ["300", 300],
  ["1500ms", 1.5],
  ["2m", 120],
])("[I4h] -l %s is %d s", (text, seconds) => {
  expect(expirationSeconds(text)).toBe(seconds);
});

test("[I4h] only run waits for ever, and other durations say their unit", () => {
  expect(waitMsOrForever("forever")).toBe("forever");
  expect(duration("2s")).toBe(2_000);
  for (const text of ["", "-1", "1e3", "0x10", "10 s", "1w", "9999999d", "NaN", "forever", " 5", "5\n"]) {
    expect(() => waitMs(text)).toThrow(InvalidArgumentError);
    expect(() => expirationSeconds(text)).toThrow(InvalidArgumentError);
    expect(() => duration(text)).toThrow(InvalidArgumentError);
  }
  expect(() => expirationSeconds("0")).toThrow(InvalidArgumentError);
  expect(() => duration("5")).toThrow(InvalidArgumentError);
});
