import type { Compare, EtcdEntry } from "../store/etcd-api.js";
import { decodeRecord, type FolderMark, type MarkKind, StoreUnusableError } from "../store/index.js";
import { written } from "./records.js";

/** Why nobody may join a cluster: `unfinished` and `moved`, as with folders. */
export const MARKS = "mark/";
/** The id of the member that has joined last: whoever makes a copy learns that somebody has joined meanwhile. */
export const JOINED = `${MARKS}joined`;
/** Of the copy that was begun last: no earlier one comes to its end. */
export const COPYING = `${MARKS}copying`;

export const markKey = (kind: MarkKind) => `${MARKS}${kind}`;
const REFUSING: readonly MarkKind[] = ["moved", "unfinished"];

export function markWritten(kind: MarkKind, mark: FolderMark): ReturnType<typeof written> {
  return written(markKey(kind), mark);
}

/** Conditions of whoever begins to use what is there. */
export function unmarked(at: string): Compare[] {
  return REFUSING.map((kind) => ({ key: `${at}${markKey(kind)}`, revision: 0 }));
}

export type Marks = { readonly [Kind in MarkKind]: FolderMark | null };

export function marksIn(at: string, entries: readonly EtcdEntry[]): Marks {
  const of = (kind: MarkKind): FolderMark | null => {
    const key = markKey(kind);
    const found = entries.find((entry) => entry.key.toString() === `${at}${key}`);
    if (found === undefined) return null;
    try {
      return decodeRecord({ key, value: found.value }) as FolderMark;
    } catch {
      return { id: "", other: "somewhere", at: "some time ago" };
    }
  };
  return { moved: of("moved"), unfinished: of("unfinished") };
}

/** Why these marks keep everybody out; null: they do not. */
export function refusalOf(at: string, { moved, unfinished }: Marks): StoreUnusableError | null {
  const name = at.slice(1, -1);
  if (moved !== null)
    return new StoreUnusableError(
      `The cluster "${name}" was moved to "${moved.other}" (${moved.at}), where its history goes on: a second one with the same history would give out its ` +
        "tokens again. Start the server there.",
    );
  if (unfinished !== null)
    return new StoreUnusableError(
      `The cluster "${name}" is not whole: what was begun at ${unfinished.at}, from "${unfinished.other}", did not come to its end. Remove all that it has in ` +
        `etcd (etcdctl del --prefix ${at}), and do it again.`,
    );
  return null;
}
