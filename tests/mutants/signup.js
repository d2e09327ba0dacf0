/** Bugs in how trials begin. */

const HTTP = "packages/server/src/http";
const TEST = "packages/server/test/http/signup.test.ts";

/** @type {readonly import("./mutants.js").Mutant[]} */
export const SIGNUP = [
  {
    id: "trials-from-other-sites",
    rule: "A4",
    file: `${HTTP}/same-origin.ts`,
    find: 'return site !== "same-origin" && site !== "none";',
    put: 'return site === "cross-site";',
    wrong:
      "A page of a neighbour, such as another name below the same domain, begins trials for its visitors.",
    killedBy: { test: TEST, name: "[A4sk]" },
  },
  {
    id: "trials-from-hidden-origins",
    rule: "A4",
    file: `${HTTP}/same-origin.ts`,
    find: "return origin !== undefined && !isOriginOf(origin, host);",
    put: 'return origin !== undefined && origin !== "null" && !isOriginOf(origin, host);',
    wrong: "A page that hides where it is from begins trials for its visitors.",
    killedBy: { test: TEST, name: "[A4sk]" },
  },
  {
    id: "address-that-a-shell-runs",
    rule: "A4",
    file: "packages/dashboard/src/address.ts",
    find: "[0-9a-z.-]{1,253}",
    put: "[^/]{1,253}",
    wrong: "What a name of this server says is shown in a command for a shell, whatever it is.",
    killedBy: { test: "packages/dashboard/test/pure.test.ts", name: "[A4sn]" },
  },
  {
    id: "trial-refused-for-a-second",
    rule: "A4",
    file: `${HTTP}/errors.ts`,
    find: 'const headers = reply.hasHeader("retry-after") ? {} : errorHeaders(code);',
    put: "const headers = errorHeaders(code);",
    wrong: "Whoever has begun too many trials is told to try again in a second, for an hour.",
    killedBy: { test: TEST, name: "[A4si]" },
  },
];
