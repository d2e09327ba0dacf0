export { ChurnMap } from "./churn-map.js";
export { CLIENT_TEXTS } from "./client-texts.js";
export { type Duration, durationMs, durationText } from "./duration.js";
export { ERRORS, type ErrorCode, type ErrorRow, isErrorCode, type RetryableCode } from "./errors.js";
export type * from "./http-answers.js";
export {
  ANSWER_KEPT_MS,
  CONNECT_PATH,
  KEY_SUBPROTOCOL,
  LEASE_MS_DEFAULT,
  LIMITS,
  PORT_DEFAULT,
  SUBPROTOCOL,
  WIRE_LIMITS,
} from "./limits.js";
export type * from "./messages.js";
export { metadataProblem } from "./metadata.js";
export {
  clientIdProblem,
  lockNameProblem,
  lockNamesProblem,
  ownerProblem,
  reasonProblem,
  serviceIdProblem,
  utf8Bytes,
  webhookUrlProblem,
} from "./names.js";
export { NumberMap } from "./number-map.js";
export { SCOPES, type Scope } from "./scopes.js";
export { fileVariable, type ReadText, type Secret, secretFrom, secretInFile } from "./secret.js";
export { clientMessageProblem } from "./validate.js";
export { CLIENT_VARIABLES, TOKEN_VARIABLE } from "./variables.js";
