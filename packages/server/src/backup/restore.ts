import { resolve } from "node:path";
import { AuditLog } from "../loop/index.js";
import { BackupFile, encodeRecord } from "../store/index.js";
import type { Filling } from "./filling.js";
import { floorAfter } from "./floor.js";
import { factsOf, KeptRecords, type LeftOut } from "./kept.js";
import { type Place, placeOf, type WayToEtcd } from "./places.js";

export interface RestoreOptions {
  /** Default true: holds that end at a time of their own are kept. */
  readonly keepHolds?: boolean;
  /** A number that no token of the lost history is above, where the operator knows one. */
  readonly tokensAbove?: number;
  /** Time of day; default the clock of this machine. */
  readonly nowMs?: number;
}

export interface Restored {
  /** The folder, or where in etcd the cluster is. */
  readonly directory: string;
  /** The moment of the backup. */
  readonly backupAt: string;
  readonly records: number;
  readonly leftOut: LeftOut;
  /** The first token of every service. */
  readonly tokensFrom: number;
}

/**
 * Makes a store of a backup, in a folder that is empty or is made, or in etcd, where nothing of that cluster is (F3). All of the file is looked at before
 * anything is written.
 * @throws BackupUnusableError, DamagedRecordError, NewerFormatError, FloorError, StoreUnusableError, StoreFailedError, EtcdError
 */
export async function restoreBackup(
  file: string,
  target: string,
  { way, ...options }: RestoreOptions & { readonly way?: WayToEtcd } = {},
): Promise<Restored> {
  const place = await placeOf(target, way);
  try {
    return await restoreInto(place, file, options);
  } finally {
    await place.close();
  }
}

async function restoreInto(
  place: Place,
  file: string,
  { keepHolds = true, tokensAbove, nowMs = Date.now() }: RestoreOptions,
): Promise<Restored> {
  place.assertEmpty();
  const backup = BackupFile.open(file);
  try {
    const { highest, raisedBy: raisedBefore, clockMs } = await factsOf(backup.entries());
    const { at: backupAt } = backup.header;
    const { floor, raisedBy } = floorAfter({
      nowMs,
      backupMs: Date.parse(backupAt),
      highest,
      raisedBy: raisedBefore,
      above: tokensAbove ?? null,
    });
    const kept = new KeptRecords({ tokens: floor, tickets: floor, raisedBy }, keepHolds);
    const filling = await place.fill(resolve(file));
    let records = 0;
    const put = async (changes: Iterable<Parameters<Filling["put"]>[0]>) => {
      for (const change of changes) {
        records++;
        await filling.put(change);
      }
    };
    try {
      for await (const entry of backup.entries()) await put(kept.of(entry));
      await put(kept.end());
      const details = { file: resolve(file), backupAt, tokensFrom: floor, keepHolds, ...kept.leftOut };
      const act = { account: "default", who: "operator", what: "store restored", details };
      const { key, value } = new AuditLog(() => nowMs).record(act, clockMs);
      await put([{ key, value: encodeRecord(key, value) }]);
      await filling.written();
    } catch (error) {
      await filling.undo();
      throw error;
    }
    await filling.finish();
    return { directory: place.name, backupAt, records, leftOut: kept.leftOut, tokensFrom: floor };
  } finally {
    backup.close();
  }
}
