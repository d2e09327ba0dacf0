import { chownSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { dependencyVersion, folderTemporary, portFree, startServer, versionOf } from "../processes.js";

const POOL = 64;
const CONNECTIONS_MAX = 600; // Eight processes with a pool each.
const DEBIAN = "/usr/lib/postgresql";

// Names are hashed to the 64 bits that an advisory lock has for a name.
const LOCK = {
  exclusive: { name: "lock", text: "SELECT pg_advisory_lock(hashtextextended($1, 0))" },
  shared: { name: "lock-shared", text: "SELECT pg_advisory_lock_shared(hashtextextended($1, 0))" },
  // One after the other, in the order of the array.
  set: {
    name: "lock-set",
    text: "SELECT pg_advisory_lock(hashtextextended(name, 0)) FROM unnest($1::text[]) AS name",
  },
};
const UNLOCK = {
  exclusive: { name: "unlock", text: "SELECT pg_advisory_unlock(hashtextextended($1, 0)) AS held" },
  shared: {
    name: "unlock-shared",
    text: "SELECT pg_advisory_unlock_shared(hashtextextended($1, 0)) AS held",
  },
  set: {
    name: "unlock-set",
    text: "SELECT pg_advisory_unlock(hashtextextended(name, 0)) AS held FROM unnest($1::text[]) AS name",
  },
};

/** @type {import("./index.js").Peer} */
export const postgresql = {
  name: "postgresql",
  title: "postgresql (advisory locks)",
  excludes: true,
  durable: false,
  isFair: true,
  hasShared: true,
  hasSets: true,
  onCrash: "lost, and so are the connections of their holders, who can see it",

  async find() {
    const programs = folderOfPrograms();
    if (programs === undefined) {
      return { found: false, why: "no `initdb` and `postgres` in one folder (Debian: postgresql)" };
    }
    if (userToRunAs() === undefined) {
      return { found: false, why: "as root it needs a user named postgres or nobody" };
    }
    const text = await versionOf(join(programs, "postgres"), ["--version"]);
    const version = /[\d.]+/.exec(text ?? "")?.[0] ?? "of unknown version";
    return { found: true, version: `postgresql ${version}, ${dependencyVersion("pg")}` };
  },

  async start() {
    const programs = /** @type {string} */ (folderOfPrograms());
    const user = userToRunAs() ?? undefined;
    const folder = folderTemporary();
    if (user) chownSync(folder, user.uid, user.gid);
    const data = join(folder, "data");
    const port = await portFree();
    const locale = ["--encoding=UTF8", "--no-locale"];
    const initArgs = ["-D", data, "--username=bench", "--auth=trust", "--no-sync", ...locale];
    const command = join(programs, "initdb");
    const init = await startServer({ command, args: initArgs, user, ready: /Success\./ });
    await init.stop(); // It has nothing left to do, and ends by itself.
    // Advisory locks never reach the disk, so what the disk is told makes no difference.
    const settings = [`max_connections=${CONNECTIONS_MAX}`, "listen_addresses=127.0.0.1", "fsync=off"];
    const server = await startServer({
      command: join(programs, "postgres"),
      args: ["-D", data, "-p", String(port), "-k", folder, ...settings.flatMap((setting) => ["-c", setting])],
      user,
      // Its fast shutdown, and its immediate one. SIGKILL would leave shared memory behind.
      ends: { gently: "SIGINT", now: "SIGQUIT" },
      ready: /ready to accept connections/,
    });
    return { endpoint: { port }, stop: server.stop };
  },

  async connect({ port }) {
    const { default: pg } = await import("pg");
    const pool = new pg.Pool({
      host: "127.0.0.1",
      port: Number(port),
      user: "bench",
      database: "postgres",
      max: POOL,
    });
    pool.on("error", () => {}); // The query that was under way rejects, and that ends the measurement.
    /**
     * A holder is a connection.
     *
     * @param {keyof typeof LOCK} kind
     * @param {string | readonly string[]} wanted
     * @param {() => Promise<void>} inside
     */
    const cycle = async (kind, wanted, inside) => {
      const connection = await pool.connect();
      await connection.query({ ...LOCK[kind], values: [wanted] });
      await inside();
      const { rows } = await connection.query({ ...UNLOCK[kind], values: [wanted] });
      connection.release();
      if (!rows.every((/** @type {{ held: boolean }} */ { held }) => held))
        throw new Error("a hold was over before its release");
    };
    return {
      cycle: (name, inside) => cycle("exclusive", name, () => inside(name)),
      shared: (name, inside) => cycle("shared", name, () => inside(name)),
      // In one order for all, or two could wait for each other.
      set: (names, inside) => cycle("set", names.toSorted(), () => inside(names)),
      close: () => pool.end(),
    };
  },
};

function folderOfPrograms() {
  // On Debian only the client is on the PATH.
  const debian = existsSync(DEBIAN)
    ? readdirSync(DEBIAN)
        .sort((a, b) => Number(b) - Number(a))
        .map((version) => join(DEBIAN, version, "bin"))
    : [];
  return [...debian, ...(process.env.PATH ?? "").split(delimiter)].find((folder) =>
    ["initdb", "postgres"].every((program) => existsSync(join(folder, program))),
  );
}

/**
 * PostgreSQL refuses to run as root.
 *
 * @returns {{ uid: number, gid: number } | null | undefined} null: ourselves; undefined: there is nobody
 */
function userToRunAs() {
  if (process.getuid?.() !== 0) return null;
  const lines = readFileSync("/etc/passwd", "utf8").split("\n");
  for (const name of ["postgres", "nobody"]) {
    const [, , uid, gid] = lines.find((line) => line.startsWith(`${name}:`))?.split(":") ?? [];
    if (uid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  }
  return undefined;
}
