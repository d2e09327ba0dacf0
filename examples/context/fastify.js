// The called side with Fastify: one hook, and every route works inside of the locks that its caller holds.
import fastify from "fastify";
import { withContext } from "lockdb";
import { call } from "./fetch.js";

/** `preHandler`: nothing is read between this hook and the route, so the route is inside of what is said here. */
function lockdbContext(request, _reply, done) {
  withContext(request.headers["lockdb-context"], done);
}

/** A service that ships orders. */
export function ordersService(locker, stockUrl) {
  const app = fastify();
  app.addHook("preHandler", lockdbContext);

  app.post("/ship", ({ body }) =>
    locker.withLock(`order/${body.order}`, async () => {
      const response = await call(`${stockUrl}/take`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      return response.json();
    }),
  );

  app.post("/label", ({ body: { order, reentrant = false } }) =>
    locker.withLock(`order/${order}`, { reentrant }, ({ token }) => ({ order, token })),
  );

  app.setErrorHandler((error, _request, reply) => {
    reply.code(409).send({ code: error.code, message: error.message, cycle: error.cycle });
  });
  return app;
}
