/**
 * A later holder has been here, so what this one wanted to write was refused. Roll back and give up; to try once more is to ask
 * for the lock once more, with a new token.
 * @example
 * if (error instanceof StaleTokenError) console.warn(`a later holder than ${error.token} was here`);
 */
export class StaleTokenError extends Error {
  /** Stable; messages are for people. */
  readonly code = "STALE_TOKEN";
  /** What an HTTP server answers: 409. Express and Fastify do by themselves. */
  readonly status = 409;
  /** The token that was refused. */
  readonly token: number;
  /** The highest that was seen, where that is known; PostgreSQL does not tell. */
  readonly seen: number | undefined;

  /**
   * For guards of your own, of an object store say.
   *
   * @param what is guarded, for the message
   * @param token that was refused
   * @param seen the highest that was seen there, if known
   */
  constructor(what: string, token: number, seen?: number) {
    const later = seen === undefined ? "" : ` It had token ${seen}.`;
    super(
      `${what}: a later holder than token ${token} has been here.${later} Stop, and ask for the lock anew.`,
    );
    // Set by hand: a minifier renames classes.
    this.name = "StaleTokenError";
    this.token = token;
    this.seen = seen;
  }
}

/**
 * A request came without a token of the lock that guards what it asks for, or with a header that says none.
 * @example
 * if (error instanceof TokenHeaderError) return new Response(error.message, { status: error.status });
 */
export class TokenHeaderError extends Error {
  /** Stable; messages are for people. */
  readonly code: "TOKEN_MISSING" | "TOKEN_MALFORMED";
  /** What an HTTP server answers: 428 where the token is missing, 400 where the header is malformed. */
  readonly status: 428 | 400;

  /**
   * For guards of your own.
   *
   * @param code what is wrong
   * @param message for people
   */
  constructor(code: "TOKEN_MISSING" | "TOKEN_MALFORMED", message: string) {
    super(message);
    this.name = "TokenHeaderError";
    this.code = code;
    this.status = code === "TOKEN_MISSING" ? 428 : 400;
  }
}
