import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Server, serve } from "@lockdb/server";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BROWSER, SAY, visit } from "../../packages/lockdb/test/client/chromium.js";
// @ts-expect-error Plain JavaScript, as the scripts that share it.
import { blocksOf, pack, ROOT, run, startServer, strangerEnv } from "../packed/packed.js";

const [PACKING_MS, STEP_MS] = [300_000, 120_000];
const MODULES = join(ROOT, "node_modules");
const readme = (name: string): string => readFileSync(join(ROOT, "packages", name, "README.md"), "utf8");

// Real packages from a real registry: what a stranger has after two commands, and nothing of this folder.
describe("the packages, packed and installed in an empty folder with an empty home", {
  timeout: STEP_MS,
}, () => {
  let folder: string;
  let packed: { readonly client: string; readonly server: string };
  let app: string;
  let env: Record<string, string>;
  let server: { readonly url: string; readonly key: string; stop(): Promise<void> };

  const inApp = (command: string, ...args: string[]) => run(command, args, { cwd: app, env });
  const inShell = (line: string) => run("sh", ["-c", line], { cwd: app, env });
  const program = async (name: string, code: string) => {
    writeFileSync(join(app, name), code);
    return inApp("node", name);
  };

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "lockdb-packed-"));
    packed = await pack(join(folder, "packed"));
    app = mkdtempSync(join(folder, "app-"));
    env = strangerEnv(join(folder, "home"));
    // What the registry has of others need not come anew each time.
    const cache = (await run("npm", ["config", "get", "cache"], { cwd: ROOT })).stdout.trim();
    env = { ...env, npm_config_cache: cache, npm_config_prefer_offline: "true" };
    const flags = ["--ignore-scripts", "--no-audit", "--no-fund"];
    const installed = await inApp("npm", "install", ...flags, packed.client, packed.server);
    expect(installed).toMatchObject({ code: 0 });
    expect(installed.stderr).not.toContain("EBADENGINE");
    server = await startServer("npx", ["lockdb", "serve", "--port", "0"], { cwd: app, env });
    env = { ...env, LOCKDB_API_KEY: server.key, LOCKDB_SERVER_URL: server.url };
  }, PACKING_MS);
  afterAll(async () => {
    await server?.stop();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }, STEP_MS);

  test("[I7a] publint and attw find nothing, and each has what is to be read first", async () => {
    for (const file of [packed.client, packed.server]) {
      const publint = await run(join(MODULES, ".bin/publint"), ["--strict", file], { cwd: app });
      expect(`${publint.stdout}${publint.stderr}`).toContain("All good!");
      // Of the ways to look a module up it leaves out that of Node.js before 12.7, which knows no "exports".
      const attw = await run(join(MODULES, ".bin/attw"), ["--profile", "node16", file], { cwd: app });
      expect({ code: attw.code, said: attw.code === 0 ? "" : attw.stdout }).toEqual({ code: 0, said: "" });
    }
    const license = readFileSync(join(ROOT, "LICENSE"), "utf8");
    for (const name of ["lockdb", "@lockdb/server"]) {
      const files = readdirSync(join(app, "node_modules", name)).sort();
      expect(files).toEqual(expect.arrayContaining(["LICENSE", "README.md", "cjs", "dist", "package.json"]));
      expect(files).not.toContain("src");
      expect(readFileSync(join(app, "node_modules", name, "LICENSE"), "utf8")).toBe(license);
    }
  });

  test("[I7b] no install script in either; of what they bring just those that are said, and none is needed", () => {
    const lock = readFileSync(join(app, "node_modules/.package-lock.json"), "utf8");
    const { packages } = JSON.parse(lock) as { packages: Record<string, { hasInstallScript?: boolean }> };
    const scripted = Object.keys(packages).filter((path) => packages[path]!.hasInstallScript);
    const names = scripted.map((path) => path.split("node_modules/").at(-1)!);
    expect(names.sort()).toEqual(["lmdb", "msgpackr-extract", "protobufjs"]);
    for (const name of names) expect(readme("server")).toContain(`\`${name}\``);
  });

  test("[I7c] the lines of their pages run: ESM, CommonJS, the shell, an embedded server", async () => {
    const [esm] = blocksOf(readme("lockdb"), "js");
    expect(await program("a.mjs", esm)).toEqual({ code: 0, stdout: "held with token 1\n", stderr: "" });
    const [cjs] = blocksOf(readme("lockdb"), "cjs");
    expect(await program("b.cjs", cjs)).toEqual({ code: 0, stdout: "held\n", stderr: "" });
    const [, shell] = blocksOf(readme("lockdb"), "sh");
    const lines = shell.trim().split("\n");
    expect(lines.length).toBe(2);
    expect(await inShell(lines[0])).toEqual({ code: 0, stdout: "held\n", stderr: "" });
    expect(await inShell(lines[1])).toMatchObject({ code: 0 });
    const [embedded] = blocksOf(readme("server"), "js");
    expect(await program("c.mjs", embedded)).toEqual({ code: 0, stdout: "1\n", stderr: "" });
  });

  test("[I7d] every entry is the same whether imported or required", async () => {
    const code = `
      const same = async (name, of) => (await import(name))[of] === require(name)[of];
      (async () => {
        const LockDB = require("lockdb");
        const { default: imported } = await import("lockdb");
        console.log(LockDB === imported, await same("lockdb/guards", "StaleTokenError"),
          await same("lockdb/protocol", "ERRORS"), await same("@lockdb/server", "serve"));
      })();`;
    expect(await program("d.cjs", code)).toEqual({ code: 0, stdout: "true true true true\n", stderr: "" });
  });

  test("[I7e] strict TypeScript takes their types: as Node.js looks up, required, and as bundlers do", async () => {
    const uses = `
      const locker = new LockDB("billing", { lease: "10s" });
      export const token: Promise<number> = locker.withLock("a", { wait: "1s" }, (lease) => lease.token);
      export const statement = postgresFence("billing", "a").statement(7);
      // @ts-expect-error There is no such option.
      locker.acquire("a", { wiat: 0 });`;
    const esm = `import LockDB from "lockdb";\nimport { postgresFence } from "lockdb/guards";\n${uses}`;
    writeFileSync(
      join(app, "a.mts"),
      `${esm}\nimport { type Server, serve } from "@lockdb/server";\nvoid serve({ port: 0 });`,
    );
    const cjs = `import LockDB = require("lockdb");\nimport guards = require("lockdb/guards");\n`;
    writeFileSync(join(app, "b.cts"), `${cjs}const { postgresFence } = guards;\n${uses}`);
    writeFileSync(join(app, "c.mts"), esm);
    const compile = (files: string[], ...flags: string[]) =>
      inApp(
        join(MODULES, ".bin/tsc"),
        "--ignoreConfig",
        "--noEmit",
        "--strict",
        "--target",
        "es2022",
        ...flags,
        ...files,
      );
    const nodes = ["--types", "node", "--typeRoots", join(app, "node_modules/@types")];
    const passes = { code: 0, stdout: "", stderr: "" };
    const lib = ["--lib", "ES2023,ESNext.Disposable"];
    expect(await compile(["a.mts", "b.cts"], "--module", "nodenext", ...lib, ...nodes)).toEqual(passes);
    const bundler = ["--module", "esnext", "--moduleResolution", "bundler"];
    expect(
      await compile(["c.mts"], ...bundler, "--lib", "ES2023,ESNext.Disposable,DOM", "--types", ""),
    ).toEqual(passes);
  });

  test("[I7f] the client alone says how the server is installed, and has neither its weight nor a script", async () => {
    const alone = mkdtempSync(join(folder, "alone-"));
    const there = (command: string, ...args: string[]) => run(command, args, { cwd: alone, env });
    expect(await there("npm", "install", "--no-audit", "--no-fund", packed.client)).toMatchObject({
      code: 0,
    });
    expect(readdirSync(join(alone, "node_modules")).sort()).toEqual([
      ".bin",
      ".package-lock.json",
      "commander",
      "lockdb",
      "ws",
    ]);
    const served = await there("npx", "lockdb", "serve");
    expect(served.code).not.toBe(0);
    expect(served.stderr).toContain("npm install lockdb @lockdb/server");
    expect(await there("npx", "lockdb", "check", "-i", "billing", "a")).toMatchObject({
      code: 0,
      stdout: "false\n",
    });
  });

  test.skipIf(BROWSER === undefined)(
    "[I7g] a bundle of the installed client locks in Chromium, without a word of Node.js",
    async () => {
      const { build } = await import("vite");
      const entry = join(app, "page.js");
      const bundle = async (code: string): Promise<string> => {
        writeFileSync(entry, code);
        const options = { configFile: false as const, root: app, logLevel: "silent" as const };
        const lib = { entry, formats: ["es" as const], fileName: "page" };
        const made = await build({
          ...options,
          build: { write: false, lib, rolldownOptions: { output: { codeSplitting: false } } },
        });
        const [output] = [made].flat() as unknown as { output: { code: string }[] }[];
        return output!.output[0]!.code;
      };
      const log: string[] = [];
      const pages: Server[] = [];
      let code = "";
      const site = {
        page: async (allowOrigins: string) => {
          const options = { port: 0, store: "memory", logLevel: "silent", allowOrigins } as const;
          const page = await serve(options);
          pages.push(page);
          const given = JSON.stringify({ apiKey: page.rootKey, serverUrl: page.url });
          code = await bundle(`
            import LockDB from "lockdb";
            ${SAY}
            const locker = new LockDB("page", ${given});
            locker.withLock("a", (lease) => say("token " + lease.token)).catch(say).finally(() => say("end"));`);
          return `<!doctype html><script type="module" src="/page.js"></script>`;
        },
        script: (path: string) => (path === "/page.js" ? code : null),
      };
      await visit(site, log);
      for (const page of pages) await page.close();
      expect(code).not.toMatch(/["']node:|require\(|lockdb_fences/);
      expect(log).toEqual(["token 1", "end"]);
    },
  );
});
