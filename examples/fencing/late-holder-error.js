/** A later holder has been here, so this one's write was refused. Give up; ask for the lock again to start anew. */
export class LateHolderError extends Error {
  name = "LateHolderError";

  constructor(what, token) {
    super(`${what}: a later holder than token ${token} has been here.`);
  }
}
