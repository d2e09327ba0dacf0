// Randomness with a seed, values that nobody should send, and what can be done to bytes and to JSON.

/** The same numbers for the same seed (mulberry32). */
export class Random {
  #state;

  /** @param {number} seed @param {number} number of the input: each has numbers of its own */
  constructor(seed, number) {
    this.#state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b)) >>> 0;
    for (let at = 0; at < 3; at++) this.next();
  }

  /** From 0 to 1. */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  below(count) {
    return Math.floor(this.next() * count);
  }

  is(share) {
    return this.next() < share;
  }

  of(all) {
    return all[this.below(all.length)];
  }

  bytes(length) {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }
}

/** JSON text that no value would give. */
export class Raw {
  constructor(text) {
    this.text = text;
  }
}

const nested = (levels) => "[".repeat(levels) + "]".repeat(levels);
const nestedObjects = (levels) => `${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`;

/** The curated part: each of these has broken something somewhere. */
export const TEXTS = [
  ..."\0|\u007f|\n|\r\nx: y|\t|\u001b[31m|\ud800|a\udc00b|\ufeff|\u202eabc|\u200b|é|e\u0301|ﬀ|İ|𝒳|🧨".split(
    "|",
  ),
  ...["", " ", ".", "..", "../up/none", "%00", "%2e%2e%2f", "%", "%zz", "%c0%ae", "a/b//c", "\\", "?", "#"],
  ...[
    "__proto__",
    "constructor",
    "prototype",
    "toString",
    "hasOwnProperty",
    "then",
    "valueOf",
    "0",
    "-1",
    "4294967295",
  ],
  ...[
    "null",
    "true",
    "NaN",
    "Infinity",
    "1e400",
    "undefined",
    "[object Object]",
    "$ref",
    "$\u007bjndi:ldap://127.0.0.1/a}",
  ],
  ...[
    "<script>alert(1)</script>",
    "'; DROP TABLE locks; --",
    "{{7*7}}",
    "(a+)+$",
    "`id`",
    "$(id)",
    "|id",
    "-rf",
    "--help",
  ],
  ...[
    "x".repeat(512),
    "x".repeat(513),
    "é".repeat(257),
    "\ud83e\udde8".repeat(128),
    "x".repeat(1_024),
    "x".repeat(70_000),
  ],
  ...[
    "a".repeat(64),
    "a".repeat(65),
    "9999-99-99T99:99:99Z",
    "0x10",
    "1_000",
    "１",
    "1.1",
    "9007199254740993.1",
    "-.-",
  ],
];
export const NUMBERS = [
  ...[
    0,
    -0,
    -1,
    1,
    0.1,
    1.5,
    64,
    65,
    255,
    256,
    1_000,
    1_001,
    3_600_000,
    3_600_001,
    1e6,
    1e6 + 1,
    2 ** 31 - 1,
    2 ** 31,
  ],
  ...[2 ** 32, 315_360_000_000, 315_360_000_001, 2 ** 53 - 1, 2 ** 53, -(2 ** 53), 1e21, 1e308, 5e-324],
  ...["1e400", "-1e400", "9007199254740993", "-0", "0.0", "1E3", "01", "+1", "1.", ".5", "0x1"].map(
    (text) => new Raw(text),
  ),
];
const OTHERS = [
  ...[
    null,
    true,
    false,
    [],
    {},
    [[]],
    [null],
    [{}],
    { a: 1 },
    [1, "a", null],
    Array(65).fill("a"),
    Array(1_000).fill(0),
  ],
  Array.from({ length: 65 }, (_, at) => `n${at}`),
  Object.fromEntries(Array.from({ length: 257 }, (_, at) => [`${at * 65_536}`, 1])),
  ...[nested(31), nested(33), nested(1_000), nested(20_000), nestedObjects(33), nestedObjects(5_000)].map(
    (text) => new Raw(text),
  ),
  ...[
    '{"a":1,"a":2}',
    '{"__proto__":{"x":1}}',
    '{"constructor":{"prototype":{"x":1}}}',
    '{"\\u0061":1,"a":2}',
    '{"length":-1}',
  ].map((text) => new Raw(text)),
  ...[
    "",
    "nul",
    "tru",
    "'a'",
    '"\\x"',
    '"\\ud800"',
    "NaN",
    "[1,]",
    "{,}",
    '{"a"}',
    "//",
    "\u2028",
    '"\u0000"',
  ].map((text) => new Raw(text)),
];

/** Any value. */
export function hostile(random) {
  const kind = random.below(10);
  if (kind < 4) return random.of(TEXTS);
  if (kind < 7) return random.of(NUMBERS);
  if (kind < 9) return random.of(OTHERS);
  return String.fromCodePoint(
    ...Array.from({ length: 1 + random.below(12) }, () => random.below(random.is(0.5) ? 128 : 0x1_0000)),
  );
}

/** JSON, with what is raw as it is. */
export function json(value) {
  if (value instanceof Raw) return value.text;
  if (Array.isArray(value)) return `[${value.map(json).join()}]`;
  if (typeof value === "object" && value !== null)
    return `{${Object.entries(value)
      .map(([key, each]) => `${JSON.stringify(key)}:${json(each)}`)
      .join()}}`;
  return JSON.stringify(value) ?? "null";
}

/** The value with something in it made wrong. */
export function spoilt(random, value) {
  const isOpen = typeof value === "object" && value !== null && !(value instanceof Raw);
  const keys = isOpen ? Object.keys(value) : [];
  if (!isOpen || random.is(0.15)) return hostile(random);
  const changed = Array.isArray(value) ? [...value] : { ...value };
  const key = random.of(keys.length > 0 ? keys : ["0"]);
  switch (random.below(5)) {
    case 0:
      if (Array.isArray(changed)) changed.splice(Number(key), 1);
      else delete changed[key];
      return changed;
    case 1: {
      if (Array.isArray(changed)) changed.push(hostile(random));
      else changed[random.of(TEXTS)] = hostile(random);
      return changed;
    }
    case 2:
      changed[key] = hostile(random);
      return changed;
    case 3: {
      // Twice the same field.
      if (Array.isArray(changed)) return [...changed, ...changed];
      const text = json(changed);
      return new Raw(
        `${text.slice(0, -1)}${text.length > 2 ? "," : ""}${JSON.stringify(key)}:${json(hostile(random))}}`,
      );
    }
    default:
      changed[key] = spoilt(random, changed[key]);
      return changed;
  }
}

/** Bytes with something done to them. */
export function mangled(random, bytes) {
  let changed = Buffer.from(bytes);
  for (let times = 1 + random.below(3); times > 0 && changed.length > 0; times--) {
    const at = random.below(changed.length);
    const [before, after] = [changed.subarray(0, at), changed.subarray(at)];
    switch (random.below(7)) {
      case 0:
        changed[at] ^= 1 << random.below(8);
        break;
      case 1:
        changed[at] = random.of([0, 9, 10, 13, 32, 34, 44, 58, 92, 127, 128, 255]);
        break;
      case 2:
        changed = Buffer.concat([before, after.subarray(1 + random.below(8))]);
        break;
      case 3:
        changed = Buffer.concat([before, random.bytes(1 + random.below(8)), after]);
        break;
      case 4:
        changed = Buffer.from(before);
        break;
      case 5:
        changed = Buffer.concat([before, after.subarray(0, 40), after]);
        break;
      default:
        changed = Buffer.concat([before, Buffer.from(String(random.of(TEXTS))), after]);
    }
  }
  return changed;
}
