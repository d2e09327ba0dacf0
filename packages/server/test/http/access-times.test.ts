import { afterAll, beforeAll, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { Api } from "./api.js";
import { startServer } from "./server.js";

let server: Server;
let api: Api;

beforeAll(async () => {
  server = await startServer();
  api = new Api(server);
});

afterAll(() => server.close());

test.each(["2027-02-30T00:00:00Z", "2027-13-01T00:00:00Z", "2027-01-01T24:00:00Z", "2027-01-01T00:60:00Z"])(
  "[I3zm] a time that there is not is refused, and not taken for another: %s",
  async (expiresAt) => {
    const answer = await api.call("POST", "/v1/keys", { scopes: ["read"], expiresAt });
    expect(answer.status).toBe(400);
    expect(answer.body.error).toMatchObject({ code: "INVALID" });
  },
);

test("[I3zn] the audit log begins with the first entry that is not before a time, however that is written", async () => {
  // A time whose milliseconds are not 0, so that a second begins before it.
  while (new Date().getMilliseconds() === 0);
  await api.call("POST", "/v1/keys", { scopes: ["read"], name: "the one" });
  const { entries } = (await api.call("GET", "/v1/audit")).body;
  const { at } = entries.at(-1);
  const second = `${at.slice(0, 19)}`;
  for (const after of [at, `${second}Z`, `${at.slice(0, 21)}Z`, second, at.slice(0, 10)]) {
    const { body } = await api.call("GET", `/v1/audit?after=${after}`);
    expect(body.entries.at(-1)).toEqual(entries.at(-1));
  }
  const later = new Date(Date.parse(at) + 1).toISOString();
  expect((await api.call("GET", `/v1/audit?after=${later}`)).body.entries).toEqual([]);
});
