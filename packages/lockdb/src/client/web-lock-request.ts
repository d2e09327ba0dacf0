import type { LIMITS } from "../protocol/index.js";
import type { Lock } from "./web-locks.js";

/** What `request` was called with. */
export interface WebLockRequest {
  readonly name: string;
  /** The name as it travels. */
  readonly wireName: string;
  readonly mode: Lock["mode"];
  readonly ifAvailable: boolean;
  readonly steal: boolean;
  readonly signal: AbortSignal | undefined;
  readonly callback: (lock: Lock | null) => unknown;
}

/** Begins a name that travels in another form. */
const PREFIX = "utf16:";
const ENCODED = /^utf16:(?:[0-9a-f]{4})*$/;
// Typed, not imported: see `WebLocks`.
const NAME_BYTES_MAX: typeof LIMITS.nameBytesMax = 512;
const UNITS_MAX = Math.floor((NAME_BYTES_MAX - PREFIX.length) / 4);

/** Whether a service takes a name as it is (N1). */
type NameRule = (name: string) => boolean;

/**
 * Converts and checks what `request` was called with, in the order in which Web IDL and the standard do: code may see it,
 * by its getters or by which mistake is told.
 * @param args those after the name
 * @throws TypeError for what cannot be converted, or a name that is too long; `NotSupportedError`; the reason of a signal
 *   that has aborted
 */
export function webLockRequest(name: unknown, args: readonly unknown[], isPlain: NameRule): WebLockRequest {
  const [options, callback] = args.length === 1 ? [undefined, args[0]] : args;
  const converted = { name: `${name}`, ...members(options) };
  if (typeof callback !== "function") throw new TypeError("The callback of request is not a function.");
  const { mode, ifAvailable, steal, signal } = converted;
  if (converted.name.startsWith("-")) throw notSupported("A name that begins with - is reserved.");
  if (steal && ifAvailable) throw notSupported("steal and ifAvailable exclude each other.");
  if (steal && mode !== "exclusive") throw notSupported("Only an exclusive lock can be stolen.");
  if (signal !== undefined && (steal || ifAvailable)) {
    throw notSupported("There is no wait for a signal to end with steal or ifAvailable.");
  }
  signal?.throwIfAborted();
  return {
    ...converted,
    wireName: wireNameOf(converted.name, isPlain),
    callback: callback as WebLockRequest["callback"],
  };
}

/**
 * A name as it travels: unchanged if the service takes it (N1), else its UTF-16 units in hexadecimal.
 * @throws TypeError when it is longer than a name may be, 512 bytes, as it travels
 */
function wireNameOf(name: string, isPlain: NameRule): string {
  if (!name.startsWith(PREFIX) && isPlain(name)) return name;
  if (name.length > UNITS_MAX) {
    throw new TypeError(
      `A lock name is at most ${NAME_BYTES_MAX} bytes of UTF-8; one that is empty, not well-formed, with control ` +
        `characters, or that begins with "${PREFIX}" at most ${UNITS_MAX} UTF-16 units.`,
    );
  }
  const unit = (_: unknown, at: number) => name.charCodeAt(at).toString(16).padStart(4, "0");
  return PREFIX + Array.from({ length: name.length }, unit).join("");
}

/** The name that travels so. */
export function webNameOf(wireName: string, isPlain: NameRule): string {
  if (!ENCODED.test(wireName)) return wireName;
  const units = wireName.slice(PREFIX.length).match(/.{4}/g) ?? [];
  const name = units.map((hex) => String.fromCharCode(Number.parseInt(hex, 16))).join("");
  // Others may call their locks anything: only what travels so is read so.
  return wireNameOf(name, isPlain) === wireName ? name : wireName;
}

/** The members of a dictionary, read and converted one by one in the order of their names. */
function members(options: unknown): Pick<WebLockRequest, "ifAvailable" | "mode" | "signal" | "steal"> {
  const isObject = typeof options === "object" || typeof options === "function";
  if (!isObject && options !== undefined) throw new TypeError("The options of request are not an object.");
  const given = (options ?? {}) as Readonly<Record<string, unknown>>;
  const ifAvailable = Boolean(given.ifAvailable);
  const mode = modeOf(given.mode);
  const signal = signalOf(given.signal);
  const steal = Boolean(given.steal);
  return { ifAvailable, mode, signal, steal };
}

function modeOf(value: unknown): Lock["mode"] {
  const mode = value === undefined ? "exclusive" : `${value}`;
  if (mode !== "exclusive" && mode !== "shared") throw new TypeError('mode is "exclusive" or "shared".');
  return mode;
}

/** Told by what it is, as Web IDL does: a signal of another frame is one, something that looks like one is not. */
function signalOf(value: unknown): AbortSignal | undefined {
  if (value === undefined) return undefined;
  try {
    Object.getOwnPropertyDescriptor(AbortSignal.prototype, "aborted")!.get!.call(value);
  } catch {
    throw new TypeError("signal is not an AbortSignal.");
  }
  return value as AbortSignal;
}

function notSupported(message: string): DOMException {
  return new DOMException(message, "NotSupportedError");
}
