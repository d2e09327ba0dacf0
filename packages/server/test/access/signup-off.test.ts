import { expect, test } from "vitest";
import { ask, startServer } from "../http/server.js";

test("[A4l] there is no sign-up unless the server was told so, and no word of it", async () => {
  const server = await startServer();
  const parts = { path: "/v1/signup", key: null, body: JSON.stringify({ email: "a@b" }) };
  expect(await ask(server, parts)).toMatchObject({ status: 404 });
  const document = await ask(server, { method: "GET", path: "/openapi.json", key: null });
  expect(document!.body).not.toContain("signup");
  await server.close();
});
