import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { openLmdbStore } from "../../src/store/lmdb.js";
import { checkLmdbFile } from "../../src/store/lmdb-file.js";
import { newFolder } from "./folders.js";

const folder = newFolder();
const file = join(folder, "store.mdb");

/** A sound file: a tree of three levels, a large value whose pages are the last ones, and free pages. */
let sound: Sound;
beforeAll(async () => {
  const store = await openLmdbStore(folder);
  const keys = Array.from({ length: 200 }, (_, index) => `${index}`.padStart(4, "0").padEnd(300, "k"));
  await store.commit(keys.map((key) => ({ key, value: new Uint8Array(100) })));
  await store.commit(keys.map((key) => ({ key, value: new Uint8Array(120) })));
  await store.commit([{ key: "large", value: new Uint8Array(300_000) }]);
  await store.close();
  sound = new Sound(readFileSync(file));
});

test("[R9n] a sound file passes, whatever follows its last page", async () => {
  await expect(checked(sound.bytes)).resolves.toBeUndefined();
  await expect(checked(sound.bytes.subarray(0, sound.end))).resolves.toBeUndefined();
  await expect(checked(Buffer.concat([sound.bytes, Buffer.alloc(5_000, 7)]))).resolves.toBeUndefined();
  await expect(checked(Buffer.alloc(0))).resolves.toBeUndefined();
});

const DAMAGES: readonly { what: string; says: RegExp; damage: (it: Sound) => void }[] = [
  {
    what: "says it has one entry more",
    says: /201 entries instead of 202/,
    damage: (it) => it.write64(it.meta + 128, 202),
  },
  {
    what: "says it has one level more",
    says: /what it should be/,
    damage: (it) => it.write16(it.meta + 102, 4),
  },
  {
    what: "has lost its root",
    says: /entries instead of/,
    damage: (it) => it.bytes.fill(0xff, it.meta + 136, it.meta + 144),
  },
  {
    what: "ends before its root",
    says: /number, 900000, is wrong/,
    damage: (it) => it.write64(it.meta + 136, 900_000),
  },
  {
    what: "says it is larger by far",
    says: /last page is wrong/,
    damage: (it) => it.write64(it.meta + 144, 2 ** 33),
  },
  {
    what: "has a last page before its records",
    says: /a page number.*is wrong/,
    damage: (it) => it.write64(it.meta + 144, 5),
  },
  {
    what: "has a meta page that went missing",
    says: /meta page 1 is unreadable/,
    damage: (it) => it.bytes.fill(0, it.pageSize, 2 * it.pageSize),
  },
  {
    what: "has meta pages of other commits",
    says: /successive commits/,
    damage: (it) => it.write64(it.meta + 152, it.read(it.meta + 152) + 64),
  },
  {
    what: "has lost the number of a commit",
    says: /lost its number|wrong number/,
    damage: (it) => it.write64(it.meta + 152, 0),
  },
  { what: "is of another page size", says: /page size is wrong/, damage: (it) => it.write16(48, 3_000) },
  { what: "is a tree of another kind", says: /unknown flags/, damage: (it) => it.write16(it.meta + 100, 4) },
  { what: "has a page of another number", says: /what it should be/, damage: (it) => it.write64(it.leaf, 3) },
  {
    what: "has a page that is newer than the store",
    says: /what it should be/,
    damage: (it) => it.write64(it.leaf + 8, 1_000),
  },
  {
    what: "has a page of another kind",
    says: /what it should be/,
    damage: (it) => it.write16(it.leaf + 18, 0x4002),
  },
  { what: "has an empty page", says: /is broken/, damage: (it) => it.write16(it.leaf + 20, 0) },
  {
    what: "has a page that is said to be emptier",
    says: /is broken/,
    damage: (it) => it.write16(it.leaf + 22, it.bytes.readUInt16LE(it.leaf + 22) - 2),
  },
  { what: "has a node beyond its page", says: /is broken/, damage: (it) => it.write16(it.leaf + 24, 60_000) },
  { what: "has a longer node", says: /is broken/, damage: (it) => it.write16(it.node(it.leaf, 0), 124) },
  {
    what: "has a node of an unknown kind",
    says: /unknown kind/,
    damage: (it) => it.write16(it.node(it.leaf, 0) + 4, 2),
  },
  { what: "has keys in disorder", says: /not in order/, damage: (it) => it.swap(it.leaf + 24, it.leaf + 26) },
  {
    what: "has a key that belongs before its page",
    says: /keys of another page/,
    damage: (it) => it.write16(it.node(it.leaf, 0) + 8, 0x2f2f),
  },
  {
    what: "has a key that belongs behind its page",
    says: /keys of another page/,
    damage: (it) => it.write16(it.node(it.leaf, it.count(it.leaf) - 1) + 8, 0x7a7a),
  },
  {
    what: "has two ways to a page",
    says: /used twice|another page/,
    damage: (it) => it.write16(it.node(it.branch, 0), it.bytes.readUInt16LE(it.node(it.branch, 1))),
  },
  {
    what: "has a large value whose page is another",
    says: /what it should be/,
    damage: (it) => it.write64(it.large, 3),
  },
  {
    what: "has a large value of other length",
    says: /is broken/,
    damage: (it) => it.bytes.writeUInt32LE(3, it.large + 20),
  },
  {
    what: "has too few pages for a large value",
    says: /cut off/,
    damage: (it) => it.write64(it.pointer + 16, 2),
  },
  {
    what: "has a large value beyond its last page",
    says: /a page number/,
    damage: (it) => it.write64(it.pointer + 16, 80),
  },
  {
    what: "counts a page as free that is in use",
    says: /in use and free at once/,
    damage: (it) => it.write64(it.free, it.leaf / it.pageSize),
  },
  {
    what: "counts a page as free that is none",
    says: /free pages is broken/,
    damage: (it) => it.write64(it.free, 2 ** 40),
  },
  {
    what: "has a longer list of free pages than it can",
    says: /free pages is broken/,
    damage: (it) => it.write64(it.free - 8, 5_000),
  },
];

for (const { what, says, damage } of DAMAGES) {
  test(`[R9o] a file that ${what} is refused`, async () => {
    const damaged = new Sound(Buffer.from(sound.bytes));
    damage(damaged);
    const refused = checked(damaged.bytes);
    await expect(refused).rejects.toThrow(says);
    await expect(refused).rejects.toThrow(`The store "${file}" is damaged`);
    await expect(refused).rejects.toThrow("Restore a backup");
  });
}

test("[R9p] a large value that lacks its last page is found though it is not read", async () => {
  await expect(checked(sound.bytes.subarray(0, sound.end - sound.pageSize))).rejects.toThrow(
    "missing at its end",
  );
});

async function checked(bytes: Buffer): Promise<void> {
  writeFileSync(file, bytes);
  await checkLmdbFile(file);
}

/** Finds its way in the file, for the damages above. All are offsets of bytes. */
class Sound {
  readonly bytes: Buffer;
  readonly pageSize: number;
  /** The newer meta page. */
  readonly meta: number;
  readonly end: number;
  /** The second leaf of the second branch page, which has pages on both sides. */
  readonly branch: number;
  readonly leaf: number;
  readonly large: number;
  /** What the record of the large value says about its pages. */
  readonly pointer: number;
  /** The first word of a list of free pages, behind its length. */
  readonly free: number;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.pageSize = bytes.readUInt32LE(48);
    this.meta = this.read(152) > this.read(this.pageSize + 152) ? 0 : this.pageSize;
    this.end = (this.read(this.meta + 144) + 1) * this.pageSize;
    const root = this.read(this.meta + 136) * this.pageSize;
    this.branch = this.child(root, 1);
    this.leaf = this.child(this.branch, 1);
    let last = root;
    while (bytes.readUInt16LE(last + 18) === 1) last = this.child(last, this.count(last) - 1);
    this.pointer = this.node(last, this.count(last) - 1) + 8 + "large".length;
    this.large = this.read(this.pointer) * this.pageSize;
    const freeRoot = this.read(this.meta + 88) * this.pageSize;
    this.free = this.node(freeRoot, this.count(freeRoot) - 1) + 8 + 8 + 8;
  }

  count(page: number): number {
    return this.bytes.readUInt16LE(page + 20) / 2;
  }

  node(page: number, index: number): number {
    return page + 24 + this.bytes.readUInt16LE(page + 24 + 2 * index);
  }

  child(page: number, index: number): number {
    return this.bytes.readUInt32LE(this.node(page, index)) * this.pageSize;
  }

  read(at: number): number {
    return Number(this.bytes.readBigUInt64LE(at));
  }

  write16(at: number, value: number): void {
    this.bytes.writeUInt16LE(value, at);
  }

  write64(at: number, value: number): void {
    this.bytes.writeBigUInt64LE(BigInt(value), at);
  }

  swap(a: number, b: number): void {
    const [first, second] = [this.bytes.readUInt16LE(a), this.bytes.readUInt16LE(b)];
    this.write16(a, second);
    this.write16(b, first);
  }
}
