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
    find: "if (this.#isOpen) this.close(",
    put: "if (!this.#isOpen) this.close(",
    wrong: "A client's close is not answered: its library takes it for a broken connection.",
    killedBy: { test: SOCKET_TEST, name: "[I2u]" },
  },
  {
    id: "half-closed-for-ever",
    rule: "N3",
    file: SOCKET,
    find: "setTimeout(() => this.#socket.destroy(), CLOSING_MS)",
    put: "setTimeout(() => {}, CLOSING_MS)",
    wrong: "Who never closes its side keeps a socket of the server for ever.",
    killedBy: { test: SOCKET_TEST, name: "[I2x]" },
  },
  {
    id: "pongs-for-nobody",
    rule: "N3",
    file: SOCKET,
    find: "if (this.bufferedAmount > BACKLOG_BYTES_MAX) this.terminate();",
    put: "if (this.bufferedAmount < -BACKLOG_BYTES_MAX) this.terminate();",
    wrong: "Whoever sends pings and reads nothing fills the server's memory.",
    killedBy: { test: `${TESTS}/connection.test.ts`, name: "[N3r]" },
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
    id: "rest-in-the-wrong-place",
    rule: "I2",
    file: READER,
    find: "this.#bytes.copyWithin(0, count, this.#length);",
    put: "this.#bytes.copyWithin(0, count, this.#length - 1);",
    wrong: "The last byte of a frame that came in pieces is another one.",
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
