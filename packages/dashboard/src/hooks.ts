import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ApiError } from "./api.js";
import { problemOf } from "./state.js";

/** Nothing asks more often than this. */
const POLL_MS_MIN = 2_000;
const POLL_MS_MAX = 15_000;

/**
 * Asks now and then, while the page can be seen; less often while it fails.
 * @param ask gives what is to be shown
 * @param key asked anew, from nothing, when it is another one
 */
export function usePoll<T>(ask: (signal: AbortSignal) => Promise<T>, ms: number, key: string) {
  const value = useSignal<T | null>(null);
  const problem = useSignal("");
  const refresh = useSignal(0);
  useEffect(() => {
    value.value = null;
    problem.value = "";
  }, [key]);
  useEffect(() => {
    const stopped = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let waitMs = Math.max(ms, POLL_MS_MIN);
    const turn = async () => {
      if (document.hidden) return;
      try {
        value.value = await ask(stopped.signal);
        problem.value = "";
        waitMs = Math.max(ms, POLL_MS_MIN);
      } catch (error) {
        if (stopped.signal.aborted) return;
        waitMs = Math.min(waitMs * 2, POLL_MS_MAX);
        // That the server is lost is said for all of the page.
        const isLost = error instanceof ApiError && error.code === "CONNECTION";
        problem.value = isLost ? "" : problemOf(error);
      }
      timer = setTimeout(turn, waitMs);
    };
    const seen = () => {
      if (document.hidden) return;
      clearTimeout(timer);
      timer = setTimeout(turn);
    };
    document.addEventListener("visibilitychange", seen);
    void turn();
    return () => {
      stopped.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [key, refresh.value]);
  return { value, problem, again: () => refresh.value++ };
}
