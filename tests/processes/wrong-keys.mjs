// Tries wrong keys, from a process of its own.
import { floodWithWrongKeys } from "../../bench/src/wrong-keys.js";
import { given, serveCalls } from "./mailbox.mjs";

serveCalls({ flood: (options) => floodWithWrongKeys({ ...given, ...options }) });
