/** The operator's web page (I5): its files as the build made them, read when they are first asked for. */
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { gzip } from "node:zlib";

export interface PageFile {
  readonly bytes: Buffer;
  /** The same, packed once. */
  readonly gzipped: Buffer;
  readonly type: string;
}

/** Of what the build writes; the place is the same seen from the sources and from their build. */
const FOLDER = new URL("../../dist/page/", import.meta.url);

const TYPES: Readonly<Record<string, string>> = {
  css: "text/css; charset=utf-8",
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
};

/** Each has a hash of what is in it in its name, so it never changes. */
export const FILE_NAME = "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,79}\\.(css|js|svg)$";

/** What the page may load and call: this server alone. It has no script, style or handler in its text. */
export const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export const FOR_EVER = "public, max-age=31536000, immutable";

const NOT_BUILT = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>LockDB</title></head>
<body><p>The web page was not built. Run <code>npm run build</code>. The HTTP API is at <a href="docs">/docs</a>.</p></body></html>
`;

const known = new Map<string, Promise<PageFile | null>>();

/** The page itself. */
export async function page(): Promise<PageFile> {
  return (await fileOf("index.html")) ?? fileWith(Buffer.from(NOT_BUILT), "html");
}

/** @param name checked to be as `FILE_NAME` has it: it cannot lead out of the folder. @returns null: there is none */
export function pageFile(name: string): Promise<PageFile | null> {
  return fileOf(`assets/${name}`);
}

/** One that is there is kept; one that is not may be built later. */
async function fileOf(path: string): Promise<PageFile | null> {
  const reading = known.get(path) ?? read(path);
  known.set(path, reading);
  const file = await reading;
  if (file === null) known.delete(path);
  return file;
}

async function read(path: string): Promise<PageFile | null> {
  try {
    return await fileWith(await readFile(new URL(path, FOLDER)), path.split(".").at(-1)!);
  } catch {
    return null;
  }
}

async function fileWith(bytes: Buffer, ending: string): Promise<PageFile> {
  return { bytes, gzipped: await promisify(gzip)(bytes, { level: 9 }), type: TYPES[ending]! };
}

/** As an answer: packed for whoever takes that. */
export function answerOf({ bytes, gzipped, type }: PageFile, accepts: string | undefined) {
  const isGzip =
    /(^|[ ,])gzip($|[ ,;])/.test(accepts ?? "") && !/gzip; *q=0(\.0+)?($|[ ,])/.test(accepts ?? "");
  const headers = { vary: "accept-encoding", ...(isGzip ? { "content-encoding": "gzip" } : {}) };
  return { status: 200, type, body: isGzip ? gzipped : bytes, headers };
}
