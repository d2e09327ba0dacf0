import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { textSender } from "../../src/http/text-frames.js";

test("[I2zt] a text message of any length is one frame, between the frames of others", async () => {
  const http = createServer();
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  const lengths = [0, 1, 125, 126, 127, 255, 256, 65_535, 65_536, 65_537, 1_048_576];
  const texts = lengths.flatMap((length) => ["x".repeat(length), `${"é\u{1f512}".repeat(length >> 3)}\n`]);
  http.on("upgrade", (request, socket, head) =>
    sockets.handleUpgrade(request, socket, head, (client) => {
      const send = textSender(client, socket);
      for (const text of texts) {
        send(text);
        client.ping();
      }
      client.send("by ws itself");
      client.close(1000);
      // Nothing is behind the end.
      send("late");
    }),
  );
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  const client = new WebSocket(`ws://127.0.0.1:${(http.address() as AddressInfo).port}`);
  const received: string[] = [];
  client.on("message", (data, isBinary) => received.push(isBinary ? "binary" : String(data)));
  const [code] = await once(client, "close");
  expect(code).toBe(1000);
  expect(received).toEqual([...texts, "by ws itself"]);
  http.close();
});
