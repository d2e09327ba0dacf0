/** Why a peer has no part in a workload, or undefined when it has. */

/** @typedef {import("../peers/index.js").Peer} Peer */

/** What waits for a disk has workloads of its own: beside the others it could only be slower than the same without. */
export const unlessDurable = (/** @type {Peer} */ peer) =>
  peer.durable ? "it waits for the disk: see x1 and durable-x64" : undefined;

export const unlessVolatile = (/** @type {Peer} */ peer) =>
  peer.durable ? undefined : "a grant is not on disk when it is answered";

export const unlessFloor = (/** @type {Peer} */ peer) =>
  peer.excludes ? undefined : "it excludes nobody, so nobody waits";
