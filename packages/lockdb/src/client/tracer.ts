/**
 * What `trace.getTracer()` of OpenTelemetry gives, as far as this client uses it: no package is needed for it.
 *
 * @example
 * import { trace } from "@opentelemetry/api";
 * const traced = new LockDB("reports", { tracer: trace.getTracer("billing") });
 */
export interface Tracer {
  /** Begins a span; the client ends it. */
  startSpan(name: string, options?: TraceSpanOptions): TraceSpan;
  /** Begins a span that is around what `fn` does. */
  startActiveSpan<F extends (span: TraceSpan) => unknown>(
    name: string,
    options: TraceSpanOptions,
    fn: F,
  ): ReturnType<F>;
}

export type TraceValue = string | number | boolean | string[];

export interface TraceSpanOptions {
  kind?: number;
  attributes?: Record<string, TraceValue>;
  links?: TraceLink[];
}

export interface TraceLink {
  context: TraceSpanContext;
  attributes?: Record<string, TraceValue>;
}

export interface TraceSpanContext {
  traceId: string;
  spanId: string;
  traceFlags: number;
  isRemote?: boolean;
}

export interface TraceSpan {
  spanContext(): TraceSpanContext;
  isRecording(): boolean;
  setAttributes(attributes: Record<string, TraceValue>): unknown;
  setStatus(status: { code: number; message?: string }): unknown;
  recordException(error: Error): void;
  /** Absent before version 1.9 of the API. */
  addLink?(link: TraceLink): unknown;
  end(): void;
}
