// A process of its own, with a mailbox.
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { stopped } from "../../../packages/server/test/etcd.js";

const WITH_PARENT = fileURLToPath(new URL("../../processes/leave-with-parent.mjs", import.meta.url));
/** A machine that has much else to do takes its time. */
const START_MS = 180_000;
const CALL_MS = 120_000;

/**
 * @typedef {object} ChildOptions
 * @property {NodeJS.ProcessEnv} [env] more of it
 * @property {readonly string[]} [under] what runs it, such as strace with its options
 */

/** A process that ends with this one, whatever happens. */
export class Child {
  #process;
  #said = "";
  #out = "";
  #ended;
  #calls = new Map();
  #callCount = 0;
  #onChange = new Set();
  isOver = false;
  #exit = "";
  #isUnder;

  /** @param {ChildOptions} options */
  constructor(script, args, { env, under = [] }) {
    const { PATH, TMPDIR } = process.env;
    this.#isUnder = under.length > 0;
    const [command, ...rest] = [...under, process.execPath, "--import", WITH_PARENT, script, ...args];
    this.#process = spawn(command, rest, {
      env: { PATH, TMPDIR, ...env },
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    // Told as its end.
    this.#process.once("error", (error) => {
      this.#said += error.message;
    });
    this.#process.stdout.setEncoding("utf8").on("data", (text) => {
      this.#out = `${this.#out}${text}`.slice(-10_000);
      for (const changed of [...this.#onChange]) changed();
    });
    this.#process.stderr.setEncoding("utf8").on("data", (text) => {
      this.#said = `${this.#said}${text}`.slice(-4_000);
      if (process.env.LOCKDB_LOG_LEVEL !== undefined) process.stderr.write(text);
    });
    this.#process.on("message", ({ id, value, error, kind }) => {
      if (kind !== undefined) return;
      const call = this.#calls.get(id);
      this.#calls.delete(id);
      if (error === undefined) call?.resolve(value);
      else call?.reject(Object.assign(new Error(error.message), { code: error.code }));
    });
    this.#ended = new Promise((resolve) => {
      this.#process.once("close", (code, signal) => {
        this.isOver = true;
        this.#exit = `${signal ?? `exit code ${code}`}`;
        for (const changed of [...this.#onChange]) changed();
        for (const { reject } of this.#calls.values()) reject(new Error(`a process ended: ${this.#said}`));
        resolve(undefined);
      });
    });
  }

  /** Of the program itself, also under something. */
  get pid() {
    const { pid } = this.#process;
    if (!this.#isUnder || pid === undefined) return pid;
    // Once it is gone there is nobody to name.
    const children = `/proc/${pid}/task/${pid}/children`;
    return existsSync(children) ? Number(readFileSync(children, "utf8").split(" ")[0]) || pid : pid;
  }

  /** Resolves when it is over. */
  get ended() {
    return this.#ended;
  }

  /** How it ended, and the last that it said. */
  get end() {
    return `${this.#exit} ${this.#said.slice(-1_500)}`;
  }

  signal(name) {
    const { pid } = this;
    if (this.isOver || pid === undefined) return;
    try {
      process.kill(pid, name);
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== "ESRCH") throw error;
    }
  }

  pause() {
    return stopped({ pid: this.pid, kill: (name) => this.signal(name) });
  }

  resume() {
    this.signal("SIGCONT");
  }

  /** Ends it, at once unless asked otherwise, and resolves when it has. */
  async kill(signal = "SIGKILL") {
    if (!this.isOver) this.signal(signal);
    await this.#ended;
  }

  listening() {
    return this.#until(() => /listens on/.test(this.#out), "the server");
  }

  /** Has a script do something (see mailbox.mjs), and gives its result. */
  call(op, given = {}) {
    const id = ++this.#callCount;
    return new Promise((resolve, reject) => {
      if (this.isOver) return reject(new Error(`a process has ended: ${this.#said}`));
      const timer = globalThis.setTimeout(() => reject(new Error(`${op} took too long`)), CALL_MS);
      const settle = (then) => (value) => {
        clearTimeout(timer);
        then(value);
      };
      this.#calls.set(id, { resolve: settle(resolve), reject: settle(reject) });
      this.#process.send({ id, op, ...given }, () => {});
    });
  }

  #until(isSo, what) {
    return new Promise((resolve, reject) => {
      const done = (error) => {
        clearTimeout(timer);
        this.#onChange.delete(look);
        if (error === undefined) resolve(undefined);
        else reject(error);
      };
      const look = () => {
        if (isSo()) done();
        else if (this.isOver) done(new Error(`${what} ended: ${this.#said}`));
      };
      const timer = globalThis.setTimeout(
        () => done(new Error(`${what} does not come: ${this.#said}`)),
        START_MS,
      );
      this.#onChange.add(look);
      look();
    });
  }
}
