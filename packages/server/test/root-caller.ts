import type { Caller } from "../src/loop/index.js";

/** Somebody who may everything, for tests of what comes behind access. */
export const ROOT_CALLER: Caller = {
  account: "default",
  label: "root key",
  refusal: () => null,
  trialIsOver: false,
  take: () => true,
  borrow: () => true,
  mayBeRefused: () => true,
  watch: () => () => {},
};
