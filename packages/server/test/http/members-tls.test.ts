/** Members that speak TLS with each other, and show each other who they are. */
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TlsWatch } from "../../src/http/tls.js";
import { CA, certFile, keyFile, showing } from "../tls/files.js";
import { Members } from "./members.js";
import { callBody, HttpConnection, requestBytes } from "./server.js";

let members: Members;
const tls = showing("client");

beforeAll(async () => {
  const files = { cert: certFile("server"), key: keyFile("server"), clientCa: certFile("ca") };
  const log = pino({ level: "silent" });
  members = await Members.start(2, { tls: await TlsWatch.open(files, { log, wallMs: Date.now }) });
  // What is for servers only cannot be shown as a client's.
  const shown = { cert: tls.cert.toString(), key: tls.key.toString() };
  for (const { cluster } of members.all) Object.assign(cluster, { ca: CA.toString(), shown });
});

afterAll(() => members.close());

/** Asks the member that is not the one. */
async function call(name: string, event: "lock" | "check" = "lock"): Promise<HttpConnection> {
  const wrong = members.all[1]!;
  const connection = await HttpConnection.open(wrong, { tls });
  return connection.write(
    requestBytes({ path: `/${event}`, key: wrong.rootKey, body: callBody(event, name) }),
  );
}

async function isHeld(name: string): Promise<boolean> {
  const connection = await call(name, "check");
  const answer = await connection.answer();
  connection.socket.destroy();
  return JSON.parse(answer!.body).isLocked;
}

test("[A6rc] a request is passed on over TLS, with the certificate of the member that passes it on", async () => {
  const connection = await call("secure");
  expect(await connection.answer()).toMatchObject({ status: 200 });
  connection.write(
    requestBytes({ path: "/check", key: members.all[1]!.rootKey, body: callBody("check", "secure") }),
  );
  expect(await connection.answer()).toMatchObject({ status: 200, body: expect.stringContaining("true") });
  connection.socket.end();
  await connection.closed;
  expect(await isHeld("secure")).toBe(true);
});

test("[Q7mh] over TLS too a caller that hangs up leaves the queue, and one that has read its grant keeps it", async () => {
  const first = await call("disk");
  expect(await first.answer()).toMatchObject({ status: 200 });
  const second = await call("disk");
  const third = await call("disk");
  const unlock = await call("disk", "check");
  await unlock.answer();
  // The second one is in front of the third, and hangs up.
  second.socket.destroy();
  // The first one's connection closes in good order: what it has stays until it is unlocked.
  first.socket.end();
  await first.closed;
  expect(await isHeld("disk")).toBe(true);
  unlock.write(
    requestBytes({ path: "/unlock", key: members.all[1]!.rootKey, body: callBody("unlock", "disk") }),
  );
  expect(await unlock.answer()).toMatchObject({ status: 200, body: expect.stringContaining("true") });
  expect(await third.answer()).toMatchObject({ status: 200 });
  third.socket.destroy();
  unlock.socket.destroy();
});

test("[A6rd] a member whose certificate nobody known has signed is told nothing", async () => {
  for (const { cluster } of members.all) Object.assign(cluster, { ca: undefined, patienceMs: 100 });
  const connection = await call("untrusted");
  expect(await connection.answer()).toMatchObject({
    status: 503,
    body: expect.stringMatching(/^UNAVAILABLE/),
  });
  connection.socket.destroy();
  for (const { cluster } of members.all) Object.assign(cluster, { ca: CA.toString() });
  expect(await isHeld("untrusted")).toBe(false);
});
