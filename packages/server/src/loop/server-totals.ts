import type { ErrorCode } from "lockdb/protocol";
import { Histogram, Totals } from "../engine/index.js";

/** Milliseconds of real time: a flush on a good disk, and on a bad one. */
const COMMIT_SPANS_MS = [0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000];
const RECORDS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 20_000];

/** What has happened since this process began: plain numbers, which whoever asks for metrics makes text of (I6). */
export class ServerTotals {
  /** Of all services together. */
  readonly engine = new Totals();
  readonly commitMs = new Histogram(COMMIT_SPANS_MS);
  readonly commitRecords = new Histogram(RECORDS);
  /** Commits that failed, or whose outcome was not known. */
  storeFailures = 0;
  /** Services that had to be read anew, since their rules met a mistake of ours. */
  serviceFailures = 0;
  /** Requests for locks that have waited longer than `--slow-wait`. */
  slowWaits = 0;
  /** Milliseconds awake for nothing (`--busy-poll`). */
  busyPollMs = 0;
  connectionsOpened = 0;
  connectionsOpen = 0;
  /** Native clients that were told of another member of the cluster, which has their service. */
  clientsMoved = 0;
  /** What became of requests that were passed on to other members, each time. */
  readonly passedOn = { answered: 0, unsent: 0, "not here": 0, failed: 0 };
  /** Callers without a key, and with one that is none. */
  readonly authFailures = { no_key: 0, wrong_key: 0 };
  /** HTTP answers by the class of their status, such as `2xx`. */
  readonly answered: Record<string, number> = {};
  /** By code, on every interface. Each is counted where it leaves. */
  readonly refused: Partial<Record<ErrorCode, number>> = {};

  answeredWith(status: number): void {
    const kind = `${Math.floor(status / 100)}xx`;
    this.answered[kind] = (this.answered[kind] ?? 0) + 1;
  }

  refusedWith(code: ErrorCode): void {
    this.refused[code] = (this.refused[code] ?? 0) + 1;
  }
}
