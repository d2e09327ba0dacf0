import { join } from "node:path";
import type { LockInfo } from "lockdb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Entry,
  HistoryFile,
  type Hold,
  histories,
  judged,
  type OneTime,
  only,
  type Trouble,
} from "./histories.js";
import { type Child, clockMs, type Granted, median, Processes, ROOT_KEY } from "./processes.js";

/** `LOCKDB_KILLS=200` is the whole proof; by default it is short. */
const ROUNDS = Number(process.env.LOCKDB_KILLS ?? 10);
const PROCESSES = 10;
const CLIENTS_A_PROCESS = 5;
const CLIENTS = PROCESSES * CLIENTS_A_PROCESS;
const HOT_NAMES = 12;
/** Each of these is held through each crash, and others wait for it. */
const SLOW_NAMES = 16;
/** Each crash may leave locks of HTTP callers to nobody, for a time. The others should not all stand still behind them. */
const HTTP_NAMES = 4;
/** A native client asks for a hot name so many times more often than for one that HTTP callers want, too. */
const HOT_NAMES_SHARE = 4;
/** Then the load goes on to new names: what was seen of one name is judged in one search, which has its limits. */
const ROUNDS_A_NAME = 5;
const SERVICE = "crashes";
/** What clients have when they ask for nothing else. */
const LEASE_MS = 10_000;
/** How many of a process's last acknowledged changes are looked at after each crash; at the end all are. */
const RECENT = 100;
/** So many names are looked at in one call, so that no message between processes is too long. */
const LOOKS_A_CALL = 5_000;
/** How long a test may take, for each kill: it takes a third of that. */
const ROUND_MS_MAX = 8_000;

const processes = new Processes();
afterAll(() => processes.end());

interface LoadReport {
  readonly brokenCalls?: number;
  /** Of each client: how many leases it lost, and what became of the one that it held all the time. */
  readonly clients?: readonly {
    readonly lostCount: number;
    readonly wasHeld: boolean;
    readonly released: boolean;
  }[];
}

interface Crash {
  readonly killedMs: number;
  readonly readyMs: number;
  /** The first new grant after it. */
  readonly grantedMs: number;
}

describe(`the server of ${CLIENTS} clients is killed with -9 ${ROUNDS} times, and started again`, () => {
  const files: HistoryFile[] = [];
  const wrong: string[] = [];
  const crashes: Crash[] = [];
  let all: readonly Entry[] = [];
  let holds: readonly Hold[] = [];
  let native: readonly Hold[] = [];
  let reports: readonly LoadReport[] = [];
  let troubles: readonly Trouble[] = [];
  let verified = 0;

  beforeAll(
    async () => {
      const folder = processes.folder();
      const server = await processes.server();
      const load = (script: string, id: string, names: Names) => {
        const historyFile = join(folder, id);
        files.push(new HistoryFile(historyFile));
        const target = { service: SERVICE, serverUrl: server.url, apiKey: ROOT_KEY };
        return processes.script(script, {
          id,
          historyFile,
          names,
          clients: CLIENTS_A_PROCESS,
          ...target,
        });
      };
      const natives = Array.from({ length: PROCESSES }, (_, at) => {
        return load("load-native.mjs", `n${at}`, namesOf(0).native);
      });
      const https = ["h1", "h2"].map((id) => load("load-http.mjs", id, namesOf(0).http));
      const loads = [...natives, ...https];
      const checker = await processes.client(server, { service: SERVICE });
      // It waits for the end of each recovery, so its session must live through each crash too.
      await checker.call<Granted>("acquire", { name: "long/checker" });
      await Promise.all(loads.map((load) => load.next("ready")));

      for (let round = 0; round < ROUNDS; round++) {
        if (round > 0 && round % ROUNDS_A_NAME === 0) {
          const { native, http } = namesOf(round);
          await Promise.all(natives.map((load) => load.call("rename", { names: native })));
          await Promise.all(https.map((load) => load.call("rename", { names: http })));
        }
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
        for (const file of files) file.look();
        const recent = files.flatMap(({ oneTime }) => oneTime.slice(-RECENT));
        wrong.push(...(await acknowledgedWrongly(checker, recent)));
        await Promise.all(natives.map((load) => load.call("turn")));
      }
      reports = await Promise.all(loads.map((load) => load.call<LoadReport>("stop")));
      for (const file of files) file.look();
      all = files.flatMap(({ entries }) => entries);
      const oneTime = files.flatMap((file) => file.oneTime);
      wrong.push(...(await acknowledgedWrongly(checker, oneTime)));
      verified = oneTime.length;
      troubles = only(all, "trouble");
      native = only(all, "hold").filter(({ type }) => type !== "http");
      holds = only(all, "hold").filter(({ name }) => name.startsWith("hot/"));
    },
    60_000 + ROUNDS * ROUND_MS_MAX,
  );

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
    const latest = new Map<string, Hold>();
    for (const hold of [...holds].sort((a, b) => a.fromMs - b.fromMs)) {
      const { name, type, token, fromMs } = hold;
      const before = latest.get(name);
      latest.set(name, hold);
      if (before !== undefined && before.untilMs > fromMs) {
        overlaps.push(`${name}: ${before.type} #${before.token} and ${type} #${token}`);
      }
    }
    const count = (type: Hold["type"]) => holds.filter((hold) => hold.type === type).length;
    const across = holds.filter(({ fromMs, untilMs }) =>
      crashes.some(({ killedMs, grantedMs }) => fromMs < killedMs && grantedMs < untilMs),
    ).length;
    console.info(
      `[Q1q] ${holds.length} holds of ${latest.size} locks (${count("session")} session, ` +
        `${count("detached")} detached, ${count("http")} HTTP; ${across} outlasted a crash and the recovery from it): ${overlaps.length} overlaps`,
    );
    expect(overlaps).toEqual([]);
    expect(Math.min(count("session"), count("detached"), count("http"))).toBeGreaterThan(2 * ROUNDS);
    // What was given back before the server was there again could not be given to two.
    expect(across).toBeGreaterThan((ROUNDS * SLOW_NAMES) / 2);
  });

  test("[Q1r] one lock service explains all that its clients saw, crashes or not", {
    timeout: 60_000 + ROUNDS * 1_000,
  }, () => {
    const verdict = judged(
      histories(
        all,
        crashes.map(({ killedMs }) => killedMs),
      ),
    );
    console.info(
      `[Q1r] ${verdict.operations} operations on ${verdict.locks} locks judged, ${verdict.unheard} lock calls never answered: ` +
        `${verdict.problems.length} contradictions, ${verdict.unfinished.length} histories too large to judge`,
    );
    expect(verdict.problems).toEqual([]);
    // What could not be judged is not proved.
    expect(verdict.unfinished).toEqual([]);
  });

  test("[R3p] waits and releases went on across the crashes, and no session lease was lost", () => {
    const unexcused = troubles.filter((trouble) => !isExcused(trouble));
    const clients = reports.flatMap(({ clients = [] }) => clients);
    const lost = clients.reduce((sum, { lostCount }) => sum + lostCount, 0);
    const across = native.filter(({ askedMs, fromMs }) => crossed(askedMs, fromMs) !== undefined);
    const broken = reports.reduce((sum, { brokenCalls = 0 }) => sum + brokenCalls, 0);
    const late = troubles.filter(({ what }) => what !== "over").length;
    console.info(
      `[R3p] ${clients.length} clients, ${ROUNDS} kills: ${lost} leases lost; ${across.length} native waits crossed a crash and ` +
        `were granted; ${late} releases had no answer in 5 s; ${broken} HTTP calls broke off`,
    );
    expect(
      unexcused.map((trouble) => ({ ...trouble, crash: crossed(trouble.fromMs, trouble.untilMs) })),
    ).toEqual([]);
    expect(clients).toHaveLength(CLIENTS);
    expect(clients.filter(({ wasHeld, released }) => !wasHeld || !released)).toEqual([]);
    expect(lost).toBe(0);
    expect(across.length).toBeGreaterThanOrEqual(ROUNDS / 2);
  });

  /** The last crash in a span of time. */
  function crossed(fromMs: number, untilMs: number) {
    return crashes.findLast(({ killedMs }) => fromMs < killedMs && killedMs < untilMs);
  }

  function isExcused({ doing, what, fromMs, untilMs }: Trouble): boolean {
    // It had been carried out before the crash, and nothing durable tells of that: the next holder has the lock.
    if (doing === "session hold" && what === "over") return crossed(fromMs, untilMs) !== undefined;
    // A release waits 5 s for its answer. That is enough unless this machine is much too busy to start a server.
    const isUnanswered = what === "LOCK_TIMEOUT" || what === "CONNECTION";
    const slow = crashes.filter(({ killedMs, grantedMs }) => grantedMs - killedMs > 3_000);
    return (
      doing !== "wait" &&
      isUnanswered &&
      slow.some(({ killedMs, grantedMs }) => fromMs < grantedMs && killedMs < untilMs)
    );
  }

  test("[R4p] recovery ends as soon as the clients are back", () => {
    const figures = (spansMs: readonly number[]) =>
      `median ${median(spansMs).toFixed(0)} ms, longest ${Math.max(...spansMs).toFixed(0)} ms`;
    const recoveredMs = crashes.map(({ readyMs, grantedMs }) => grantedMs - readyMs);
    console.info(
      `[R4p] the first new grant after each of ${ROUNDS} kills, with ${CLIENTS} clients to wait for: from ready ` +
        `${figures(recoveredMs)}; from the kill ${figures(crashes.map((one) => one.grantedMs - one.killedMs))}`,
    );
    expect(median(recoveredMs)).toBeLessThan(1_000);
    // Clients look for the server every 2 s at most, and nothing else is waited for: no lease has to run out.
    expect(Math.max(...recoveredMs)).toBeLessThan(LEASE_MS / 2);
  });
});

interface Names {
  readonly hot: readonly string[];
  readonly slow: readonly string[];
}

/** The locks that many want in a round, as often as they should be picked. */
function namesOf(round: number): { readonly native: Names; readonly http: Names } {
  const period = Math.floor(round / ROUNDS_A_NAME);
  const names = (kind: string, count: number) =>
    Array.from({ length: count }, (_, at) => `hot/${period}/${kind}/${at}`);
  const [hot, http, slow] = [
    names("native", HOT_NAMES),
    names("http", HTTP_NAMES),
    names("slow", SLOW_NAMES),
  ];
  const often = Array.from({ length: HOT_NAMES_SHARE }, () => hot).flat();
  return { native: { hot: [...often, ...http], slow }, http: { hot: http, slow: [] } };
}

/** What the server says now against what it had acknowledged: names that were used once. */
async function acknowledgedWrongly(checker: Child, oneTime: readonly OneTime[]): Promise<string[]> {
  const infos: LockInfo[] = [];
  for (let at = 0; at < oneTime.length; at += LOOKS_A_CALL) {
    const names = oneTime.slice(at, at + LOOKS_A_CALL).map(({ name }) => name);
    infos.push(...(await checker.call<LockInfo[]>("inspectAll", { names })));
  }
  return oneTime.flatMap(({ kind, name, token }, at) => {
    const [holder] = infos[at]!.holders;
    const isRight =
      kind === "freed"
        ? holder === undefined
        : holder?.detached === true && (token === null || holder.token === token);
    return isRight ? [] : [`${name} was ${kind} (${token}); now ${JSON.stringify(holder)}`];
  });
}
