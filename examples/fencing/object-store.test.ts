import { afterEach, beforeEach, describe, expect, test } from "vitest";
// @ts-expect-error Plain JavaScript, as its readers run it.
import { conditionalStore, raiseFence, update } from "./object-store.js";
import { Bucket } from "./support/bucket.js";

interface Stock {
  readonly left: number;
}

const KEY = "stock/teapot.json";
const [OLD, NEW] = [1, 2];
const LATE = expect.objectContaining({ name: "StaleTokenError" });
const take = (count: number) => (stock: Stock | null) => ({ left: (stock?.left ?? 20) - count });

describe.each(["s3", "gcs", "azure"] as const)("the fence in an object store: %s", (kind) => {
  let bucket: Bucket;
  let store: {
    read(key: string): Promise<{ text: string; version: string } | null>;
    write(key: string, text: string, version: string | null): Promise<boolean>;
  };

  beforeEach(async () => {
    bucket = new Bucket(kind);
    await bucket.start();
    store = conditionalStore(kind, bucket.send);
  });
  afterEach(() => bucket.stop());

  test("[F4p] a holder may write many times; after a later one it may not, and nothing is changed", async () => {
    expect(await update(store, KEY, OLD, take(1))).toEqual({ left: 19 });
    expect(await update(store, KEY, OLD, take(1))).toEqual({ left: 18 });
    expect(await update(store, KEY, NEW, take(1))).toEqual({ left: 17 });
    await expect(update(store, KEY, OLD, take(1))).rejects.toEqual(LATE);
    await expect(raiseFence(store, KEY, OLD)).rejects.toEqual(LATE);
    expect(await stored()).toMatchObject({ fence: NEW, value: { left: 17 } });
  });

  test("[F4q] a holder that stalls between its read and its write is refused", async () => {
    await update(store, KEY, OLD, take(0));
    expect(await stallBeforePut(() => update(store, KEY, OLD, take(1)))).toEqual(LATE);
    expect(await stored()).toMatchObject({ fence: NEW, value: { left: 17 } });
  });

  test("[F4r] two that create the object: the late one is refused", async () => {
    expect(await stallBeforePut(() => update(store, KEY, OLD, take(1)))).toEqual(LATE);
    expect(await stored()).toMatchObject({ fence: NEW, value: { left: 17 } });
  });

  test("[F4s] the token alone is not enough: checked at the read, the late write passes and loses three sales", async () => {
    await update(store, KEY, OLD, take(0));
    await stallBeforePut(() => withTokenAlone(OLD, take(1)));
    expect(await stored()).toMatchObject({ fence: OLD, value: { left: 19 } });
  });

  test("[F4t] the version alone is not enough: a late holder reads again, as one does, and writes", async () => {
    const appoint = (name: string) => () => ({ leader: name });
    await update(store, KEY, OLD, appoint("old"));
    const late = await stallBeforePut(() => withVersionAlone(appoint("old")), appoint("new"));
    expect(late).toBe("written");
    expect(await stored()).toMatchObject({ value: { leader: "old" } });
  });

  test("[F4u] a raised fence refuses the older holder before the new one has written a value", async () => {
    await update(store, KEY, OLD, take(1));
    const late = await stallBeforePut(
      () => update(store, KEY, OLD, take(5)),
      (stock) => stock,
    );
    expect(late).toEqual(LATE);
    expect(await stored()).toMatchObject({ fence: NEW, value: { left: 19 } });
  });

  test("[F4v] a write whose answer is lost counts once, whether the client or the caller tries again", async () => {
    await update(store, KEY, OLD, take(0));
    bucket.loseNextAnswer();
    expect(await update(store, KEY, OLD, take(1))).toEqual({ left: 19 });
    const trying = conditionalStore(kind, (key: string, request: RequestInit) =>
      bucket.send(key, request).catch(() => bucket.send(key, request)),
    );
    bucket.loseNextAnswer();
    expect(await update(trying, KEY, OLD, take(1))).toEqual({ left: 18 });
    expect(await stored()).toMatchObject({ value: { left: 18 } });
  });

  test("[F4x] a value that comes back does not make an old version valid again", async () => {
    const set = (left: number) => () => ({ left });
    await update(store, KEY, OLD, set(20));
    const { version } = (await store.read(KEY))!;
    await update(store, KEY, OLD, set(19));
    await update(store, KEY, OLD, set(20));
    expect(await store.write(KEY, "late", version)).toBe(false);
  });

  test("[F4y] an object without a fence is left alone; a bucket that is not there is no lost race", async () => {
    await store.write(KEY, '{"left":20}', null);
    await expect(update(store, KEY, NEW, take(1))).rejects.toThrow("has no fence");
    expect((await store.read(KEY))!.text).toBe('{"left":20}');
    const nowhere = conditionalStore(kind, async () => new Response(null, { status: 404 }));
    await expect(update(nowhere, KEY, OLD, take(1))).rejects.toMatchObject({
      cause: expect.objectContaining({ message: `Writing ${KEY} was answered 404.` }),
    });
  });

  /** A write that arrives, has no effect until a new holder has come and written, and then goes on. */
  async function stallBeforePut(
    write: () => Promise<unknown>,
    change: (value: never) => unknown = take(3),
  ): Promise<unknown> {
    const held = bucket.holdNextPut();
    const late = write().catch((error: Error) => error);
    const never = late.then((ended) => {
      throw new Error(`It never tried to write: ${ended}`);
    });
    await Promise.race([held.arrived, never]);
    await update(store, KEY, NEW, change);
    held.letGo();
    return await late;
  }

  /** Not to be copied: looks at the token, and then writes whatever has happened since. */
  async function withTokenAlone(token: number, change: (value: Stock) => Stock): Promise<void> {
    const { fence, value } = await stored();
    if (fence > token) throw new Error("late");
    const body = JSON.stringify({ fence: token, value: change(value) });
    await bucket.send(KEY, { method: "PUT", headers: { "x-ms-blob-type": "BlockBlob" }, body });
  }

  /** Not to be copied: an ordinary optimistic update. Who it is that writes, it does not ask. */
  async function withVersionAlone(change: (value: unknown) => unknown): Promise<string> {
    for (;;) {
      const found = (await store.read(KEY))!;
      const last = JSON.parse(found.text);
      const text = JSON.stringify({ ...last, value: change(last.value) });
      if (await store.write(KEY, text, found.version)) return "written";
    }
  }

  async function stored() {
    return JSON.parse((await store.read(KEY))!.text);
  }
});

describe("the fence in an object store: what the version covers", () => {
  test("[F4w] on S3 a token in the metadata is outside the version: a late write passes a raised fence", async () => {
    const bucket = new Bucket("s3");
    await bucket.start();
    try {
      const put = (body: string, token: number, etag?: string | null) =>
        bucket.send(KEY, {
          method: "PUT",
          headers: { "x-amz-meta-fence": String(token), ...(etag ? { "if-match": etag } : {}) },
          body,
        });
      await put('{"left":20}', OLD);
      const etag = (await bucket.send(KEY, { method: "GET" })).headers.get("etag");
      // The new holder raises the fence and leaves the value as it is.
      expect((await put('{"left":20}', NEW, etag)).status).toBe(200);
      expect((await put('{"left":19}', OLD, etag)).status).toBe(200);
      expect((await bucket.send(KEY, { method: "GET" })).headers.get("x-amz-meta-fence")).toBe(String(OLD));
    } finally {
      await bucket.stop();
    }
  });
});
