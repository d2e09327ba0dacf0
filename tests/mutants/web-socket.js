/** Bugs in the server's side of a WebSocket. */

const HTTP = "packages/server/src/http";
const READER = `${HTTP}/frame-reader.ts`;
const SOCKET = `${HTTP}/web-socket.ts`;
const TESTS = "packages/server/test/http";
const READER_TEST = `${TESTS}/frame-reader.test.ts`;
const SOCKET_TEST = `${TESTS}/web-socket.test.ts`;

/** @type {readonly import("./mutants.js").Mutant[]} */
export const WEB_SOCKET = [
  {
    id: "end-noticed-late",
    rule: "Q7",
    file: SOCKET,
    find: '.once("end", gone)',
    put: '.once("end", () => this.#socket.end())',
    wrong:
      "A lock is granted to a waiter that is known to be gone, and nobody has it until that lease is over.",
    killedBy: { test: `${TESTS}/native.test.ts`, name: "[Q7w]" },
  },
  {
    id: "close-not-told",
    rule: "Q7",
    file: SOCKET,
    find: "if (breach !== null) this.#end(breach);",
    put: "if (breach !== null) this.close(breach);",
    wrong: "A client that has broken the protocol is granted locks until its socket is closed.",
    killedBy: { test: SOCKET_TEST, name: "[I2v]" },
  },
  {
    id: "close-unanswered",
    rule: "I2",
    file: SOCKET,
    find: "this.close(status);",
    put: "void status;",
    wrong: "A client's close is not answered: its library takes it for a broken connection.",
    killedBy: { test: SOCKET_TEST, name: "[I2u]" },
  },
  {
    id: "closed-and-not-over",
    rule: "Q7",
    file: SOCKET,
    find: "    this.#sayClose(status, reason);\n    this.#over();",
    put: "    this.#sayClose(status, reason);\n    this.#isOpen = false;",
    wrong:
      "Whom the server has closed its connection to is granted what he does not hear of, for half a minute.",
    killedBy: { test: SOCKET_TEST, name: "[Q7wc]" },
  },
  {
    id: "upgrade-is-no-request",
    rule: "Q7",
    file: `${HTTP}/app.ts`,
    find: "    noteRequest(socket as Socket);",
    put: "    void (socket as Socket);",
    wrong:
      "A lock that was granted over HTTP, and read, is taken from its holder when his connection became a WebSocket.",
    killedBy: { test: `${TESTS}/hang-up.test.ts`, name: "[Q7na]" },
  },
  {
    id: "refused-for-ever",
    rule: "N3",
    file: `${HTTP}/app.ts`,
    find: "setTimeout(() => socket.destroy(), CLOSING_MS)",
    put: "setTimeout(() => {}, CLOSING_MS)",
    wrong:
      "Without a key: a connection that reads nothing and is refused an upgrade stays for ever, and keeps the server from stopping.",
    killedBy: { test: `${TESTS}/handshake.test.ts`, name: "[N3zj]" },
  },
  {
    id: "half-closed-for-ever",
    rule: "N3",
    file: SOCKET,
    find: "setTimeout(() => this.terminate(), CLOSING_MS)",
    put: "setTimeout(() => {}, CLOSING_MS)",
    wrong: "Who never closes its side keeps a socket of the server for ever.",
    killedBy: { test: SOCKET_TEST, name: "[I2x]" },
  },
  {
    id: "pongs-for-nobody",
    rule: "N3",
    file: SOCKET,
    find: "if (this.#pongs >= PONGS_MAX) return",
    put: "if (this.#pongs >= 1_000_000 * PONGS_MAX) return",
    wrong: "Whoever sends pings and reads nothing fills the server's memory.",
    killedBy: { test: SOCKET_TEST, name: "[N3zi]" },
  },
  {
    id: "handshake-of-any-version",
    rule: "I2",
    file: SOCKET,
    find: 'headers["sec-websocket-version"] !== VERSION',
    put: 'headers["sec-websocket-version"] === undefined',
    wrong: "A client of another version of WebSockets is let in, and its frames are misread.",
    killedBy: { test: `${TESTS}/handshake.test.ts`, name: "[I2d]" },
  },
  {
    id: "frames-without-masks",
    rule: "I2",
    file: READER,
    find: "(first & RESERVED) !== 0 || (second & MASKED) === 0",
    put: "(first & RESERVED) !== 0",
    wrong: "Frames without a mask are read, with bytes of theirs taken for it.",
    killedBy: { test: READER_TEST, name: "[I2q]" },
  },
  {
    id: "long-in-pieces",
    rule: "N3",
    file: READER,
    find: "this.#message.length + length > this.#bytesMax",
    put: "length > this.#bytesMax",
    wrong: "A message of many frames has no longest length: one connection can fill the memory.",
    killedBy: { test: READER_TEST, name: "[I2q]" },
  },
  {
    id: "broken-letters",
    rule: "I2",
    file: READER,
    find: 'text.includes("\\ufffd") && !isUtf8(',
    put: 'text.includes("\\uffff") && !isUtf8(',
    wrong: "Names that are no UTF-8 become other names, of which two may be the same.",
    killedBy: { test: READER_TEST, name: "[I2q]" },
  },
  {
    id: "heard-behind-the-close",
    rule: "I2",
    file: READER,
    find: "if (left < 2 || this.#isOver) return 0;",
    put: "if (left < 2) return 0;",
    wrong: "What stands behind a close is taken for a message.",
    killedBy: { test: READER_TEST, name: "[I2q]" },
  },
  {
    id: "rest-that-was-read",
    rule: "I2",
    file: READER,
    find: "this.#bytes.subarray(count, this.#length)",
    put: "this.#bytes.subarray(count - 1, this.#length - 1)",
    wrong: "A frame that came in pieces begins with the last byte of the one before.",
    killedBy: { test: READER_TEST, name: "[I2r]" },
  },
  {
    id: "message-within-a-message",
    rule: "I2",
    file: READER,
    find: "return this.#kind === 0;",
    put: "return true;",
    wrong: "A message in the middle of another one is mixed into it.",
    killedBy: { test: READER_TEST, name: "[I2q]" },
  },
];
