// Sends a server what nobody should, from a process of its own. An input is made of a seed and its number alone.
import { given, serveCalls } from "../../../processes/mailbox.mjs";
import { conversation } from "./messages.js";
import { Random } from "./random.js";
import { Requests } from "./requests.js";
import { converse, HttpWire } from "./wire.js";

const { url, keys, seed } = given;
const port = Number(new URL(url).port);
// The server's own list of what it serves.
const document = await (await fetch(`${url}/openapi.json`)).json();
const requests = new Requests(document, keys);
const LANES = 24;
const FRAMES = 25;
const FINDS_MAX = 100;

/** What was sent last, for a server that is gone. @type {{ kind: string, number: number }[]} */
let latest = [];

serveCalls({
  /** Requests with these numbers. */
  http: ({ from, count }) => {
    const wires = Array.from({ length: LANES }, () => new HttpWire(port));
    return over("http", from, count, async (number, lane, tell) => {
      const { status, problem } = await wires[lane].ask(requests.make(new Random(seed, number)));
      tell(`${status}`);
      return { problem, inputs: 1 };
    });
  },
  /** About so many frames, in conversations of 25. */
  native: ({ from, count }) =>
    over("native", from, count, async (number, _lane, tell) => {
      const random = new Random(seed, number);
      const { frames, problem } = await converse(port, random.of(keys), conversation(random, FRAMES));
      tell("conversations");
      return { problem, inputs: frames };
    }),
  /** Bytes of an input, to be looked at or made smaller. */
  latest: () => latest,
  /** One request by itself. */
  request: async ({ bytes, hangMs, ...how }) => {
    const wire = new HttpWire(port, hangMs);
    const { problem } = await wire.ask({ ...how, bytes: Buffer.from(bytes, "base64") });
    wire.close();
    return problem;
  },
  /** One conversation by itself. */
  conversation: async ({ key, frames, hangMs }) =>
    (await converse(port, key, frames.map(unpacked), hangMs)).problem,
  made: ({ kind, number }) => {
    const random = new Random(seed, number);
    if (kind === "http") {
      const { bytes, ...how } = requests.make(random);
      return { ...how, bytes: bytes.toString("base64") };
    }
    return { key: random.of(keys), frames: conversation(random, FRAMES).map(packed) };
  },
});

/** Over a few lanes at once, until so many inputs were sent. */
async function over(kind, from, count, send) {
  let next = from;
  let sent = 0;
  const answers = {};
  const finds = [];
  const tell = (what) => {
    answers[what] = (answers[what] ?? 0) + 1;
  };
  latest = [];
  await Promise.all(
    Array.from({ length: LANES }, async (_, lane) => {
      while (sent < count && finds.length < FINDS_MAX) {
        const number = next++;
        latest.push({ kind, number });
        if (latest.length > 4 * LANES) latest.shift();
        try {
          const { problem, inputs } = await send(number, lane, tell);
          sent += inputs;
          if (problem !== null) finds.push({ kind, number, problem });
        } catch (error) {
          finds.push({ kind, number, problem: `nobody listens: ${error.code ?? error.message}` });
          return;
        }
      }
    }),
  );
  return { sent, next, answers, finds };
}

function packed(frame) {
  return frame.kind === "text" ? frame : { kind: "bytes", bytes: frame.bytes.toString("base64") };
}

function unpacked(frame) {
  return frame.kind === "text" ? frame : { kind: "bytes", bytes: Buffer.from(frame.bytes, "base64") };
}
