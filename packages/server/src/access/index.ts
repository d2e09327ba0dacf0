export { Access } from "./access.js";
export { ACCOUNT_DEFAULT, type Account, LIMITS_TRIAL, type Limits, TRIAL_MS } from "./account.js";
export type { Key } from "./key.js";
export type { KeyCaller } from "./key-caller.js";
export { ROOT_KEY_LENGTH_MIN } from "./keys.js";
export { AccountShares, type AccountUse, actsIn, type Share } from "./shares.js";
export type { AccountChange, AccountInfo, KeyWish, Narrowing, NewKey } from "./wishes.js";
