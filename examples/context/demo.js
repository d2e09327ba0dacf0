// Two services call each other under locks, until one asks for what it would have to wait for for ever.
import { once } from "node:events";
import { serve } from "@lockdb/server";
import LockDB from "lockdb";
import { ordersService } from "./fastify.js";
import { stockService } from "./stock.js";

const server = await serve({ port: 0, store: "memory", logLevel: "warn" });
const client = (owner) => new LockDB("shop", { serverUrl: server.url, apiKey: server.rootKey, owner });
const [orders, stock] = [client("orders"), client("stock")];
const where = {};
const stockHttp = stockService(stock, where).listen(0, "127.0.0.1");
await once(stockHttp, "listening");
const ordersHttp = ordersService(orders, `http://127.0.0.1:${stockHttp.address().port}`);
where.ordersUrl = await ordersHttp.listen({ port: 0, host: "127.0.0.1" });

console.log(
  "Orders locks order/7 and asks the stock for a teapot. The stock locks stock/teapot and asks orders for a",
);
console.log("label. For that, orders locks order/7, which is held until the label is there.\n");
const refused = await ship({ order: 7 });
console.log(refused.code);
for (const line of refused.cycle) console.log(`  ${line}`);
const { token } = await ship({ order: 7, reentrant: true });
console.log(`\nWith reentrant: true, the label is made under the same hold (token ${token}).`);

await ordersHttp.close();
stockHttp.close();
stockHttp.closeAllConnections();
await Promise.all([orders.close(), stock.close()]);
await server.close();

async function ship(body) {
  const response = await fetch(`${where.ordersUrl}/ship`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return response.json();
}
