/** @typedef {import("./child.js").ChildOptions} ChildOptions */

/** @typedef {ChildOptions & { args?: readonly string[], cli?: string, store?: string, dataDir?: string }} SingleOptions args: more flags */

/** One server on one folder and port, through as many processes as it takes. */
export class Single {
  url;
  port;
  dataDir;
  /** The present one, or the last. */
  child;
  #stage;
  #args;

  constructor({ stage, args, port, dataDir }) {
    this.#stage = stage;
    this.#args = args;
    this.port = port;
    this.dataDir = dataDir;
    this.url = `http://127.0.0.1:${port}`;
  }

  /** As of a member: there is nothing in between here. */
  get ownUrl() {
    return this.url;
  }

  /** Starts it, and waits until it listens. @param {SingleOptions} [options] of this start alone @throws Error when it ends before */
  start(options) {
    return this.launch(options).listening();
  }

  /** Starts it, without waiting. @param {SingleOptions} [options] of this start alone */
  launch({ args = [], ...options } = {}) {
    this.child = this.#stage.serve([...this.#args, ...args], options);
    return this.child;
  }

  /** Ends it, at once unless asked otherwise, and starts it again. @param {SingleOptions} [options] */
  async restart(options, signal = "SIGKILL") {
    await this.child.kill(signal);
    await this.start(options);
  }
}
