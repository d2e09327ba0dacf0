// Frames of the native protocol out of the server's own table of messages: right ones, and what can be made of them.
import { FORMS } from "../../../../packages/lockdb/dist/protocol/validate.js";
import { hostile, json, mangled, NUMBERS, Raw, spoilt, TEXTS } from "./random.js";

const KINDS = Object.keys(FORMS);
const SHORT_MS = [1_000, 1_500, 2_000];
/** What may stand in some field of some message: the table's own checks say in which. */
const POOL = [
  ...[1, 2, 3, 4, 5, 6, 7, 8, 20, 50, ...SHORT_MS, null, true, false, ""],
  ...["a", "b", "c/d", "é", "__proto__", "n1", "n2", "fuzz-0", "fuzz-1", "constructor"],
  ...[
    ["a", "b"],
    ["a", ["b", "shared"]],
    [["c", 3, 2]],
    [["a", "shared"]],
    [["c", 3]],
    Array.from({ length: 64 }, (_, at) => `s${at}`),
  ],
  ...[
    [1, 2],
    [],
    {},
    { a: 1, b: "x", c: true },
    "1.1",
    "0.0",
    "x.1",
    "http://127.0.0.1:1/",
    "id-12345678",
    "id-87654321",
  ],
  ...TEXTS,
  ...NUMBERS.filter((value) => !(value instanceof Raw)),
];
/** @type {Map<Function, unknown[]>} */
const right = new Map();
const LARGE_SHARE = 0.01;
const SENT_MAX = 1_048_576;
/** An id, a token, a ticket. Ids rise: one that does not would be refused before anything is looked at. */
const numberCheck = FORMS.heartbeat.fields[0];
const WITHOUT_ID = ["hold", "unwatch"];
/** Where the token of the newest hold is put in. */
const TOKEN = new Raw("@token@");
export const IDS_A_FRAME = 10;

/**
 * What one connection sends, frame by frame. `received` is put in when it is sent: the server knows how much it has told.
 * @typedef {{ kind: "text", received: string | null, messages: string[] } | { kind: "bytes", bytes: Buffer }} BadFrame
 * @returns {BadFrame[]}
 */
export function conversation(random, count) {
  const frames = [];
  const hello = ["hello", helloFields(random)];
  const isSpoilt = random.is(0.06);
  frames.push(
    frame([json(isSpoilt ? spoilt(random, hello) : hello), ...(random.is(0.9) ? ['["sync"]'] : [])]),
  );
  for (let number = 0; number < count; number++) {
    const messages = Array.from({ length: 1 + (random.is(0.2) ? random.below(8) : 0) }, (_, at) =>
      message(random, (number + 1) * IDS_A_FRAME + at),
    );
    if (random.is(LARGE_SHARE)) messages.push(...Array(200).fill(messages[0].slice(0, 4_000)));
    const one = frame(messages, random.is(0.03) ? json(hostile(random)) : null);
    if (random.is(0.04)) frames.push({ kind: "bytes", bytes: oddBytes(random, one) });
    else frames.push(one);
  }
  return frames;
}

/** @returns {BadFrame} */
function frame(messages, received = null) {
  return { kind: "text", received, messages };
}

/** A frame in the form it goes out. */
export function encoded(frame, received, token = 1) {
  if (frame.kind === "bytes") return frame.bytes;
  const count = frame.received ?? received;
  const text = `[${[count, ...frame.messages].join()}]`.replaceAll(TOKEN.text, `${token}`);
  return wsFrame(Buffer.from(text).subarray(0, SENT_MAX + 10));
}

function message(random, id) {
  const kind = random.of(KINDS);
  const { fields, required } = FORMS[kind];
  const count = required + random.below(fields.length - required + 1);
  const value = [kind, ...fields.slice(0, count).map((check) => valueFor(random, check))];
  if (fields[0] === numberCheck && !WITHOUT_ID.includes(kind) && random.is(0.85)) value[1] = id;
  if (random.is(0.45)) return json(value);
  const text = json(random.is(0.9) ? spoilt(random, value) : hostile(random));
  return random.is(0.1) ? mangled(random, Buffer.from(text)).toString("latin1") : text;
}

function valueFor(random, check) {
  if (check.fields !== undefined) {
    const chosen = Object.entries(check.fields).filter(() => random.is(0.35));
    return Object.fromEntries(chosen.map(([key, each]) => [key, valueFor(random, each)]));
  }
  if (check === numberCheck && random.is(0.4)) return TOKEN;
  let all = right.get(check);
  if (all === undefined) {
    all = POOL.filter((value) => check(value) === null);
    right.set(check, all);
  }
  return all.length > 0 ? random.of(all) : hostile(random);
}

function helloFields(random) {
  const id = random.is(0.2) ? `id-${random.below(20)}-12345678` : `id-${random.bytes(12).toString("hex")}`;
  return {
    ...Object.fromEntries(
      Object.entries(FORMS.hello.fields[0].fields).map(([key, check]) => [key, valueFor(random, check)]),
    ),
    ...{ service: `fuzz-${random.below(3)}`, client: id, session: id, connection: 1 + random.below(3) },
    ...{ resume: random.is(0.1), leaseMs: random.of(SHORT_MS) },
  };
}

/** What is no frame, or another one than it should be. */
function oddBytes(random, one) {
  const right = encoded(one, 1);
  switch (random.below(6)) {
    case 0:
      return mangled(random, right);
    case 1:
      return wsFrame(Buffer.from("[1]"), random.below(16), random.is(0.5));
    case 2:
      return wsFrame(random.bytes(random.below(200)), random.of([1, 2, 8, 9, 10]));
    case 3:
      // A length that is a lie.
      return Buffer.from([0x81, 0xff, ...random.bytes(8), 0, 0, 0, 0, 1, 2, 3]);
    case 4:
      // Not masked, as clients must.
      return Buffer.from([0x81, 3, 0x5b, 0x31, 0x5d]);
    default:
      return random.bytes(random.below(300));
  }
}

/** A client's frame, masked with zeros. */
export function wsFrame(payload, opcode = 1, isFinal = true) {
  const first = (isFinal ? 0x80 : 0) | opcode;
  const mask = [0, 0, 0, 0];
  if (payload.length < 126)
    return Buffer.concat([Buffer.from([first, 0x80 | payload.length, ...mask]), payload]);
  const head = Buffer.alloc(payload.length < 65_536 ? 8 : 14);
  head[0] = first;
  if (payload.length < 65_536) {
    head[1] = 0x80 | 126;
    head.writeUInt16BE(payload.length, 2);
  } else {
    head[1] = 0x80 | 127;
    head.writeBigUInt64BE(BigInt(payload.length), 2);
  }
  return Buffer.concat([head, payload]);
}
