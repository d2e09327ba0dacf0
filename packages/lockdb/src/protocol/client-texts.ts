/**
 * Messages of the error table that a client says by itself. They stand apart from the others, which come along with a server's
 * refusals, so that a web page need not load those.
 */
export const CLIENT_TEXTS = {
  UNAUTHORIZED: "Unauthorized",
  CLOSED: "This client is closed. Make a new one.",
} as const;
