/** Somebody's WebSocket, as a connection uses it. */
export interface ClientSocket {
  /** Bytes that were said and have not left this process. */
  readonly bufferedAmount: number;
  /** Before that nothing is heard. Called once. */
  listen(listener: SocketListener): void;
  /** A text message. Does nothing once it is closed. */
  send(text: string): void;
  /** Says why, and ends it when the other side has said the same, or too late. Nothing that comes meanwhile is heard. */
  close(status: number, reason: string): void;
  /** Ends it at once. */
  terminate(): void;
}

/** Who hears what comes on a WebSocket. */
export interface SocketListener {
  /** @param text null: it was binary */
  message(text: string | null, bytes: number): void;
  /** Nobody hears what is said on it any more, and nothing comes. Once. */
  closed(): void;
}
