import { CLIENT_TEXTS, ERRORS, type ErrorCode } from "lockdb/protocol";
import { expect, test } from "vitest";
import { errorOf } from "../../src/client/errors.js";

const CODES = Object.keys(ERRORS) as ErrorCode[];

test("[El] a client says of each error whether asking again can help, as the table does", () => {
  for (const code of CODES) {
    expect([code, errorOf(code, "text").retryable]).toEqual([code, ERRORS[code].retryable]);
  }
});

test("[Em] an error without a text says the table's, or at least its code", () => {
  for (const code of CODES) {
    expect(errorOf(code).message).toContain(code in CLIENT_TEXTS ? ERRORS[code].message : code);
  }
});

test("[En] a code of a newer server is an error like others, and not worth another attempt", () => {
  const error = errorOf("TOO_NEW" as ErrorCode, "What the server says.", { since: 2 });
  expect(error).toMatchObject({ code: "TOO_NEW", message: "What the server says.", retryable: false });
  expect(error.details).toEqual({ since: 2 });
});
