// Damages copies of a data folder, opens each as a server does, and says what came of it: `damage` makes the cases, `outcomeOf` judges one.
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  DamagedRecordError,
  decodeRecord,
  openDiskStore,
  StoreUnusableError,
} from "../../../packages/server/dist/store/index.js";
import { given, serveCalls } from "../../processes/mailbox.mjs";

const PAGE_BYTES = 4_096;
const SECTOR_BYTES = 512;
/** Of a frame in the journal (decision 015). */
const MAGIC = Buffer.from([0xff, 0xfe, 0x4c, 0x4a]);
/** How much is damaged where something stands, and not in what was never used. */
const USED_SHARE = 0.85;

const { sound, folder } = given;
/** @type {Map<string, Buffer>} */
const files = new Map(readdirSync(sound).map((name) => [name, readFileSync(join(sound, name))]));
const used = new Map([...files].map(([name, bytes]) => [name, pagesInUse(bytes)]));
const last = lastFrame(/** @type {Buffer} */ (files.get("journal")));
const expected = await contentOf([]);
/** What is there if the frame that was written last is not whole: it looks like one that a power cut has torn, which nobody was told of. */
const torn = await contentOf([flipAt("journal", last.at, 2)]);

serveCalls({
  about: () => ({ records: expected.split("\n").length, hasTorn: torn !== expected }),
  /** What comes of each of these cases. */
  outcomes: async ({ from, count }) => {
    const found = [];
    for (let number = from; number < from + count; number++) found.push(await outcomeOf(number));
    return found;
  },
  /** Leaves a damaged copy in a folder, for a real server. */
  copy: ({ number, to }) => {
    const one = damageOf(number);
    lay(to, one.damages);
    return one.what;
  },
});

async function outcomeOf(number) {
  const { what, damages } = damageOf(number);
  const content = await contentOf(damages).catch((error) => error);
  if (content instanceof Error) {
    const isTold = content instanceof StoreUnusableError || content instanceof DamagedRecordError;
    const isNamed = isTold && /journal|store\.mdb|record|folder|directory/.test(content.message);
    return isNamed ? { kind: "refused" } : { kind: "wrong", what: `${what}: ${content.stack}` };
  }
  if (content === expected) return { kind: "harmless" };
  if (content === torn && damages.some((each) => each.file === "journal" && touches(each, last)))
    return { kind: "torn" };
  return { kind: "wrong", what: `${what}: ${differences(content)}` };
}

/** All records, one a line. @throws Error when the store cannot be opened or read */
async function contentOf(damages) {
  lay(folder, damages);
  const store = await openDiskStore(folder);
  try {
    const lines = [];
    for await (const entry of store.load(""))
      lines.push(`${entry.key} ${JSON.stringify(decodeRecord(entry))}`);
    return lines.join("\n");
  } finally {
    await store.close();
  }
}

function lay(to, damages) {
  rmSync(to, { recursive: true, force: true });
  mkdirSync(to, { recursive: true });
  for (const [name, bytes] of files) {
    const own = damages.filter(({ file }) => file === name);
    if (own.some(({ isGone }) => isGone)) continue;
    if (own.length === 0) cpSync(join(sound, name), join(to, name));
    else writeFileSync(join(to, name), own.reduce(damaged, bytes));
  }
}

/** @param {Buffer} sound */
function damaged(sound, { cutAt, at, bytes, flip }) {
  if (cutAt !== undefined) return sound.subarray(0, cutAt);
  const copy = Buffer.from(sound);
  if (bytes !== undefined)
    copy.set(bytes.subarray(0, copy.length - Math.min(at, copy.length)), Math.min(at, copy.length));
  if (flip !== undefined) copy[flip[0]] = (copy[flip[0]] ?? 0) ^ flip[1];
  return copy;
}

/** The same case each time that it is asked for. */
function damageOf(number) {
  const random = randomOf(number);
  const below = (/** @type {number} */ count) => Math.floor(random() * count);
  const file = [
    "store.mdb",
    "store.mdb",
    "store.mdb",
    "journal",
    "journal",
    "journal",
    "store.mdb-lock",
    "owner.lock",
  ][number % 8];
  const content = /** @type {Buffer} */ (files.get(file));
  const pages = /** @type {number[]} */ (used.get(file));
  const place = () => {
    if (pages.length === 0 || random() > USED_SHARE) return below(Math.max(1, content.length));
    // Structure is at the beginning of pages.
    const inPage = random() < 0.5 ? below(64) : below(PAGE_BYTES);
    return (pages[below(pages.length)] ?? 0) * PAGE_BYTES + inPage;
  };
  const page = () => Math.floor(place() / PAGE_BYTES) * PAGE_BYTES;
  const kinds = [
    () => ({ what: "a bit flipped", damages: [flipAt(file, place(), below(8))] }),
    () => ({ what: "a bit flipped", damages: [flipAt(file, place(), below(8))] }),
    () => ({
      what: "some bits flipped",
      damages: Array.from({ length: 2 + below(20) }, () => flipAt(file, place(), below(8))),
    }),
    () => ({
      what: "cut off",
      damages: [{ file, cutAt: random() < 0.1 ? below(3) * below(5_000) : place() }],
    }),
    () => ({
      what: "a sector zeroed",
      damages: [over(file, Math.floor(place() / SECTOR_BYTES) * SECTOR_BYTES, Buffer.alloc(SECTOR_BYTES))],
    }),
    () => ({ what: "a page zeroed", damages: [over(file, page(), Buffer.alloc(PAGE_BYTES))] }),
    () => {
      const from = page();
      return {
        what: `a page as that at ${from}`,
        damages: [over(file, page(), content.subarray(from, from + PAGE_BYTES))],
      };
    },
    () => ({ what: "noise", damages: [over(file, place(), noise(random, 1 + below(200)))] }),
    ...(number % 16 < 8 ? [() => ({ what: "gone", damages: [{ file, isGone: true }] })] : []),
  ];
  const { what, damages } = kinds[below(kinds.length)]();
  const where = damages.map((each) => each.flip?.[0] ?? each.cutAt ?? each.at ?? "").slice(0, 5);
  return { what: `case ${number}: ${file}, ${what} at ${where.join(", ")} of ${content.length}`, damages };
}

function flipAt(file, at, bit) {
  return { file, at, flip: [at, 1 << bit] };
}

function over(file, at, bytes) {
  return { file, at, bytes: Buffer.from(bytes) };
}

function noise(random, count) {
  return Buffer.from(Array.from({ length: count }, () => Math.floor(random() * 256)));
}

function touches({ at, bytes, flip }, frame) {
  const from = flip?.[0] ?? at;
  const to = from + (bytes?.length ?? 1);
  return from < frame.at + frame.length && to > frame.at;
}

/** Those in which anything is. */
function pagesInUse(bytes) {
  const found = [];
  for (let at = 0; at < bytes.length; at += PAGE_BYTES)
    if (bytes.subarray(at, at + PAGE_BYTES).some((byte) => byte !== 0)) found.push(at / PAGE_BYTES);
  return found;
}

/** Where the newest frame of the newest epoch is. */
function lastFrame(journal) {
  const epoch = journal.subarray(24, 32);
  let newest = { at: 0, length: PAGE_BYTES, sequence: -1 };
  for (let at = 0; at < journal.length; at += PAGE_BYTES) {
    if (!journal.subarray(at, at + 4).equals(MAGIC) || !journal.subarray(at + 24, at + 32).equals(epoch))
      continue;
    const sequence = Number(journal.readBigUInt64LE(at + 16));
    if (sequence > newest.sequence) newest = { at, length: journal.readUInt32LE(at + 4), sequence };
  }
  return newest;
}

function differences(content) {
  const [is, should] = [new Set(content.split("\n")), new Set(expected.split("\n"))];
  const missing = [...should].filter((line) => !is.has(line));
  const strange = [...is].filter((line) => !should.has(line));
  return `${missing.length} records missing, ${strange.length} others: ${[...missing, ...strange].slice(0, 3).join(" / ").slice(0, 300)}`;
}

/** Mulberry32. */
function randomOf(seed) {
  let state = (seed + 1) * 0x9e3779b9;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
