/** Bugs in how a member passes requests on to the one that serves what they are about. */

const HTTP = "packages/server/src/http";
const PASSING_ON = `${HTTP}/passing-on.ts`;
const UPSTREAMS = `${HTTP}/upstreams.ts`;
const TEST = "packages/server/test/http/passing-on.test.ts";
const HANG_UP_TEST = "packages/server/test/http/passing-on-hang-up.test.ts";
const MOVING_TEST = "packages/server/test/http/moving.test.ts";

/** @type {readonly import("./mutants.js").Mutant[]} */
export const PASSING = [
  {
    id: "unread-grant-kept-elsewhere",
    rule: "Q7",
    file: PASSING_ON,
    find: "if (!wasRead) upstream.reset();",
    put: "if (!wasRead) upstream.end();",
    wrong: "A grant that nobody has read at another member stays.",
    killedBy: { test: HANG_UP_TEST, name: "[Q7mb]" },
  },
  {
    id: "good-end-made-a-reset",
    rule: "Q7",
    file: UPSTREAMS,
    find: "socket.end();",
    put: "this.reset();",
    wrong: "A grant that was read at another member is taken back when its reader closes.",
    killedBy: { test: HANG_UP_TEST, name: "[Q7mc]" },
  },
  {
    id: "change-sent-twice",
    rule: "I3",
    file: PASSING_ON,
    find: 'if (outcome === "failed" && !isSafe(request.raw)) break;',
    put: 'if (outcome === "failed" && socket.destroyed) break;',
    wrong: "What may have been done is asked of a member for a second time.",
    killedBy: { test: TEST, name: "[I3ri]" },
  },
  {
    id: "member-by-its-word",
    rule: "A6",
    file: `${HTTP}/addresses.ts`,
    find: 'typeof shown === "string" && isSame(shown, memberSecret())',
    put: 'typeof shown === "string" && (isSame(shown, memberSecret()) || shown !== "")',
    wrong: "Whoever says that he is a member is believed in whom he speaks for.",
    killedBy: { test: TEST, name: "[A6rb]" },
  },
  {
    id: "secret-passed-on",
    rule: "A6",
    file: PASSING_ON,
    find: "[FORWARDED_SECRET]: member.secret,",
    put: "[FORWARDED_SECRET]: String(raw.headers[FORWARDED_SECRET] ?? member.secret),",
    wrong: "A caller chooses what one member shows to another.",
    killedBy: { test: TEST, name: "[I3rg]" },
  },
  {
    id: "waits-where-it-was",
    rule: "I3",
    file: `${HTTP}/api/acquire.ts`,
    find: 'return this.#passOn(() => this.#refuse("UNAVAILABLE", ERRORS.UNAVAILABLE.message));',
    put: 'if (!this.#response.destroyed) return this.#refuse("UNAVAILABLE", ERRORS.UNAVAILABLE.message); this.#passOn(() => {}); return;',
    wrong: "Who waits for a lock is sent away when its service moves.",
    killedBy: { test: MOVING_TEST, name: "[I3rq]" },
  },
  {
    id: "waits-as-long-as-another-does",
    rule: "I3",
    file: PASSING_ON,
    find: 'if (outcome === "moved") endMs',
    put: 'if (outcome === "moved" || outcome === "not here") endMs',
    wrong:
      "Who asks for what is nowhere waits for ever, while two members each believe that it is with the other.",
    killedBy: { test: TEST, name: "[I3ru]" },
  },
  {
    id: "answered-and-asked-again",
    rule: "Q7",
    file: `${HTTP}/passing-on.ts`,
    find: "for (let isFirst = true; !socket.destroyed && !raw.headersSent; ) {",
    put: "for (let isFirst = true; !socket.destroyed; ) {",
    wrong:
      "A request that has its answer is passed on when its service moves before that was read: it is granted twice.",
    killedBy: { test: MOVING_TEST, name: "[Q7rz]" },
  },
];
