/** Where the record of a hold lies: its token in decimal digits, and its JSON. Both were checked to be as they were written. */
export interface RecordPlace {
  readonly bytes: Uint8Array;
  readonly tokenAt: number;
  readonly tokenEnd: number;
  readonly jsonAt: number;
  readonly jsonEnd: number;
}

/**
 * What a start has to know of a hold, read from the bytes of its record without making anything. It reads the records of
 * plain holds only: without a session, of one exclusive lock, not over, in ASCII without escapes, with the fields in the order in
 * which they are written, and only texts in their metadata. Of all others it says that it does not know them.
 */
export class PackedRecord {
  bytes: Uint8Array = new Uint8Array(0);
  token = 0;
  nameAt = 0;
  nameEnd = 0;
  grantedAtMs = 0;
  expiresAtMs = 0;
  /** The same place twice for one without a request. */
  requestAt = 0;
  requestEnd = 0;
  #at = 0;
  #number = 0;

  /** False: this is no record of a plain hold, and nothing above is to be believed. */
  read({ bytes, tokenAt, tokenEnd, jsonAt, jsonEnd }: RecordPlace): boolean {
    this.bytes = bytes;
    this.#at = tokenAt;
    if (!this.#takeNumber() || this.#at !== tokenEnd) return false;
    this.token = this.#number;
    this.#at = jsonAt;
    // Some other record may lie behind it; one that ends elsewhere was not read.
    return this.#takeFields() && this.#at === jsonEnd;
  }

  #takeFields(): boolean {
    if (!this.#take(NAMES)) return false;
    this.nameAt = this.#at;
    if (!this.#takeText()) return false;
    this.nameEnd = this.#at - 1;
    if (!this.#take(OWNER) || !this.#takeText()) return false;
    if (!this.#take(GRANTED_AT) || !this.#takeNumber()) return false;
    this.grantedAtMs = this.#number;
    if (!this.#take(EXPIRES_AT) || !this.#takeNumber()) return false;
    this.expiresAtMs = this.#number;
    if (!this.#take(METADATA) || !this.#takeMetadata()) return false;
    if (this.#take(LEASE) && !this.#takeNumber()) return false;
    if (!this.#takeRequest()) return false;
    return this.#take(END);
  }

  #takeMetadata(): boolean {
    if (this.#take(CLOSE)) return true;
    do {
      if (!this.#take(QUOTE) || !this.#takeText() || !this.#take(COLON_QUOTE) || !this.#takeText())
        return false;
    } while (this.#take(COMMA));
    return this.#take(CLOSE);
  }

  #takeRequest(): boolean {
    this.requestAt = this.#at;
    this.requestEnd = this.#at;
    if (this.#take(NO_REQUEST)) return true;
    if (!this.#take(REQUEST)) return false;
    this.requestAt = this.#at;
    if (!this.#takeText()) return false;
    this.requestEnd = this.#at - 1;
    return this.requestEnd > this.requestAt;
  }

  #take(part: Uint8Array): boolean {
    const { bytes } = this;
    const from = this.#at;
    for (let at = 0; at < part.length; at++) if (bytes[from + at] !== part[at]) return false;
    this.#at = from + part.length;
    return true;
  }

  /** Up to a quotation mark, and over it. */
  #takeText(): boolean {
    const { bytes } = this;
    let at = this.#at;
    while (IS_PLAIN[bytes[at]!] === 1) at++;
    if (bytes[at] !== QUOTE[0]) return false;
    this.#at = at + 1;
    return true;
  }

  /** A whole number, as JSON has it. */
  #takeNumber(): boolean {
    const { bytes } = this;
    const from = this.#at;
    let at = from;
    let number = 0;
    for (let digit = bytes[at]! - ZERO; digit >= 0 && digit <= 9; digit = bytes[at]! - ZERO) {
      number = 10 * number + digit;
      at++;
    }
    const digits = at - from;
    if (digits === 0 || digits > DIGITS_MAX || (digits > 1 && bytes[from] === ZERO)) return false;
    this.#number = number;
    this.#at = at;
    return true;
  }
}

/** Where the name of its lock begins, of a record that was read. */
export function startOfName({ jsonAt }: RecordPlace): number {
  return jsonAt + NAMES.length;
}

/** All numbers with so many digits are safe. */
const DIGITS_MAX = 15;
const ZERO = 0x30;

const NAMES = ascii('{"names":"');
const OWNER = ascii(',"owner":"');
const GRANTED_AT = ascii(',"grantedAtMs":');
const EXPIRES_AT = ascii(',"expiresAtMs":');
const METADATA = ascii(',"metadata":{');
const LEASE = ascii(',"leaseMs":');
const NO_REQUEST = ascii(',"request":null');
const REQUEST = ascii(',"request":"');
const END = ascii(',"remainder":false}');
const QUOTE = ascii('"');
const COLON_QUOTE = ascii(':"');
const COMMA = ascii(",");
const CLOSE = ascii("}");

/** What stands for itself in JSON: printable ASCII but the quotation mark and the backslash. */
const IS_PLAIN = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c ? 1 : 0,
);

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}
