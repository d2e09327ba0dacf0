/** RFC 6455, section 5.2: the last, and mostly the only, frame of a message. */
const FIN = 0x80;

/** A whole text message, or what a control frame says, in one piece: two would be two buffers of a system call. */
export function frameOf(opcode: number, payload: string | Uint8Array): Buffer {
  const length = typeof payload === "string" ? Buffer.byteLength(payload) : payload.length;
  const headBytes = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const frame = Buffer.allocUnsafe(headBytes + length);
  frame[0] = FIN | opcode;
  if (headBytes === 2) frame[1] = length;
  else if (headBytes === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = 127;
    frame.writeBigUInt64BE(BigInt(length), 2);
  }
  if (typeof payload === "string") frame.write(payload, headBytes, "utf8");
  else frame.set(payload, headBytes);
  return frame;
}
