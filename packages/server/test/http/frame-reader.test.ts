import type { Writable } from "node:stream";
import { expect, test } from "vitest";
import * as ws from "ws";
import { FrameReader, OPCODES } from "../../src/http/frame-reader.js";

/** Its types leave it out. */
const { Receiver } = ws as unknown as {
  readonly Receiver: new (options: { isServer: boolean; maxPayload: number }) => Writable;
};

const BYTES_MAX = 1_000;

/** What a reader tells, in order; the last may be the status of what was wrong. */
type Told = readonly (string | number)[];

function told(chunks: readonly Buffer[]): Told {
  const events: (string | number)[] = [];
  const reader = new FrameReader(BYTES_MAX, {
    message: (text, bytes) => events.push(`message ${text ?? "binary"} ${bytes}`),
    ping: (payload) => events.push(`ping ${Buffer.from(payload).toString("hex")}`),
    close: (status) => events.push(`close ${status}`),
  });
  for (const chunk of chunks) {
    // It is written to.
    const breach = reader.read(Buffer.from(chunk));
    if (breach === null) continue;
    events.push(breach);
    break;
  }
  return events;
}

/** The same by a reader that the world uses. */
async function toldByOthers(chunks: readonly Buffer[]): Promise<Told> {
  const events: (string | number)[] = [];
  const receiver = new Receiver({ isServer: true, maxPayload: BYTES_MAX });
  receiver.on("message", (data: Buffer, isBinary: boolean) =>
    events.push(`message ${isBinary ? "binary" : data.toString()} ${data.length}`),
  );
  receiver.on("ping", (payload: Buffer) => events.push(`ping ${payload.toString("hex")}`));
  receiver.on("conclude", (status: number) => events.push(`close ${status}`));
  await new Promise<void>((resolve) => {
    receiver.on("error", (error: Error) => {
      const status = Object.getOwnPropertySymbols(error).find(
        ({ description }) => description === "status-code",
      );
      events.push((error as unknown as Record<symbol, number>)[status!]!);
      resolve();
    });
    receiver.on("finish", resolve);
    for (const chunk of chunks) if (receiver.writable) receiver.write(Buffer.from(chunk));
    if (receiver.writable) receiver.end();
  });
  return events;
}

interface FrameParts {
  readonly opcode: number;
  readonly isFinal?: boolean;
  readonly payload?: Buffer;
  readonly mask?: Buffer | null;
  readonly reserved?: number;
  /** What it says of its length, in place of the truth. */
  readonly length?: number;
  /** 16 or 64: in so many bits, though it would fit into fewer. */
  readonly bits?: number;
}

function frame(parts: FrameParts): Buffer {
  const { opcode, isFinal = true, payload = Buffer.alloc(0), reserved = 0 } = parts;
  const { mask = Buffer.from([1, 2, 3, 4]), length = payload.length, bits = 7 } = parts;
  const first = (isFinal ? 0x80 : 0) | (reserved << 4) | opcode;
  const masked = mask === null ? 0 : 0x80;
  const is64 = bits === 64 || length > 0xffff;
  const is16 = !is64 && (bits === 16 || length > 125);
  const head = Buffer.alloc(is64 ? 10 : is16 ? 4 : 2);
  head[0] = first;
  head[1] = masked | (is64 ? 127 : is16 ? 126 : length);
  if (is64) head.writeBigUInt64BE(BigInt(length), 2);
  else if (is16) head.writeUInt16BE(length, 2);
  const sent = mask === null ? payload : payload.map((byte, at) => byte ^ mask[at % 4]!);
  return Buffer.concat([head, ...(mask === null ? [] : [mask]), sent]);
}

const text = (said: string, more: Partial<FrameParts> = {}) =>
  frame({ opcode: OPCODES.text, payload: Buffer.from(said), ...more });
const close = (status: number, reason: Uint8Array = Buffer.alloc(0)) =>
  frame({
    opcode: OPCODES.close,
    payload: Buffer.concat([Buffer.from([status >> 8, status & 0xff]), reason]),
  });

/** All in one piece, byte by byte, and in pieces of 7. */
function cuts(bytes: Buffer): readonly (readonly Buffer[])[] {
  const by = (size: number) =>
    Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) =>
      bytes.subarray(at * size, (at + 1) * size),
    );
  return [[bytes], by(1), by(7)];
}

const LONG = "é".repeat(BYTES_MAX / 2);
const CASES: Readonly<Record<string, readonly [Buffer, Told]>> = {
  "messages one after the other": [
    Buffer.concat([text("a"), text(""), text("b\u{1f512}")]),
    ["message a 1", "message  0", "message b\u{1f512} 5"],
  ],
  "a message of several frames, and a ping between": [
    Buffer.concat([
      text("on", { isFinal: false }),
      frame({ opcode: OPCODES.ping, payload: Buffer.from([7]) }),
      frame({ opcode: OPCODES.continuation, isFinal: false }),
      frame({ opcode: OPCODES.continuation, payload: Buffer.from("e") }),
      text("two"),
    ]),
    ["ping 07", "message one 3", "message two 3"],
  ],
  "a letter of two frames": [
    Buffer.concat([
      text("", { payload: Buffer.from([0xc3]), isFinal: false }),
      frame({ opcode: OPCODES.continuation, payload: Buffer.from([0xa9]) }),
    ]),
    ["message é 2"],
  ],
  "a binary message": [frame({ opcode: OPCODES.binary, payload: Buffer.from([0xff]) }), ["message binary 1"]],
  "lengths in more bits than they need": [
    Buffer.concat([text("a", { bits: 16 }), text("b", { bits: 64 })]),
    ["message a 1", "message b 1"],
  ],
  "the longest": [text(LONG), [`message ${LONG} ${BYTES_MAX}`]],
  "longer than that, before it has come": [text("", { length: BYTES_MAX + 1 }), [1009]],
  "longer than anything": [
    Buffer.concat([Buffer.from([0x81, 0xff]), Buffer.alloc(8, 0xff), Buffer.alloc(4)]),
    [1009],
  ],
  "longer than that, in several frames": [
    Buffer.concat([
      text("é", { isFinal: false }),
      frame({ opcode: OPCODES.continuation, payload: Buffer.from(LONG) }),
    ]),
    [1009],
  ],
  "a letter that stands for what is none": [text("\ufffd"), ["message \ufffd 3"]],
  "no UTF-8": [text("", { payload: Buffer.from([0x61, 0xc3]) }), [1007]],
  "a surrogate": [text("", { payload: Buffer.from([0xed, 0xa0, 0x80]) }), [1007]],
  "no mask": [Buffer.concat([text("a"), text("b", { mask: null })]), ["message a 1", 1002]],
  "a mask of zeros": [text("abcde", { mask: Buffer.alloc(4) }), ["message abcde 5"]],
  "a reserved bit": [text("a", { reserved: 4 }), [1002]],
  "an opcode that is none": [frame({ opcode: 3 }), [1002]],
  "a control opcode that is none": [frame({ opcode: 0xb }), [1002]],
  "a continuation of nothing": [frame({ opcode: OPCODES.continuation }), [1002]],
  "a message within a message": [Buffer.concat([text("a", { isFinal: false }), text("b")]), [1002]],
  "a ping of several frames": [frame({ opcode: OPCODES.ping, isFinal: false }), [1002]],
  "a ping that is too long": [frame({ opcode: OPCODES.ping, payload: Buffer.alloc(126) }), [1002]],
  "a pong that nobody asked for": [
    Buffer.concat([frame({ opcode: OPCODES.pong }), text("a")]),
    ["message a 1"],
  ],
  "a close, and nothing behind it": [
    Buffer.concat([close(1000, Buffer.from("bye")), text("a")]),
    ["close 1000"],
  ],
  "a close that says nothing": [frame({ opcode: OPCODES.close }), ["close 1005"]],
  "half a status": [frame({ opcode: OPCODES.close, payload: Buffer.from([3]) }), [1002]],
  "a close of another program": [close(4999), ["close 4999"]],
  "statuses that nobody sends: 1005": [close(1005), [1002]],
  "statuses that nobody sends: 1006": [close(1006), [1002]],
  "statuses that nobody sends: 1004": [close(1004), [1002]],
  "statuses that nobody sends: 1015": [close(1015), [1002]],
  "statuses that nobody sends: 999": [close(999), [1002]],
  "statuses that nobody sends: 2999": [close(2999), [1002]],
  "statuses that nobody sends: 5000": [close(5000), [1002]],
  "a reason that is no UTF-8": [close(1000, Buffer.from([0xff])), [1007]],
  "a frame whose end does not come": [text("abc").subarray(0, -1), []],
};

for (const [what, [bytes, expected]] of Object.entries(CASES)) {
  test(`[I2q] frames of a client, however they are cut: ${what}`, async () => {
    for (const chunks of cuts(bytes)) {
      expect(told(chunks)).toEqual(expected);
      expect(await toldByOthers(chunks)).toEqual(expected);
    }
  });
}

test("[N3zk] of a long message nothing is kept once it is read", () => {
  const long = 1_048_576;
  const whole = text("x".repeat(long));
  const readers = Array.from({ length: 20 }, () => {
    let heard = 0;
    const hear = { message: () => heard++, ping: () => {}, close: () => {} };
    const reader = new FrameReader(long, hear);
    return { reader, heard: () => heard };
  });
  const before = process.memoryUsage().arrayBuffers;
  for (const { reader } of readers) {
    reader.read(Buffer.from(whole.subarray(0, -1)));
    reader.read(Buffer.concat([whole.subarray(-1), whole.subarray(0, 3)]));
  }
  globalThis.gc?.();
  expect(readers.map(({ heard }) => heard())).toEqual(readers.map(() => 1));
  // Garbage may be in it.
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(readers.length * long);
});

/** Numbers from 0 on, below a bound, that look like chance and are the same each time (Park and Miller, 1988). */
function chance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
}

/** Frames as somebody might send them, some of them broken, in pieces. */
function stream(seed: number): readonly Buffer[] {
  const next = chance(seed);
  const opcodes = [1, 1, 1, 2, 0, 0, 8, 9, 9, 10];
  const alphabet = ["a", "é", "\u{1f512}", "\ufffd", "\ufeff"];
  const frames = Array.from({ length: 1 + next(12) }, () => {
    const opcode = next(50) === 0 ? next(16) : opcodes[next(opcodes.length)]!;
    const letters = Array.from({ length: next(8) === 0 ? next(400) : next(12) }, () => alphabet[next(5)]!);
    const said = Buffer.from(letters.join(""));
    if (next(40) === 0 && said.length > 0) said[next(said.length)] = next(256);
    const status = Buffer.from([3, 0xe8 + next(18)]);
    const payload = opcode === 8 && next(4) > 0 ? Buffer.concat([status, said]) : said;
    const bytes = frame({
      opcode,
      isFinal: next(4) > 0,
      payload: opcode >= 8 && next(20) > 0 ? payload.subarray(0, 125) : payload,
      mask: next(60) === 0 ? null : Buffer.from([next(256), next(256), next(256), next(2)]),
      reserved: next(80) === 0 ? next(8) : 0,
      bits: [7, 7, 7, 16, 64][next(5)]!,
    });
    if (next(40) === 0) bytes[next(bytes.length)]! ^= 1 << next(8);
    return bytes;
  });
  const bytes = Buffer.concat(frames);
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = next(3) === 0 ? 1 + next(4) : 1 + next(300);
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return chunks;
}

test("[I2r] whatever comes in whatever pieces, it is read as ws reads it", async () => {
  let [messages, breaches] = [0, 0];
  for (let seed = 1; seed <= 5_000; seed++) {
    const chunks = stream(seed);
    const expected = await toldByOthers(chunks);
    expect(told(chunks), `seed ${seed}`).toEqual(expected);
    messages += expected.filter((event) => String(event).startsWith("message")).length;
    breaches += expected.filter((event) => typeof event === "number").length;
  }
  // It would find nothing in streams that say nothing.
  expect(messages).toBeGreaterThan(2_000);
  expect(breaches).toBeGreaterThan(1_000);
});
