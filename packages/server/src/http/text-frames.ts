import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";

/** RFC 6455, section 5.2: the last and only frame of a text message. */
const TEXT = 0x81;

/**
 * Sends text messages past ws, each in one piece. ws writes the head of a frame and its payload apart, which is a seventh of what a lock costs
 * this server. Its own frames (pings, closes) go the same way, whole: nothing here is compressed, so it never waits between two pieces.
 */
export function textSender(client: WebSocket, socket: Duplex): (text: string) => void {
  return (text) => {
    if (client.readyState === client.OPEN) socket.write(frameOf(text));
  };
}

function frameOf(text: string): Buffer {
  const length = Buffer.byteLength(text);
  const headLength = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const frame = Buffer.allocUnsafe(headLength + length);
  frame[0] = TEXT;
  if (headLength === 2) frame[1] = length;
  else if (headLength === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = 127;
    frame.writeBigUInt64BE(BigInt(length), 2);
  }
  frame.write(text, headLength, "utf8");
  return frame;
}
