import { type Server, serve } from "@lockdb/server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { certFile, keyFile, TLS } from "../../../server/test/tls/files.js";
import { cli, type Env, inProcess, Running } from "./cli.js";

let server: Server;
let env: Env;

beforeAll(async () => {
  const options = { port: 0, store: "memory", logLevel: "silent" } as const;
  server = await serve({ ...options, ...TLS, tlsClientCa: certFile("ca") });
  env = {
    LOCKDB_SERVER_URL: server.url,
    LOCKDB_API_KEY: server.rootKey,
    LOCKDB_SERVICE_ID: "reports",
    LOCKDB_CA_FILE: certFile("ca"),
    LOCKDB_CERT_FILE: certFile("client"),
    LOCKDB_KEY_FILE: keyFile("client"),
  };
});

afterAll(() => server.close());

test("[I4ta] the commands work at an https address, with the files that the environment names", async () => {
  expect(await cli(["lock", "teapot"], env)).toEqual({ code: 0, stdout: "true\n", stderr: "" });
  expect(await inProcess(["check", "teapot"], env)).toMatchObject({ code: 0, stdout: "true\n" });
  expect(await cli(["run", "kettle", "--", "echo", "inside"], env)).toMatchObject({
    code: 0,
    stdout: "inside\n",
  });
  expect(await inProcess(["ping"], env)).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^https:.* ms/),
  });
  expect(await inProcess(["unlock", "teapot"], env)).toMatchObject({ code: 0, stdout: "true\n" });
});

test("[I4tb] without them it is told what is missing, and how to give it", async () => {
  const { LOCKDB_CA_FILE: _, ...noCa } = env;
  const untrusted = await inProcess(["check", "teapot"], noCa);
  expect(untrusted).toMatchObject({ code: 69, stdout: "" });
  expect(untrusted.stderr).toMatch(/signed by nobody that is trusted here.*LOCKDB_CA_FILE/s);
  const unknown = await inProcess(["check", "teapot"], { ...env, LOCKDB_CERT_FILE: "", LOCKDB_KEY_FILE: "" });
  expect(unknown).toMatchObject({ code: 69, stdout: "" });
  expect(unknown.stderr).toMatch(/client certificate.*LOCKDB_CERT_FILE/s);
});

test("[I4tc] a file that is not there, or holds something else, is a wrong use", async () => {
  for (const [variable, path, message] of [
    ["LOCKDB_CA_FILE", "/nowhere/ca.pem", /LOCKDB_CA_FILE: the file cannot be read.*ENOENT/],
    ["LOCKDB_CERT_FILE", "/nowhere/x.pem", /LOCKDB_CERT_FILE: the file cannot be read/],
  ] as const) {
    const { code, stderr } = await inProcess(["check", "teapot"], { ...env, [variable]: path });
    expect(code).toBe(64);
    expect(stderr).toMatch(message);
  }
  const { code, stderr } = await inProcess(["check", "teapot"], {
    ...env,
    LOCKDB_CA_FILE: keyFile("client"),
  });
  expect(code).not.toBe(0);
  expect(stderr).toMatch(/ca is no certificate in PEM form/);
});

test("[I4td] the help names them", async () => {
  const { stdout } = await inProcess(["--help"]);
  for (const variable of ["LOCKDB_CA_FILE", "LOCKDB_CERT_FILE", "LOCKDB_KEY_FILE"])
    expect(stdout).toContain(variable);
});

test("[A6zo] serve takes the files from flags and environment, and says https", async () => {
  const args = ["serve", "--port", "0", "--store", "memory", "--tls-cert", TLS.tlsCert];
  const running = new Running(args, { LOCKDB_TLS_KEY: TLS.tlsKey });
  const [, url] = await running.until(/LockDB listens on (https:\/\/127\.0\.0\.1:\d+)/);
  const [, key] = await running.until(/root key \(shown once\): (\S+)/);
  const given = {
    LOCKDB_SERVER_URL: url!,
    LOCKDB_API_KEY: key!,
    LOCKDB_SERVICE_ID: "a",
    LOCKDB_CA_FILE: certFile("ca"),
  };
  expect(await inProcess(["lock", "teapot"], given)).toMatchObject({ code: 0, stdout: "true\n" });
  running.child.kill("SIGTERM");
  expect((await running.ended).code).toBe(0);
  const bad = await cli([...args, "--tls-key", keyFile("client")]);
  expect(bad.code).toBe(1);
  expect(bad.stderr).toMatch(/--tls-key .*does not fit the certificate/);
});
