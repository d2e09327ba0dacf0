import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { serve } from "@lockdb/server";
import LockDB from "lockdb";
import { describe, expect, test } from "vitest";
import type { Crowd } from "../../src/cli/answers.js";
import { hasColours } from "../../src/cli/colour.js";
import { rowsATable, screenLines } from "../../src/cli/top-screen.js";
import { BIN, type Env, envOf, inProcess, servedCli } from "./cli.js";

const on = servedCli();
const SCRIPT = spawnSync("script", ["--version"]).status === 0;
if (!SCRIPT) console.warn("skipped: script (util-linux) is not installed, so nothing is shown on a terminal");

const holder = { owner: "ann", token: 7, state: "held", heldForMs: 90_000 };
const EMPTY: Crowd = {
  ...{ services: 2, recovering: 1, sessions: 1_234_567, holds: 0, locks: 0, waiters: 0, grants: 5 },
  ...{ hottest: [], longestWaits: [], oldestHolds: [] },
};
const view = (crowd: Crowd, lost: string | null = null) => ({ crowd, grantsPerS: 2.5, title: "top", lost });

describe("lockdb top", () => {
  test("[I4va] prints once what is hot, who waits longest and what is held longest, with tabs", async () => {
    const lease = await on.holder.acquire("hot\u202e\u0085");
    const waiting = [on.holder.acquire("hot\u202e\u0085"), on.holder.acquire("hot\u202e\u0085")];
    const old = await on.holder.acquire("calm", { mode: "shared" });
    while ((await on.holder.inspect("hot\u202e\u0085")).queueLength < 2);
    const [plain, json] = [
      await inProcess(["top"], on.env),
      await inProcess(["top", "-i", "reports", "--json"], on.env),
    ];
    expect({ code: plain.code, stderr: plain.stderr }).toEqual({ code: 0, stderr: "" });
    const [counts, ...sections] = plain.stdout.trimEnd().split("\n\n");
    expect(counts).toMatch(/^[\d.,]+ grants\/s {3}2 waiting {3}2 holds {3}2 locks {3}1 sessions/);
    const rows = sections.map((section) => section.split("\n").map((line) => line.split("\t")));
    expect(rows.map(([heading]) => heading)).toEqual([
      ["Hottest locks"],
      ["Longest waits"],
      ["Oldest holds"],
    ]);
    const name = "hot\\u202e\\u0085";
    const token = String(lease.token);
    const some = expect.any(String);
    expect(rows[0]!.slice(2)).toEqual([["2", some, "reports", name, some, token, "host db3"]]);
    expect(rows[1]!.slice(2)).toEqual(
      [1, 2].map(() => [some, "host db3", "reports", name, some, token, "host db3"]),
    );
    expect(rows[2]!.slice(2).map((cells) => cells[2])).toEqual([name, "calm"]);
    expect(JSON.parse(json.stdout)).toMatchObject({
      services: 1,
      waiters: 2,
      grantsPerS: expect.any(Number),
      hottest: [{ lock: { name: "hot\u202e\u0085", queueLength: 2 } }],
    });
    expect(json.stdout).toContain(name);
    await lease.release();
    await old.release();
    for (const each of waiting) await (await each).release();
  });

  test("[I4vb] a key with read is enough; one for a service says which; others are refused", async () => {
    const key = async (...more: readonly string[]) => {
      const made = await inProcess(["keys", "create", "--name", "k", "--json", ...more], on.env);
      const env: Env = { ...on.env, LOCKDB_API_KEY: JSON.parse(made.stdout).apiKey };
      return env;
    };
    const read = await key("--scopes", "read", "--services", "reports");
    expect((await inProcess(["top", "--json"], read)).code).toBe(0);
    const { LOCKDB_SERVICE_ID: _, ...anywhere } = read;
    const refused = await inProcess(["top"], anywhere);
    expect(refused).toMatchObject({ code: 77, stdout: "", stderr: expect.stringMatching(/-i/) });
    expect((await inProcess(["top"], await key("--scopes", "lock"))).code).toBe(77);
  });

  test.skipIf(!SCRIPT)(
    "[I4vc] on a terminal it goes on, says when the server is lost, goes on when it is back, and leaves the screen as it was",
    { timeout: 30_000 },
    async () => {
      const options = { store: "memory", logLevel: "silent", rootKey: "a-root-key-of-this-test" } as const;
      const first = await serve({ ...options, port: 0 });
      const port = Number(new URL(first.url).port);
      const env = {
        LOCKDB_SERVER_URL: first.url,
        LOCKDB_API_KEY: options.rootKey,
        LOCKDB_SERVICE_ID: "seen",
      };
      const locker = new LockDB("seen", { serverUrl: first.url, apiKey: options.rootKey, owner: "ann" });
      await locker.acquire("shown here");
      const command = `stty cols 100 rows 24; exec ${process.execPath} ${BIN} top`;
      const child = spawn("script", ["-qec", command, "/dev/null"], {
        env: envOf({ ...env, TERM: "xterm", NO_COLOR: "1" }),
        stdio: ["pipe", "pipe", "inherit"],
      });
      let text = "";
      child.stdout.setEncoding("utf8").on("data", (more: string) => {
        text += more;
      });
      const until = async (pattern: RegExp) => {
        while (!pattern.test(text)) await once(child.stdout, "data");
        text = "";
      };
      await until(/\x1b\[\?1049h[\s\S]*Oldest holds[\s\S]*shown here/);
      await locker.close();
      await first.close();
      // Not in two seconds: a key has it look now.
      child.stdin.write(" ");
      await until(/no answer since \d\d:\d\d:\d\d, trying again: .* could not be reached/);
      const second = await serve({ ...options, port });
      child.stdin.write(" ");
      await until(/nothing is held[\s\S]*q quits/);
      child.stdin.write("q");
      const [code] = await once(child, "exit");
      expect(code).toBe(0);
      expect(text).toMatch(/\x1b\[\?25h\x1b\[\?1049l$/);
      await second.close();
    },
  );
});

describe("what top shows", () => {
  test("[I4vd] fits the terminal, whatever the names are", () => {
    const odd = ["\u0301".repeat(400), "夜".repeat(200), "👍🏽".repeat(50), "\u202e\u0000", "a".repeat(512)];
    const crowd: Crowd = {
      ...EMPTY,
      oldestHolds: odd.map((name) => ({
        service: "s",
        name,
        holder: { ...holder, owner: name },
        queueLength: 1,
      })),
    };
    for (const [columns, rows] of [
      [100, 24],
      [40, 40],
      [20, 8],
    ] as const) {
      const lines = screenLines(view(crowd), { columns, rows, colours: false });
      expect(lines.length).toBeLessThanOrEqual(rows);
      for (const line of lines) {
        expect(line).not.toMatch(/[\p{Cc}\u202e]/u);
        const wide = [...line].filter((char) => /[夜👍]/u.test(char)).length;
        expect([...line.replace(/[\u0301]/g, "")].length + wide).toBeLessThanOrEqual(columns);
        expect(line.length).toBeLessThan(12 * columns);
      }
    }
    expect(rowsATable(24)).toBe(4);
    expect(rowsATable(3)).toBe(1);
  });

  test("[I4ve] has colours on a terminal only, unless NO_COLOR says no; what is old says so", () => {
    expect(
      [{}, { NO_COLOR: "" }, { NO_COLOR: "1" }, { TERM: "dumb" }].map((env) =>
        hasColours({ isTTY: true }, env),
      ),
    ).toEqual([true, true, false, false]);
    const screen = { columns: 80, rows: 24, colours: true };
    const lines = screenLines(view(EMPTY, "no answer since 10:00:00"), screen);
    expect(lines[0]).toBe("\x1b[1mtop\x1b[0m");
    expect(lines[1]).toBe("2.5 grants/s   0 waiting   0 holds   0 locks   1,234,567 sessions   2 services …");
    expect(lines.at(-1)).toBe("\x1b[31mno answer since 10:00:00\x1b[0m");
    expect(screenLines(view(EMPTY), { ...screen, colours: false }).join()).not.toContain("\x1b");
  });
});
