/** Builds the web page into the server's package, unless what is there was made of the same sources. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const STAMP = fileURLToPath(new URL("../server/dist/page/.stamp", import.meta.url));

const stamp = stampOf([
  ...["index.html", "vite.config.js", "../../package-lock.json"].map((file) => join(HERE, file)),
  ...readdirSync(join(HERE, "src"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort(),
]);

if (!existsSync(STAMP) || readFileSync(STAMP, "utf8") !== stamp) {
  const { build } = await import("vite");
  await build({ configFile: join(HERE, "vite.config.js") });
  writeFileSync(STAMP, stamp);
}

function stampOf(files) {
  const hash = createHash("sha256");
  for (const file of files)
    hash.update(file.slice(HERE.length)).update("\0").update(readFileSync(file)).update("\0");
  return hash.digest("hex");
}
