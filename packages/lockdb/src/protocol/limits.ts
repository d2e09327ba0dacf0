/** Limits that hold for every account (N3), and the wire's own numbers. Times are in milliseconds. */
export const LIMITS = {
  nameBytesMax: 512,
  /** An owner's label, or the reason of an administrative act. */
  labelBytesMax: 256,
  metadataBytesMax: 1_024,
  /** Address of a webhook (C5). */
  webhookUrlBytesMax: 1_024,
  /** Locks in one request (N3). */
  namesMax: 64,
  /** Permits of a semaphore. */
  permitsMax: 1_000_000,
  /** Holds that a request is made inside of (D1). */
  withinMax: 64,
  leaseMsMin: 1_000,
  leaseMsMax: 3_600_000,
  /** Ten years: longer than anybody means, and far inside a safe integer. */
  durationMsMax: 315_360_000_000,
} as const;

/** More of them, of what goes over the wire and of what is kept because of it: only those who read it look at these. */
export const WIRE_LIMITS = {
  /** One message, or one HTTP body. */
  messageBytesMax: 65_536,
  /** One WebSocket frame, which holds many messages. */
  frameBytesMax: 1_048_576,
  /** Locks on a page of a list. */
  listMax: 500,
  /** Nesting of arrays and objects in a message. */
  depthMax: 32,
  /** Answers kept for a session that does not acknowledge them (Q6). */
  answersMax: 1_000_000,
  /** Holds that a session may claim after a crash, whatever it may hold now. */
  claimsMax: 1_000_000,
} as const;

/** Lease of a session unless its client asks for another (L4). */
export const LEASE_MS_DEFAULT = 10_000;

/** How long an answer is kept after its hold or waiter is gone (Q6). */
export const ANSWER_KEPT_MS = 60_000;

/** The subprotocol's name in the WebSocket handshake (I2). */
export const SUBPROTOCOL = "lockdb.v1";

/** A browser cannot set headers; it offers its key as a second subprotocol: this, then the key in base64url. */
export const KEY_SUBPROTOCOL = "lockdb.key.";

/** Where the native protocol is served (I2). */
export const CONNECT_PATH = "/v1/connect";

/** LOCK on a phone keypad. */
export const PORT_DEFAULT = 5625;
