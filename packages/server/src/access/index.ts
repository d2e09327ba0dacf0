export { ACCOUNT_DEFAULT, Access } from "./access.js";
export { keyHash, keyMatches, newApiKey, ROOT_KEY_LENGTH_MIN } from "./keys.js";
