import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { Api } from "./api.js";
import { HttpConnection, requestBytes, SERVICE, startServer } from "./server.js";

/** What is asked under a key that is less by the time that the body has come. */
const ASKED = [
  ["POST", `/v1/services/${SERVICE}/acquire`, { names: "late" }],
  ["POST", `/v1/services/${SERVICE}/sessions`, {}],
  ["PUT", `/v1/services/${SERVICE}/settings`, { lockDelayMs: 1 }],
  ["POST", "/v1/keys", { scopes: ["read"] }],
  ["POST", "/v1/accounts", {}],
  ["POST", "/lock", { serviceId: SERVICE, lockName: "late" }],
] as const;

const LESS = [
  ["revoked", 401, (api: Api, id: string) => api.delete(`/v1/keys/${id}`)],
  [
    "ended by time",
    401,
    (api: Api, id: string) => api.call("PATCH", `/v1/keys/${id}`, { expiresAt: new Date().toISOString() }),
  ],
  ["narrowed", 403, (api: Api, id: string) => api.call("PATCH", `/v1/keys/${id}`, { scopes: ["read"] })],
] as const;

let server: Server;
let api: Api;
beforeAll(async () => {
  server = await startServer();
  api = new Api(server);
});
afterAll(() => server.close());

describe.each(LESS)("a key that is %s before the body of a request has come", (_, status, lessen) => {
  test.each(ASKED)("[A2pa] %s %s is not done any more", async (method, path, fields) => {
    const made = await api.post("/v1/keys", { scopes: ["lock", "read", "force", "admin"] });
    const body = JSON.stringify(fields);
    const bytes = requestBytes({ method, path, key: made.body.apiKey, body });
    const connection = await HttpConnection.open(server);
    connection.write(bytes.subarray(0, -1));
    // One that came behind it on another connection is answered: the first has been read as far as it goes.
    await api.get("/v1/self");
    await lessen(api, made.body.key.id);
    connection.write(bytes.subarray(-1));
    expect((await connection.answer())!.status).toBe(status);
    connection.socket.destroy();
    expect((await api.inspect("late")).holders).toEqual([]);
    const { keys } = (await api.get("/v1/keys")).body;
    expect(keys.map(({ createdBy }: { createdBy: string }) => createdBy)).not.toContain(
      `key ${made.body.key.id}`,
    );
  });
});
