import type { LockDB, LockManager as LockDBManager } from "lockdb";

// Checked with the types of a browser, and only checked: this is TypeScript that was written for `navigator.locks`.

declare const locker: LockDB;

/** The standard's type takes ours, and so does every place where the standard's object may stand. */
export const standard: LockManager = locker.locks;
export const either = typeof navigator === "undefined" ? locker.locks : navigator.locks;

/** The other way, `request` is the same. A snapshot of ours always has both lists; the standard's type says that it may not. */
export const back: Pick<LockDBManager, "request"> = navigator.locks;
export const options: Parameters<LockDBManager["request"]>[1] = {} as LockOptions;
export const snapshot: LockManagerSnapshot = await locker.locks.query();

export async function asWritten(locks: LockManager, signal: AbortSignal): Promise<number> {
  const text: string = await locks.request("a", async (lock) => lock?.name ?? "none");
  const size: number = await locks.request("b", { mode: "shared", signal }, (lock: Lock | null) => {
    return lock?.mode === "shared" ? text.length : 0;
  });
  await locks.request("c", { ifAvailable: true, steal: false }, () => {});
  const { held, pending } = await locks.query();
  for (const { name, mode, clientId } of held ?? []) console.log(name, mode, clientId);
  return size + (pending?.length ?? 0);
}

/** The same on our own type, word by word. */
export async function onOurs({ locks }: LockDB, { signal }: AbortController): Promise<number> {
  const text: string = await locks.request("a", async (lock) => lock?.name ?? "none");
  const size: number = await locks.request("b", { mode: "shared", signal }, (lock: Lock | null) => {
    return lock?.mode === "shared" ? text.length : 0;
  });
  await locks.request("c", { ifAvailable: true, steal: false }, () => {});
  const { held, pending } = await locks.query();
  for (const { name, mode, clientId } of held) console.log(name, mode, clientId);
  // @ts-expect-error there is no such mode
  await locks.request("d", { mode: "both" }, () => {});
  // @ts-expect-error a name and a callback are needed
  await locks.request("d");
  return size + pending.length;
}
