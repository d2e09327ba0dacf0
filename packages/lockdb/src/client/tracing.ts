// Nothing here is imported but types: in a browser this file is loaded when there is a tracer, and a bundler would cut
// in two what both parts import.
import type { HolderInfo, LockNames, LockSpec, Metadata } from "../protocol/index.js";
import type { HeldLease, OwnLease } from "./lease.js";
import type { AcquireTerms } from "./request.js";
import type { ClientSession } from "./session.js";
import type { TraceLink, Tracer, TraceSpan, TraceSpanContext, TraceValue } from "./tracer.js";

type Attributes = Record<string, TraceValue>;

/** A shorter wait asks nobody who has the lock: it would cost another message, and be over before the answer. */
const LOOK_AFTER_MS = 25;
/** Questions of this kind at once; those who wait meanwhile go without. */
const LOOKS_MAX = 8;
/** Names of a set that are looked at, and holders that are linked to. */
const LINKED_MAX = 4;
const METADATA_BYTES_MAX = 1_024;
/** Of OpenTelemetry: `SpanKind.CLIENT` and `SpanStatusCode.ERROR`. */
const KIND_CLIENT = 2;
const STATUS_ERROR = 2;

/** Tells an OpenTelemetry tracer of waits and holds. */
export class Tracing {
  readonly #tracer: Tracer;
  readonly #session: ClientSession;
  readonly #service: string;
  #looks = 0;
  /** The key may not look: it is not asked again. */
  #mayLook = true;

  constructor(tracer: Tracer, session: ClientSession, service: string) {
    this.#tracer = tracer;
    this.#session = session;
    this.#service = service;
  }

  /** As the session's own, in a span; the hold has one too, from the grant to its end. */
  acquire(terms: AcquireTerms, signal: AbortSignal | undefined): Promise<OwnLease> {
    return this.#waiting(terms, signal, async (lease, links) => {
      // Of a detached hold nobody here sees the end, and an inner lease is a part of a hold that has a span.
      if (terms.detachedMs === null && "onOver" in lease) this.#watch(lease as HeldLease, terms, links);
      return lease;
    });
  }

  /** The same with work that is done inside of the hold: spans that it begins are the hold's children. */
  withLock<T>(
    terms: AcquireTerms,
    signal: AbortSignal | undefined,
    work: (lease: OwnLease) => Promise<T>,
  ): Promise<T> {
    return this.#waiting(terms, signal, (lease, links) => {
      const options = { attributes: this.#held(terms, lease), links };
      return this.#tracer.startActiveSpan("lockdb hold", options, async (span) => {
        try {
          const result = await work(lease);
          span.setAttributes({ "lockdb.outcome": "released" });
          return result;
        } catch (error) {
          failed(span, error, codeOf(error) === "LOCK_LOST" ? "lost" : "released");
          throw error;
        } finally {
          span.end();
        }
      });
    });
  }

  /** @param then what is done with the lease, inside of the wait's span */
  #waiting<T>(
    terms: AcquireTerms,
    signal: AbortSignal | undefined,
    then: (lease: OwnLease, links: TraceLink[]) => Promise<T>,
  ): Promise<T> {
    const options = { kind: KIND_CLIENT, attributes: this.#asked(terms) };
    return this.#tracer.startActiveSpan("lockdb wait", options, async (span) => {
      const stopLooking = span.isRecording() ? this.#lookLater(span, terms.names) : () => {};
      let lease: OwnLease;
      try {
        const metadata = withParent(terms.metadata, span);
        lease = await this.#session.ask(metadata === terms.metadata ? terms : { ...terms, metadata }, signal);
      } catch (error) {
        stopLooking();
        notGranted(span, error, terms, signal);
        throw error;
      }
      stopLooking();
      const { token, ticket } = lease;
      span.setAttributes({
        "lockdb.outcome": "granted",
        "lockdb.token": token,
        ...(ticket === undefined ? {} : { "lockdb.ticket": ticket }),
      });
      span.end();
      // Where the context is not carried over promises, this is what leads from the hold to its wait.
      return then(lease, [{ context: span.spanContext() }]);
    });
  }

  #watch(lease: HeldLease, terms: AcquireTerms, links: TraceLink[]): void {
    const span = this.#tracer.startSpan("lockdb hold", { attributes: this.#held(terms, lease), links });
    lease.onOver((why) => {
      if (lease.isLost) failed(span, why, "lost");
      else span.setAttributes({ "lockdb.outcome": "released" });
      span.end();
    });
  }

  #asked({ names }: AcquireTerms): Attributes {
    return {
      "lockdb.service": this.#service,
      "lockdb.lock.names": namesOf(names),
      "lockdb.lock.mode": modeOf(names),
    };
  }

  #held(terms: AcquireTerms, { token, previous }: OwnLease): Attributes {
    return {
      ...this.#asked(terms),
      "lockdb.token": token,
      ...(previous === undefined ? {} : { "lockdb.previous.ended_by": previous.endedBy }),
    };
  }

  /** Links the wait to whoever has the lock while it lasts. Returns the way out. */
  #lookLater(span: TraceSpan, names: LockNames): () => void {
    let isOver = false;
    const look = async () => {
      if (!this.#mayLook || this.#looks >= LOOKS_MAX) return;
      this.#looks++;
      try {
        for (const name of namesOf(names).slice(0, LINKED_MAX)) {
          const { holders } = await this.#session.look.inspect(name);
          if (isOver) return;
          for (const holder of holders.slice(0, LINKED_MAX)) linkTo(span, holder);
        }
      } catch (error) {
        // It is no part of the lock: who cannot look goes without the link.
        if (codeOf(error) === "FORBIDDEN") this.#mayLook = false;
      } finally {
        this.#looks--;
      }
    };
    const timer = this.#session.runtime.setTimer(() => void look(), LOOK_AFTER_MS, false);
    return () => {
      isOver = true;
      timer.cancel();
    };
  }
}

function notGranted(
  span: TraceSpan,
  error: unknown,
  { waitMs }: AcquireTerms,
  signal: AbortSignal | undefined,
): void {
  const code = codeOf(error);
  const { holder } = (error as { details?: { holder?: HolderInfo } } | null)?.details ?? {};
  // Also for a key that may not look.
  if (holder !== undefined) linkTo(span, holder);
  // To find a lock taken when one asks once, and to have called it off, is no failure.
  if (signal?.aborted && error === signal.reason) span.setAttributes({ "lockdb.outcome": "aborted" });
  else if (code === "LOCK_TIMEOUT" && waitMs === 0) span.setAttributes({ "lockdb.outcome": "busy" });
  else failed(span, error, code === "LOCK_TIMEOUT" ? "timed_out" : "refused");
  span.end();
}

function failed(span: TraceSpan, error: unknown, outcome: string): void {
  const known = error instanceof Error ? error : new Error(String(error));
  span.setAttributes({ "lockdb.outcome": outcome, "error.type": codeOf(error) ?? known.name });
  span.recordException(known);
  span.setStatus({ code: STATUS_ERROR, message: known.message });
}

/** Says who holds the lock; links to that one's wait, where it was traced. */
function linkTo(span: TraceSpan, { token, owner, metadata }: HolderInfo): void {
  const attributes = { "lockdb.holder.token": token, "lockdb.holder.owner": owner };
  span.setAttributes(attributes);
  const context = parentIn(metadata?.traceparent);
  if (context !== null) span.addLink?.({ context, attributes });
}

/** Metadata that leads whoever waits for the hold to the span of its request, as far as there is room. */
function withParent(metadata: Metadata | null, span: TraceSpan): Metadata | null {
  const { traceId, spanId, traceFlags } = span.spanContext();
  if (!span.isRecording() || metadata?.traceparent !== undefined) return metadata;
  const flags = (traceFlags & 0xff).toString(16).padStart(2, "0");
  const more = { ...metadata, traceparent: `00-${traceId}-${spanId}-${flags}` };
  return new TextEncoder().encode(JSON.stringify(more)).length > METADATA_BYTES_MAX ? metadata : more;
}

/** Of W3C Trace Context. It comes from others: null for what is none. */
function parentIn(text: unknown): TraceSpanContext | null {
  const form = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$/;
  const [, traceId, spanId, flags] = (typeof text === "string" && form.exec(text)) || [];
  if (traceId === undefined) return null;
  return { traceId, spanId: spanId!, traceFlags: Number.parseInt(flags!, 16), isRemote: true };
}

function namesOf(names: LockNames): string[] {
  return typeof names === "string"
    ? [names]
    : names.map((spec) => (typeof spec === "string" ? spec : spec[0]));
}

function modeOf(names: LockNames): string {
  const modes = new Set(typeof names === "string" ? ["exclusive"] : names.map(modeOfSpec));
  return modes.size === 1 ? [...modes][0]! : "mixed";
}

function modeOfSpec(spec: LockSpec): string {
  if (typeof spec === "string") return "exclusive";
  return typeof spec[1] === "number" ? "semaphore" : "shared";
}

function codeOf(error: unknown): string | undefined {
  return (error as { code?: string } | null | undefined)?.code;
}
