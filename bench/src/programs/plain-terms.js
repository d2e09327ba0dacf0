/** What a connection gives the engine of which a request says nothing. */
export const PLAIN_TERMS = Object.freeze({
  detachedMs: null,
  minHoldMs: 0,
  maxHoldMs: null,
  metadata: Object.freeze({}),
  ticket: null,
  within: Object.freeze([]),
  reentrant: false,
  leads: false,
  stolenBy: null,
  owner: null,
});
