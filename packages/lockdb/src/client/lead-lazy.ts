import type { lead as Lead } from "./lead.js";
import { notLoaded } from "./not-loaded.js";

/** In a page leader election is loaded when it is used: few pages lead. Whoever asks again after a failure tries again. */
export const lead: typeof Lead = async (...asked) => {
  const { lead } = await import("./lead.js").catch((error) => {
    throw notLoaded("leader election", error);
  });
  return lead(...asked);
};
