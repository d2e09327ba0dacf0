import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";

/** How long after an answer the end of the connection may still mean that nobody read it. */
const UNREAD_MS = 1_000;

/** Emitted on a connection when another request comes on it. */
const NEXT_REQUEST = "lockdb:next-request";

/** Another request has come on this connection. */
export function noteRequest(socket: Socket): void {
  socket.emit(NEXT_REQUEST);
}

/**
 * Tells once whether the answer that is written next has reached its caller: a grant that did not is taken back (Q7).
 * @param settled called with false when the end came with an error, or before the answer was out
 */
export function watchHandOver(
  socket: Socket,
  response: ServerResponse,
  settled: (wasRead: boolean) => void,
): void {
  let timer: NodeJS.Timeout | undefined;
  const settle = (hadError: boolean) => {
    clearTimeout(timer);
    response.off("finish", startTimer);
    socket.off("close", settle).off("end", probe).off(NEXT_REQUEST, wasRead);
    settled(!hadError && response.writableFinished);
  };
  // A caller that had closed before the answer came to it has refused it by now: one more write meets that error. To
  // one that has read the answer and then closed, these two bytes are nothing.
  const probe = () => void socket.write("\r\n");
  // Nobody asks for more on a connection before reading what came. A reset later on says nothing about this answer.
  // But behind an answer for which an earlier call on it still waits, this one is not out yet.
  const wasRead = () => {
    if (response.writableFinished) settle(false);
  };
  const startTimer = () => {
    timer = setTimeout(wasRead, UNREAD_MS);
  };
  // As many calls may be on their way on one connection.
  socket.setMaxListeners(0);
  response.once("finish", startTimer);
  // Before the HTTP server's own listener, which closes our side.
  socket.prependOnceListener("end", probe).once("close", settle).on(NEXT_REQUEST, wasRead);
}
