// The child's side of `Child` in processes.ts.

let [scale, shiftMs] = [1, 0];

/** Milliseconds on the monotonic clock that all processes of this machine share. */
export function clockMs() {
  return (Number(process.hrtime.bigint()) / 1e6) * scale + shiftMs;
}

/** For a process whose clock was made wrong: from now on `clockMs` is right, and nothing else. */
export function mendClock(mended) {
  ({ scale, shiftMs } = mended);
}

/** What this process was given to work with. */
export const given = JSON.parse(process.argv[2]);

/** Tells the test something by itself. */
export function notify(kind, fields = {}) {
  process.send({ kind, ...fields });
}

/** Does what the test asks, by name of the operation. Several may be under way. */
export function serveCalls(operations) {
  process.channel.ref();
  process.on("message", async ({ id, op, ...fields }) => {
    try {
      process.send({ id, value: await operations[op](fields) });
    } catch (error) {
      process.send({ id, error: { name: error.name, code: error.code, message: error.message } });
    }
  });
}
