import { BackupFile, type BackupHeader } from "../store/index.js";
import { factsOf } from "./kept.js";

/**
 * Reads a backup from its beginning to its end.
 * @throws BackupUnusableError, DamagedRecordError, NewerFormatError when it could not be restored
 */
export async function checkBackup(path: string): Promise<BackupHeader & { readonly records: number }> {
  const file = BackupFile.open(path);
  try {
    const { records } = await factsOf(file.entries());
    return { ...file.header, records };
  } finally {
    file.close();
  }
}
