/** Bugs in what is asked over the HTTP API. */

const ENGINE = "packages/server/src/engine";
const CALLS = `${ENGINE}/calls.ts`;
const TABLE = `${ENGINE}/lock-table.ts`;
const SESSIONS = `${ENGINE}/sessions.ts`;
const STORIES = "packages/server/test/engine/calls.test.ts";
const story = (/** @type {string} */ name) => ({ test: STORIES, name });

/** @type {readonly import("./mutants.js").Mutant[]} */
export const ENGINE_CALLS = [
  {
    id: "unheard-grant-kept",
    rule: "Q7",
    file: CALLS,
    find: "table.forgetRequest(hold);\n    this.#grants.takeBack(hold, nowMs, out);",
    put: "table.forgetRequest(hold);\n",
    wrong: "The grant of a caller that hung up is kept, by nobody, until its lease is over.",
    killedBy: story("[Q7hd]"),
  },
  {
    id: "grant-taken-from-a-listener",
    rule: "Q7",
    file: CALLS,
    find: "if (call.tellings > 0 || hold === null",
    put: "if (hold === null",
    wrong:
      "A grant that two HTTP requests were told is taken back when one hangs up, though the other hears it.",
    killedBy: { test: "packages/server/test/engine/calls-model.test.ts", name: "[Q1h]" },
  },
  {
    id: "call-granted-unheard",
    rule: "Q7",
    file: CALLS,
    find: "return this.#grants.leave([call.waiter], nowMs, out);",
    put: "return;",
    wrong: "A call is granted its lock between two HTTP requests, when nobody can hear it.",
    killedBy: story("[Q7ha]"),
  },
  {
    id: "place-kept-for-ever",
    rule: "Q7",
    file: CALLS,
    find: "table.deadlines.set(call, nowMs + PLACE_KEPT_MS);",
    put: "table.deadlines.set(call, nowMs + PLACE_KEPT_MS * 1_000);",
    wrong: "The place of a call that never comes again is never given up.",
    killedBy: story("[Q7hc]"),
  },
  {
    id: "over-told-granted",
    rule: "Q6",
    file: CALLS,
    find: 'if (!isHold || made.remainder) return refusal(CALL_ID, "REQUEST_ID_REUSED", OVER);',
    put: 'if (!isHold) return nowMs > 0 ? made.message : refusal(CALL_ID, "REQUEST_ID_REUSED", OVER);',
    wrong: "A call that comes again after its hold is over is told that it is granted.",
    killedBy: story("[Q6hc]"),
  },
  {
    id: "call-of-any-session",
    rule: "Q6",
    file: CALLS,
    find: 'session ?? ""}:',
    put: 'session?.slice(64) ?? ""}:',
    wrong: "Two sessions that use one requestId are taken for one caller.",
    killedBy: story("[Q6hg]"),
  },
  {
    id: "call-for-anything",
    rule: "Q6",
    file: CALLS,
    find: 'if ((isHold ? aboutHold(made) : made.about) !== about) return refusal(CALL_ID, "REQUEST_ID_REUSED");',
    put: 'if ((isHold ? aboutHold(made) : made.about) === "" && about === "") return refusal(CALL_ID, "REQUEST_ID_REUSED");',
    wrong: "A call is told the token of another lock that was asked for under its id.",
    killedBy: story("[Q6hb]"),
  },
  {
    id: "unheard-refusal-lost",
    rule: "Q3",
    file: `${ENGINE}/open-calls.ts`,
    find: "call.unheard = message;",
    put: "call.unheard = call.unheard && message;",
    wrong: "A time-out between two HTTP requests is remembered by nobody.",
    killedBy: story("[Q3ha]"),
  },
  {
    id: "token-frees-session-hold",
    rule: "L9",
    file: CALLS,
    find: "if (hold === undefined || hold.remainder || hold.session !== session)",
    put: "if (hold === undefined || hold.remainder)",
    wrong: "Whoever has seen the token of a session's hold gives it back.",
    killedBy: story("[L9hb]"),
  },
  {
    id: "lease-unlocked-by-name",
    rule: "L9",
    file: `${ENGINE}/requests.ts`,
    find: "if (hold.leaseMs !== null) {",
    put: "if (hold.nextOfHold !== null) {",
    wrong: "An unlock by name ends the work of somebody who renews his lease.",
    killedBy: story("[L9ha]"),
  },
  {
    id: "shorter-lease-not-written",
    rule: "R6",
    file: TABLE,
    find: "const isWritten = leaseMs === hold.leaseMs && ",
    put: "const isWritten = ",
    wrong: "A lease that was made shorter lasts for its old time after a crash.",
    killedBy: story("[R6r]"),
  },
  {
    id: "renewal-not-written",
    rule: "R6",
    file: TABLE,
    find: "expiresAtMs <= hold.writtenUntilMs;",
    put: "expiresAtMs <= hold.writtenUntilMs + 2 * leaseMs;",
    wrong: "A lease that was told is forgotten by a crash.",
    killedBy: story("[R6hb]"),
  },
  {
    id: "renewed-beyond-its-longest-time",
    rule: "L7",
    file: TABLE,
    find: "const expiresAtMs = Math.min(nowMs + leaseMs, latestMs);",
    put: "const expiresAtMs = nowMs + leaseMs;",
    wrong: "A hold is renewed beyond its longest time.",
    killedBy: story("[L7ha]"),
  },
  {
    id: "http-hold-not-written",
    rule: "R2",
    file: TABLE,
    find: "if (this.#writesSessionHolds || session!.isHttp) this.write(hold, out);",
    put: "if (this.#writesSessionHolds) this.write(hold, out);",
    wrong:
      "The hold of a session over HTTP is not written down, and nobody can be asked for it after a crash.",
    killedBy: story("[R2ha]"),
  },
  {
    id: "kept-session-not-written",
    rule: "R6",
    file: SESSIONS,
    find: "out.changes.push(sessionPut(session));\n    }\n    return session;",
    put: "if (session.restored) out.changes.push(sessionPut(session));\n    }\n    return session;",
    wrong:
      "A session over HTTP that was told a full lease after a crash has only the rest of the old one after the next.",
    killedBy: story("[R6he]"),
  },
  {
    id: "http-holds-taken-for-a-list",
    rule: "R5",
    file: `${ENGINE}/restore.ts`,
    find: "const isList = session !== null && !session.isHttp && clean && !writesSessionHolds;",
    put: "const isList = session !== null && clean && !writesSessionHolds;",
    wrong: "After a clean stop the holds of sessions over HTTP are not in the store any more.",
    killedBy: story("[R5hb]"),
  },
];
