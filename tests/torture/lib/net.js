// A network of small TCP proxies on loopback, in which any way from one to another can be cut, in one direction or both.
import { connect, createServer } from "node:net";

/**
 * What was on its way when a way was cut is kept, and comes when it is whole again: as TCP does, and worse than if it were lost. A connection
 * that is made meanwhile stands, and nothing comes of it.
 */
export class Net {
  /** @type {(from: string, to: string) => boolean} */
  #isCut = () => false;
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

  heal() {
    this.cut(() => false);
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
        this.#pump(near, far, () => this.#isCut(from, to));
        this.#pump(far, near, () => this.#isCut(to, from));
      },
    );
  }

  /** @param {import("node:net").Socket} source @param {import("node:net").Socket} sink @param {() => boolean} isCut */
  #pump(source, sink, isCut) {
    let isOver = false;
    let isFull = false;
    const pump = () => {
      while (!isCut() && !isFull) {
        const chunk = source.read();
        if (chunk === null) break;
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
