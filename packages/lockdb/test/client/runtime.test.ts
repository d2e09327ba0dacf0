import { once } from "node:events";
import { createServer as createHttpServer, type RequestListener } from "node:http";
import { createServer } from "node:net";
import { clientIdProblem } from "lockdb/protocol";
import { afterEach, describe, expect, test, vi } from "vitest";
import { WebSocketServer } from "ws";
import { runtime } from "../../src/runtime/node.js";
import type { SocketClosed } from "../../src/runtime/runtime.js";
import { longTimer } from "../../src/runtime/timer.js";

const DAY_MS = 86_400_000;

afterEach(() => {
  vi.useRealTimers();
});

describe("a timer", () => {
  test("[N4d] of 60 days fires after 60 days: beyond what a timer of Node.js can be", () => {
    vi.useFakeTimers();
    const fired = vi.fn();
    longTimer(fired, 60 * DAY_MS, true);
    vi.advanceTimersByTime(60 * DAY_MS - 1);
    expect(fired).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(fired).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(120 * DAY_MS);
    expect(fired).toHaveBeenCalledTimes(1);
  });

  test("[N4e] can be cancelled at any time of it", () => {
    vi.useFakeTimers();
    const fired = vi.fn();
    const timer = longTimer(fired, 60 * DAY_MS, true);
    vi.advanceTimersByTime(30 * DAY_MS);
    timer.cancel();
    vi.advanceTimersByTime(60 * DAY_MS);
    expect(fired).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  });

  test("[N4f] that is due, or overdue, fires at the next turn, not now", () => {
    vi.useFakeTimers();
    const fired = vi.fn();
    for (const ms of [0, -5]) longTimer(fired, ms, true);
    expect(fired).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(fired).toHaveBeenCalledTimes(2);
  });
});

/** What becomes of a connection to a server that does this. */
async function closing(port: number): Promise<SocketClosed> {
  return new Promise((resolve, reject) => {
    let count = 0;
    const closed = (reason: SocketClosed) => {
      if (++count > 1) return reject(new Error("told twice"));
      // A second call would come in the same turn or the next.
      setImmediate(() => setImmediate(() => resolve(reason)));
    };
    const open = () => reject(new Error("it opened"));
    runtime.connect(`ws://127.0.0.1:${port}/v1/connect`, "key", { open, message: () => {}, close: closed });
  });
}

async function answering(answer: RequestListener, ask: (port: number) => Promise<void>): Promise<void> {
  const server = createHttpServer(answer).listen(0, "127.0.0.1");
  await once(server, "listening");
  await ask((server.address() as { port: number }).port);
  server.closeAllConnections();
  server.close();
}

describe("a connection that is refused", () => {
  test("[Ef] with one of our errors tells its code and message", async () => {
    const error = { code: "UNAUTHORIZED", message: "No such key.", retryable: false, details: {} };
    await answering(
      (_request, response) => response.writeHead(401).end(JSON.stringify({ error })),
      async (port) => {
        expect(await closing(port)).toEqual({ code: "UNAUTHORIZED", message: "No such key." });
      },
    );
  });

  test("[Ek] with a code that is none of ours tells the message alone", async () => {
    for (const code of ["NONSENSE", "toString", 7]) {
      await answering(
        (_request, response) =>
          response.writeHead(500).end(JSON.stringify({ error: { code, message: "no" } })),
        async (port) => {
          expect(await closing(port)).toEqual({ message: "no" });
        },
      );
    }
  });

  test("[Eg] by something else tells the status and the address", async () => {
    for (const body of ["", "<html>", "null", "7", "{}", '{"error":null}']) {
      await answering(
        (_request, response) => response.writeHead(502).end(body),
        async (port) => {
          const { code, message } = await closing(port);
          expect(code).toBeUndefined();
          expect(message).toContain(`HTTP 502 (ws://127.0.0.1:${port}/v1/connect)`);
        },
      );
    }
  });

  test("[Eh] with an endless body is not read for ever", async () => {
    await answering(
      (_request, response) => {
        response.writeHead(500);
        const write = () => {
          while (!response.destroyed && response.write("x".repeat(10_000)));
        };
        response.on("drain", write);
        write();
      },
      async (port) => {
        expect((await closing(port)).message).toContain("HTTP 500");
      },
    );
  });

  test("[Ei] by nobody, or by one who hangs up, is told once", async () => {
    const rude = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
    await once(rude, "listening");
    const { port } = rude.address() as { port: number };
    expect((await closing(port)).message).toContain(`127.0.0.1:${port}`);
    rude.close();
    expect((await closing(1)).message).toMatch(/ECONNREFUSED.*127\.0\.0\.1:1/);
  });

  test("[A1cl] the key goes along as a header, never in the address", async () => {
    let url: string | undefined;
    let authorization: string | undefined;
    await answering(
      (request, response) => {
        ({ url } = request);
        ({ authorization } = request.headers);
        response.writeHead(401).end();
      },
      async (port) => void (await closing(port)),
    );
    expect(authorization).toBe("Bearer key");
    expect(url).toBe("/v1/connect");
  });
});

describe("an open connection", () => {
  test("[I2c] carries text both ways, and tells its end once, whoever ends it", async () => {
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: ([first]) => first! });
    server.on("connection", (socket) => {
      socket.on("message", (data) =>
        String(data) === "end" ? socket.close(1001, "gone") : socket.send(`${data}!`),
      );
    });
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    for (const end of ["theirs", "ours"]) {
      const told: string[] = [];
      await new Promise<void>((resolve) => {
        const socket = runtime.connect(`ws://127.0.0.1:${port}/`, "key", {
          open: () => socket.send("ä€😀"),
          message: (text) => {
            told.push(text);
            if (end === "theirs") socket.send("end");
            else socket.close();
          },
          close: ({ message }) => {
            told.push(message);
            socket.send("too late");
            socket.close();
            setImmediate(() => setImmediate(resolve));
          },
        });
      });
      expect(told[0]).toBe("ä€😀!");
      expect(told.slice(1)).toEqual([
        expect.stringMatching(end === "theirs" ? /1001 gone/ : /closed with 1005/),
      ]);
    }
    server.close();
  });
});

test("[I1bm] ids are what the server takes, and never the same; a process has a name that people understand", () => {
  const ids = Array.from({ length: 1_000 }, () => runtime.randomId());
  expect(new Set(ids).size).toBe(1_000);
  expect(
    ids.map((id) => clientIdProblem(`${id}-1000000`)).find((problem) => problem !== null),
  ).toBeUndefined();
  expect(runtime.ownerDefault()).toMatch(new RegExp(`.:${process.pid}$`));
});
