/** Events of a service as they happen, over a stream that comes back by itself. */
import { type Api, ApiError, addressOf, errorIn, hearEventAt, linkIs, of, type ServiceEvent } from "./api.js";

export interface StreamHandlers {
  /** Some that have come together, oldest first. */
  readonly events: (events: readonly ServiceEvent[]) => void;
  /** What was known may be wrong from here on: events are missing. */
  readonly gap: () => void;
  /** It reads too slowly for what happens. */
  readonly cut?: () => void;
  readonly isOpen?: (isOpen: boolean) => void;
  /** It will not come back: the key may not, or is none any more. */
  readonly refused?: (error: ApiError) => void;
}

const BACK_AFTER_MS = [500, 1_000, 2_000, 5_000, 10_000];
/** The server says something at least every 15 s. */
const SILENCE_MS = 40_000;
/** Events that are taken in one go: between two of them the page stays responsive. */
const A_GO = 1_000;

/** Reads until it is stopped. @param after a position to go on behind; null: from now on */
export function openStream(
  api: Api,
  service: string,
  { prefix = "", after = null }: { readonly prefix?: string; readonly after?: string | null },
  handlers: StreamHandlers,
): () => void {
  const stopped = new AbortController();
  let position = after;
  let failures = 0;
  const run = async () => {
    while (!stopped.signal.aborted) {
      const silence = new AbortController();
      const signal = AbortSignal.any([stopped.signal, silence.signal]);
      try {
        await readOnce(signal, silence);
      } catch (error) {
        if (stopped.signal.aborted) return;
        if (error instanceof ApiError && (error.status === 401 || error.status === 403)) {
          handlers.refused?.(error);
          return;
        }
        if (!(error instanceof ApiError)) linkIs(false, "The stream of events is broken.");
      }
      handlers.isOpen?.(false);
      if (stopped.signal.aborted) return;
      await new Promise((resolve) => setTimeout(resolve, BACK_AFTER_MS[Math.min(failures++, 4)]));
    }
  };
  const readOnce = async (signal: AbortSignal, silence: AbortController) => {
    const query = prefix === "" ? "" : `?${new URLSearchParams({ prefix })}`;
    const response = await fetch(`${addressOf(`${of(service)}/events`)}${query}`, {
      headers: { ...api.headers, ...(position === null ? {} : { "last-event-id": position }) },
      ...{ signal, cache: "no-store" },
    });
    if (!response.ok || response.body === null) throw await errorIn(response);
    linkIs(true);
    failures = 0;
    handlers.isOpen?.(true);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const timer = setTimeout(() => silence.abort(), SILENCE_MS);
      const { done, value } = await reader.read();
      clearTimeout(timer);
      if (done) return;
      const frames = (rest + value).split("\n\n");
      rest = frames.pop()!;
      for (let at = 0; at < frames.length; at += A_GO) {
        if (at > 0) await new Promise((resolve) => setTimeout(resolve));
        if (stopped.signal.aborted) return;
        take(frames.slice(at, at + A_GO));
      }
    }
  };
  const take = (frames: readonly string[]) => {
    let events: ServiceEvent[] = [];
    const tell = () => {
      if (events.length > 0) handlers.events(events);
      events = [];
    };
    for (const frame of frames) {
      const { id, type, data } = fieldsOf(frame);
      if (id !== null) position = id;
      if (type === "gap") {
        tell();
        handlers.gap();
      } else if (type === "cut") handlers.cut?.();
      else if (type !== null && type !== "start" && type !== "ended") {
        events.push(JSON.parse(data) as ServiceEvent);
      }
    }
    const last = events.at(-1);
    if (last !== undefined) hearEventAt(last.at);
    tell();
  };
  void run();
  return () => stopped.abort();
}

function fieldsOf(frame: string): {
  readonly id: string | null;
  readonly type: string | null;
  readonly data: string;
} {
  let [id, type, data]: [string | null, string | null, string] = [null, null, ""];
  for (const line of frame.split("\n")) {
    if (line.startsWith("id: ")) id = line.slice(4);
    else if (line.startsWith("event: ")) type = line.slice(7);
    else if (line.startsWith("data: ")) data = line.slice(6);
  }
  return { id, type, data };
}
