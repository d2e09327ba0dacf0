import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import type { Logger } from "pino";

/** Files are looked at again when they are used, so often at most. */
const READ_EVERY_MS = 1_000;

/** A certificate and its key, both PEM. */
export interface Shown {
  readonly cert: string;
  readonly key: string;
}

/** What this server shows to other members, from files that may change while it runs. */
export class ShownCertificate {
  readonly #files: Shown;
  readonly #log: Pick<Logger, "warn">;
  #shown: Shown;
  #readAtMs = performance.now();

  /** @throws Error that names the options, and what is wrong */
  constructor(files: Shown, log: Pick<Logger, "warn">) {
    this.#files = files;
    this.#log = log;
    this.#shown = read(files);
  }

  /** What the files have now; what they had last, while they cannot be used. */
  get shown(): Shown {
    const nowMs = performance.now();
    if (nowMs - this.#readAtMs < READ_EVERY_MS) return this.#shown;
    this.#readAtMs = nowMs;
    try {
      this.#shown = read(this.#files);
    } catch (error) {
      this.#log.warn({ err: error }, "the certificate for other members cannot be used: the old one is");
    }
    return this.#shown;
  }
}

function read({ cert, key }: Shown): Shown {
  try {
    const shown = { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
    // It looks whether the two belong together.
    createSecureContext(shown);
    return shown;
  } catch (error) {
    throw new Error(`--cluster-cert ${cert}, --cluster-key ${key}: ${(error as Error).message}.`);
  }
}
