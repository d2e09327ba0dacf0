// Numbers that many add to, in a process of its own: the database. It knows nothing of locks and leases. It looks at the
// token that comes with each call, and refuses one that is lower than the highest it has seen (F1).
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { clockMs, given, notify, serveCalls } from "./mailbox.mjs";

class Register {
  value = 0;
  writes = 0;
  refusedReads = 0;
  refusedWrites = 0;
  /** Refused writes that would have put an old number in the place of a newer one. */
  savedUpdates = 0;
  /** Writes that were taken, and were not one more than what was there: somebody's update is gone. */
  lostUpdates = 0;
  #tokenMax = 0;

  read(token) {
    if (!this.#admits(token)) {
      this.refusedReads++;
      return null;
    }
    return this.value;
  }

  write(token, value) {
    if (!this.#admits(token)) {
      this.refusedWrites++;
      if (value <= this.value) this.savedUpdates++;
      return false;
    }
    if (value !== this.value + 1) this.lostUpdates++;
    this.value = value;
    this.writes++;
    return true;
  }

  #admits(token) {
    if (token < this.#tokenMax) return false;
    this.#tokenMax = token;
    return true;
  }
}

const registers = new Map(given.names.map((name) => [name, new Register()]));

const server = createServer((socket) => {
  socket.setNoDelay(true);
  createInterface({ input: socket }).on("line", (line) => {
    const atMs = clockMs();
    const { op, name, token, value } = JSON.parse(line);
    const register = registers.get(name);
    const result = op === "read" ? register.read(token) : register.write(token, value);
    socket.write(`${JSON.stringify({ result, atMs })}\n`);
  });
});
server.listen(given.port, "127.0.0.1", () => notify("ready"));

serveCalls({ all: () => [...registers].map(([name, register]) => ({ name, ...register })) });
