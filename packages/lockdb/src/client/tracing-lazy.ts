import type { OwnLease } from "./lease.js";
import { notLoaded } from "./not-loaded.js";
import type { AcquireTerms } from "./request.js";
import type { ClientSession } from "./session.js";
import type { Tracer } from "./tracer.js";
import type { Tracing as LoadedTracing } from "./tracing.js";

/** Tracing in a browser: loaded for those who have a tracer, and most pages have none. */
export class Tracing implements Pick<LoadedTracing, "acquire" | "withLock"> {
  readonly #loading: Promise<LoadedTracing>;

  constructor(tracer: Tracer, session: ClientSession, service: string) {
    this.#loading = import("./tracing.js").then(
      ({ Tracing }) => new Tracing(tracer, session, service),
      (error) => {
        throw notLoaded("tracing", error);
      },
    );
    // Whoever asks for a lock is told.
    this.#loading.catch(() => {});
  }

  async acquire(...asked: Parameters<LoadedTracing["acquire"]>): Promise<OwnLease> {
    return (await this.#loading).acquire(...asked);
  }

  async withLock<T>(
    terms: AcquireTerms,
    signal: AbortSignal | undefined,
    work: (lease: OwnLease) => Promise<T>,
  ): Promise<T> {
    return (await this.#loading).withLock(terms, signal, work);
  }
}
