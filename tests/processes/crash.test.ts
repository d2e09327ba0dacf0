import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { LockInfo } from "lockdb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Child, clockMs, type Granted, median, Processes, ROOT_KEY } from "./processes.js";

const ROUNDS = 10;
const HOT_NAMES = ["hot/0", "hot/1", "hot/2", "hot/3", "hot/4", "hot/5"];
const SERVICE = "crashes";
/** What clients have when they ask for nothing else. */
const LEASE_MS = 10_000;
/** How many of a process's last acknowledged changes are looked at after each crash; at the end all are. */
const RECENT = 100;

const processes = new Processes();
afterAll(() => processes.end());

/** A hold as its holder believed in it. */
interface Hold {
  readonly kind: "hold";
  readonly type: "session" | "detached" | "http";
  readonly name: string;
  /** Null over HTTP: the original answer does not tell it. */
  readonly token: number | null;
  readonly askedMs: number;
  readonly fromMs: number;
  readonly untilMs: number;
}

interface OneTime {
  readonly kind: "kept" | "freed";
  readonly name: string;
  readonly token: number | null;
}

/** A call that did not go as it should. */
interface Trouble {
  readonly kind: "trouble";
  readonly doing: "wait" | "session hold" | "detached hold" | "HTTP hold";
  /** `over`: there was nothing to release; else the code of the error. */
  readonly what: string;
  readonly fromMs: number;
  readonly untilMs: number;
}

type Entry = Hold | OneTime | Trouble;

interface LoadReport {
  readonly lostCount?: number;
  readonly brokenCalls?: number;
  readonly longHold?: { readonly token: number; readonly wasHeld: boolean; readonly released: boolean };
}

describe(`the server is killed with -9 ${ROUNDS} times under load, and started again`, () => {
  const files: string[] = [];
  const wrong: string[] = [];
  const crashes: { readonly killedMs: number; readonly readyMs: number; readonly grantedMs: number }[] = [];
  let holds: Hold[] = [];
  let native: (Hold & { readonly token: number })[] = [];
  let reports: LoadReport[] = [];
  let troubles: Trouble[] = [];
  let verified = 0;

  beforeAll(async () => {
    const folder = processes.folder();
    const server = await processes.server();
    const load = (script: string, id: string, hotNames: readonly string[]) => {
      const historyFile = join(folder, id);
      files.push(historyFile);
      const target = { service: SERVICE, serverUrl: server.url, apiKey: ROOT_KEY };
      return processes.script(script, { id, historyFile, hotNames, ...target });
    };
    const loads = [
      ...["n1", "n2", "n3"].map((id) => load("load-native.mjs", id, HOT_NAMES)),
      // Each crash may leave their locks to nobody, for a time. The others should not stand still meanwhile.
      ...["h1", "h2"].map((id) => load("load-http.mjs", id, HOT_NAMES.slice(0, 2))),
    ];
    const checker = await processes.client(server, { service: SERVICE });
    // It waits for the end of each recovery, so its session must live through each crash too.
    await checker.call<Granted>("acquire", { name: "long/checker" });
    await Promise.all(loads.map((load) => load.next("ready")));

    for (let round = 0; round < ROUNDS; round++) {
      // Each load has had some holds since the last crash.
      for (const load of loads) load.forget("progress");
      await Promise.all(loads.map((load) => load.next("progress")));
      const killedMs = clockMs();
      await server.child.kill("SIGKILL");
      await server.restart();
      const { readyMs } = server;
      const first = checker.call<Granted>("acquire", {
        name: `first/${round}`,
        options: { wait: "forever" },
      });
      crashes.push({ killedMs, readyMs, grantedMs: (await first).atMs });
      const recent = files.flatMap((file) => oneTimeOf(read([file])).slice(-RECENT));
      wrong.push(...(await acknowledgedWrongly(checker, recent)));
    }
    reports = await Promise.all(loads.map((load) => load.call<LoadReport>("stop")));
    const all = read(files);
    const oneTime = oneTimeOf(all);
    wrong.push(...(await acknowledgedWrongly(checker, oneTime)));
    verified = oneTime.length;
    holds = all.filter((entry) => entry.kind === "hold");
    native = holds.filter((hold): hold is Hold & { token: number } => hold.token !== null);
    troubles = all.filter((entry) => entry.kind === "trouble");
  }, 120_000);

  test("[R1p] detached holds and unlocks that were acknowledged are still so after each crash", () => {
    expect(wrong).toEqual([]);
    console.info(`[R1p] ${verified} acknowledged locks and unlocks outlived ${ROUNDS} kills`);
  });

  test("[F1q] tokens rise across the crashes", () => {
    expect(new Set(native.map(({ token }) => token)).size).toBe(native.length);
    // Whoever asked after another had its grant has a higher token than that one.
    const byGrant = [...native].sort((a, b) => a.fromMs - b.fromMs);
    const byRequest = [...native].sort((a, b) => a.askedMs - b.askedMs);
    const descents: string[] = [];
    let [granted, highest] = [0, 0];
    for (const { askedMs, token } of byRequest) {
      while (granted < byGrant.length && byGrant[granted]!.fromMs < askedMs) {
        highest = Math.max(highest, byGrant[granted++]!.token);
      }
      if (token <= highest) descents.push(`${token} was asked for when ${highest} was out`);
    }
    expect(descents).toEqual([]);
  });

  test("[Q1q] no lock was ever held by two at once, crashes or not", () => {
    const overlaps: string[] = [];
    for (const name of HOT_NAMES) {
      const ofName = holds.filter((hold) => hold.name === name).sort((a, b) => a.fromMs - b.fromMs);
      for (const [at, { type, token, fromMs }] of ofName.entries()) {
        const before = ofName[at - 1];
        if (before !== undefined && before.untilMs > fromMs) {
          overlaps.push(`${name}: ${before.type} #${before.token} and ${type} #${token}`);
        }
      }
    }
    expect(overlaps).toEqual([]);
    const count = (type: Hold["type"]) => holds.filter((hold) => hold.type === type).length;
    const across = holds.filter(({ fromMs, untilMs }) => crossed(fromMs, untilMs) !== undefined).length;
    expect(Math.min(count("session"), count("detached"), count("http"))).toBeGreaterThan(2 * ROUNDS);
    console.info(
      `[Q1q] ${holds.length} holds of ${HOT_NAMES.length} locks (${count("session")} session, ` +
        `${count("detached")} detached, ${count("http")} HTTP; ${across} went through a crash): 0 overlaps`,
    );
  });

  test("[R3p] waits and releases went on across the crashes, and no session lease was lost", () => {
    const unexcused = troubles.filter((trouble) => !isExcused(trouble));
    expect(
      unexcused.map((trouble) => ({ ...trouble, crash: crossed(trouble.fromMs, trouble.untilMs) })),
    ).toEqual([]);
    const natives = reports.filter(({ longHold }) => longHold !== undefined);
    for (const { longHold, lostCount } of natives) {
      expect(longHold).toMatchObject({ wasHeld: true, released: true });
      expect(lostCount).toBe(0);
    }
    const across = native.filter(({ askedMs, fromMs }) => crossed(askedMs, fromMs) !== undefined);
    const broken = reports.reduce((sum, { brokenCalls = 0 }) => sum + brokenCalls, 0);
    expect(across.length).toBeGreaterThanOrEqual(ROUNDS / 2);
    console.info(
      `[R3p] ${across.length} native waits crossed a crash and were granted, none failed; ${broken} HTTP calls broke off; ` +
        `${natives.length} session leases lived through all ${ROUNDS} crashes, 0 lost`,
    );
  });

  /** The last crash in a span of time. */
  function crossed(fromMs: number, untilMs: number) {
    return crashes.findLast(({ killedMs }) => fromMs < killedMs && killedMs < untilMs);
  }

  function isExcused({ doing, what, fromMs, untilMs }: Trouble): boolean {
    const crash = crossed(fromMs, untilMs);
    if (crash === undefined) return false;
    // It had been carried out before the crash, and nothing durable tells of that: the next holder has the lock.
    if (doing === "session hold" && what === "over") return true;
    // A release waits 5 s for its answer. That is enough unless this machine is much too busy to start a server.
    const isUnanswered = what === "LOCK_TIMEOUT" || what === "CONNECTION";
    return doing !== "wait" && isUnanswered && crash.grantedMs - crash.killedMs > 3_000;
  }

  test("[R4p] recovery ends as soon as the clients are back", () => {
    const awayMs = crashes.map(({ killedMs, readyMs }) => readyMs - killedMs);
    const recoveredMs = crashes.map(({ readyMs, grantedMs }) => grantedMs - readyMs);
    console.info(
      `[R4p] from ready to the first new grant: median ${median(recoveredMs).toFixed(0)} ms, longest ` +
        `${Math.max(...recoveredMs).toFixed(0)} ms of ${ROUNDS} (the server was away for ${median(awayMs).toFixed(0)} ms)`,
    );
    // Clients look for the server every 2 s at most, and nothing else is waited for: no lease has to run out.
    expect(Math.max(...recoveredMs)).toBeLessThan(LEASE_MS / 2);
  });
});

/** What the server says now against what it had acknowledged: names that were used once. */
async function acknowledgedWrongly(checker: Child, oneTime: readonly OneTime[]): Promise<string[]> {
  const names = oneTime.map(({ name }) => name);
  const infos = await checker.call<LockInfo[]>("inspectAll", { names });
  return oneTime.flatMap(({ kind, name, token }, at) => {
    const [holder] = infos[at]!.holders;
    const isRight =
      kind === "freed"
        ? holder === undefined
        : holder?.detached === true && (token === null || holder.token === token);
    return isRight ? [] : [`${name} was ${kind} (${token}); now ${JSON.stringify(holder)}`];
  });
}

function read(files: readonly string[]): readonly Entry[] {
  return files.filter(existsSync).flatMap((file) => {
    // What is behind the last line end is being written.
    const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
    return lines.map((line) => JSON.parse(line) as Entry);
  });
}

function oneTimeOf(entries: readonly Entry[]): readonly OneTime[] {
  return entries.filter((entry): entry is OneTime => entry.kind === "kept" || entry.kind === "freed");
}
