// A service that keeps the stock. It runs the Express middleware without Express, so that nothing has to be installed.
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { lockdbContext } from "./express.js";
import { call } from "./fetch.js";

/** @param where `ordersUrl` is known once the other service listens */
export function stockService(locker, where) {
  return createServer(async (request, response) => {
    const body = await text(request);
    lockdbContext(request, response, async () => {
      const answer = await locker.withLock("stock/teapot", () =>
        call(`${where.ordersUrl}/label`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body,
        }),
      );
      response.writeHead(answer.status).end(await answer.text());
    });
  });
}
