// A network of small TCP proxies on loopback, in which any way from one to another can be cut, in one direction or both.
import { connect, createServer } from "node:net";

/**
 * What was on its way when a way was cut is kept, and comes when it is whole again: as TCP does, and worse than if it were lost. A connection
 * that is made meanwhile stands, and nothing comes of it.
 */
export class Net {
  /** @type {(from: string, to: string) => boolean} */
  #isCut = () => false;
  /** Whose bytes come one at a time. @type {(from: string, to: string) => boolean} */
  #isSliced = () => false;
  /** Connections that stand. @type {Set<{ from: string, to: string, near: import("node:net").Socket, far: import("node:net").Socket, part: () => void }>} */
  #pairs = new Set();
  /** @type {Set<() => void>} */
  #pumps = new Set();
  /** @type {Set<import("node:net").Socket>} */
  #sockets = new Set();
  /** @type {import("node:net").Server[]} */
  #servers = [];

  /** @param {(from: string, to: string) => boolean} isCut of each way; in place of all that was cut before */
  cut(isCut) {
    this.#isCut = isCut;
    for (const pump of [...this.#pumps]) pump();
  }

  /** What goes there comes one byte at a time, as it may with any TCP. @param {(from: string, to: string) => boolean} isSliced */
  slice(isSliced) {
    this.#isSliced = isSliced;
  }

  heal() {
    this.slice(() => false);
    this.cut(() => false);
  }

  /** Resets connections, for both sides. @param {(from: string, to: string) => boolean} isMeant */
  reset(isMeant) {
    for (const { near, far } of this.#meant(isMeant)) {
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
  }

  /**
   * Ends connections for one side; the other one is told nothing: what it sends goes nowhere.
   * @param {(from: string, to: string) => boolean} isMeant
   * @param {"near" | "far"} left whose stays: that of who has connected, or of who was connected to
   */
  halve(isMeant, left) {
    for (const { near, far, part } of this.#meant(isMeant)) {
      part();
      (left === "near" ? far : near).destroy();
      (left === "near" ? near : far).resume();
    }
  }

  #meant(isMeant) {
    return [...this.#pairs].filter(({ from, to }) => isMeant(from, to));
  }

  /**
   * @param {object} way
   * @param {string} way.to who listens there
   * @param {number} way.target its port
   * @param {string} [way.from] who connects; else `identify` says so from what it sends first
   * @param {(first: Buffer) => string} [way.identify]
   * @param {number} way.port where the proxy listens
   * @returns {Promise<void>}
   */
  proxy({ to, target, from, identify, port }) {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.#add(socket);
      if (from !== undefined) return this.#join(socket, from, to, target);
      socket.once("readable", () => {
        const first = socket.read();
        if (first === null) return socket.destroy();
        socket.unshift(first);
        this.#join(socket, identify?.(first) ?? "?", to, target);
      });
    });
    this.#servers.push(server);
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, "127.0.0.1", () => resolve());
    });
  }

  async end() {
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }

  /** @param {import("node:net").Socket} near @param {string} from @param {string} to @param {number} target */
  #join(near, from, to, target) {
    // A first packet gets through both ways or not at all.
    this.#when(
      near,
      () => !this.#isCut(from, to) && !this.#isCut(to, from),
      () => {
        const far = connect({ port: target, host: "127.0.0.1", noDelay: true, allowHalfOpen: true });
        this.#add(far);
        const stops = [this.#pump(near, far, from, to), this.#pump(far, near, to, from)];
        const part = () => {
          this.#pairs.delete(pair);
          for (const stop of stops) stop();
        };
        const pair = { from, to, near, far, part };
        this.#pairs.add(pair);
        near.once("close", () => this.#pairs.delete(pair));
      },
    );
  }

  /** @param {import("node:net").Socket} source @param {import("node:net").Socket} sink @param {string} from @param {string} to @returns what stops it */
  #pump(source, sink, from, to) {
    const isCut = () => this.#isCut(from, to);
    let isOver = false;
    let isFull = false;
    let isWaiting = false;
    let isParted = false;
    const pump = () => {
      if (isParted) return;
      while (!isCut() && !isFull && !isWaiting) {
        const isSliced = this.#isSliced(from, to);
        const chunk = source.read(isSliced && source.readableLength > 1 ? 1 : undefined);
        if (chunk === null) break;
        if (isSliced) {
          isWaiting = true;
          setImmediate(() => {
            isWaiting = false;
            pump();
          });
        }
        if (!sink.write(chunk)) {
          isFull = true;
          sink.once("drain", () => {
            isFull = false;
            pump();
          });
        }
      }
      // The end of a connection, too, is news that does not come through.
      if (isOver && !isCut() && source.readableLength === 0) {
        this.#pumps.delete(pump);
        if (source.readableEnded) sink.end();
        else sink.destroy();
      }
    };
    this.#pumps.add(pump);
    source.on("readable", pump);
    source.once("end", () => {
      isOver = true;
      pump();
    });
    source.once("close", () => {
      isOver = true;
      pump();
    });
    return () => {
      isParted = true;
      this.#pumps.delete(pump);
      source.off("readable", pump);
      source.once("end", () => source.destroy());
    };
  }

  /** @param {import("node:net").Socket} socket @param {() => boolean} isSo @param {() => void} then */
  #when(socket, isSo, then) {
    const look = () => {
      if (!socket.destroyed && !isSo()) return;
      this.#pumps.delete(look);
      if (!socket.destroyed) then();
    };
    this.#pumps.add(look);
    look();
  }

  /** @param {import("node:net").Socket} socket */
  #add(socket) {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => this.#sockets.delete(socket));
  }
}
