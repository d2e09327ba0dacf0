import { crc32 } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import * as checksum from "../../src/store/checksum.js";
import { DamagedRecordError, decodeRecord, encodeRecord, NewerFormatError } from "../../src/store/records.js";

const KEY = "default/sessions/ß\u{1f512}";
const VALUE = {
  owner: "web-1:77",
  token: 41,
  holds: [{ name: "billing/2026-08" }],
  note: "größer \u{1f512}",
};

test("[R9a] a record gives back what was written", () => {
  expect(decodeRecord({ key: KEY, value: encodeRecord(KEY, VALUE) })).toEqual(VALUE);
  fc.assert(
    fc.property(
      fc.string({ unit: "grapheme", minLength: 1 }),
      fc.dictionary(fc.string(), fc.jsonValue()),
      (key, value) => {
        const decoded = decodeRecord({ key, value: encodeRecord(key, value) });
        expect(JSON.stringify(decoded)).toBe(JSON.stringify(value));
      },
    ),
  );
});

test("[R9b] a record is its version, the checksum of version, key and payload, and JSON", () => {
  const record = Buffer.from(encodeRecord(KEY, VALUE));
  const payload = Buffer.from(JSON.stringify(VALUE), "utf8");
  const summed = Buffer.concat([Buffer.of(1), Buffer.from(`${KEY}\0`, "utf8"), payload]);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(summed));
  expect(record).toEqual(Buffer.concat([Buffer.of(1), checksum, payload]));
});

test("[R9c] any single bit that flips is found, and the record named", () => {
  const record = encodeRecord(KEY, VALUE);
  for (let bit = 0; bit < record.length * 8; bit++) {
    const value = record.slice();
    value[bit >> 3]! ^= 1 << (bit & 7);
    expectDamaged(KEY, value);
  }
});

test("[R9d] a record that was cut off or lengthened at any byte is found, and named", () => {
  const record = encodeRecord(KEY, VALUE);
  for (let length = 0; length < record.length; length++) {
    expectDamaged(KEY, record.slice(0, length));
    expectDamaged(KEY, record.slice(record.length - length));
  }
  expectDamaged(KEY, Uint8Array.of(...record, 0));
  expectDamaged(KEY, Uint8Array.of(...record, 0x20));
  expectDamaged(KEY, new Uint8Array(record.length));
});

test("[R9e] a value that landed under another key is found, and named", () => {
  const value = encodeRecord(KEY, VALUE);
  for (const key of ["default/sessions/t", `${KEY}/`, KEY.slice(0, 10), KEY.toUpperCase(), `${KEY}{`]) {
    expectDamaged(key, value);
  }
});

test("[R9f] a whole record of a newer version is refused as such, and says what to do", () => {
  for (const version of [2, 3, 255]) {
    const value = sealed(version, KEY, "\u0000 not even JSON");
    const decode = () => decodeRecord({ key: KEY, value });
    expect(decode).toThrow(NewerFormatError);
    expect(decode).toThrow(`format ${version}`);
    expect(decode).toThrow(JSON.stringify(KEY));
    expect(decode).toThrow("Start the newer LockDB");
  }
});

test("[R9g] a record whose checksum is right but whose content cannot be is damaged too", () => {
  expectDamaged(KEY, sealed(0, KEY, "{}"));
  expectDamaged(KEY, sealed(1, KEY, "{"));
  expectDamaged(KEY, sealed(1, KEY, ""));
  expectDamaged(KEY, sealed(1, KEY, Buffer.of(0x22, 0xc3, 0x22)));
});

test("[R9q] the checksum of any part of a buffer is that of zlib", () => {
  const part = fc.record({
    bytes: fc.uint8Array({ maxLength: 300 }),
    from: fc.nat(20),
    cut: fc.nat(20),
    before: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  });
  fc.assert(
    fc.property(part, ({ bytes, from, cut, before }) => {
      const [start, end] = [from, bytes.length - cut];
      // Of nothing at all, zlib says that the sum is 0.
      fc.pre(start < end);
      expect(checksum.crc32(bytes, start, end, before)).toBe(crc32(bytes.subarray(start, end), before));
    }),
  );
});

test("[R9r] a text that holds the very sign for what is no text is read as it was written", () => {
  for (const note of ["\ufffd", "a\ufffdb\u{1f512}", "\ufeff"]) {
    expect(decodeRecord({ key: KEY, value: encodeRecord(KEY, { note }) })).toEqual({ note });
    expectDamaged(
      KEY,
      sealed(1, KEY, Buffer.concat([Buffer.from(`{"note":"${note}`), Buffer.from([0xc3, 0x22, 0x7d])])),
    );
  }
});

test("[R9h] a value without a JSON form is refused before it is written", () => {
  expect(() => encodeRecord(KEY, () => {})).toThrow(TypeError);
  expect(() => encodeRecord(KEY, { amount: 1n })).toThrow(TypeError);
});

function expectDamaged(key: string, value: Uint8Array): void {
  let error: unknown;
  try {
    decodeRecord({ key, value });
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(DamagedRecordError);
  expect((error as DamagedRecordError).key).toBe(key);
  expect((error as DamagedRecordError).message).toContain(JSON.stringify(key));
  expect((error as DamagedRecordError).message).toContain("Restore a backup");
}

function sealed(version: number, key: string, payload: string | Buffer): Uint8Array {
  const head = Buffer.alloc(5, version);
  const body = Buffer.from(payload);
  head.writeUInt32BE(crc32(Buffer.concat([Buffer.of(version), Buffer.from(`${key}\0`), body])), 1);
  return new Uint8Array(Buffer.concat([head, body]));
}
