/** TLS from files that may change while the server runs (A6). */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import type { FastifyBaseLogger } from "fastify";

/** How often it is looked whether they changed. They are read when they have stayed as they are for so long, so as a pair. */
const LOOK_MS = 1_000;
const DAY_MS = 24 * 60 * 60 * 1_000;
/** When it begins to say that a certificate ends. */
const ENDS_SOON_MS = 14 * DAY_MS;

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/** Where certificate, key, and what signs clients' certificates are. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  /** Null: clients show none. */
  readonly clientCa: string | null;
}

/** What the files hold, checked. */
export interface TlsMaterial {
  /** For `createServer` and `setSecureContext`. */
  readonly context: TlsContext;
  /** When the first of the certificates ends, wall clock. */
  readonly endsAtMs: number;
}

export interface TlsContext {
  readonly cert: string;
  readonly key: string;
  readonly ca?: string;
  readonly minVersion: "TLSv1.2";
}

/** What takes a new certificate while it runs. */
export interface SecureServer {
  setSecureContext(context: TlsContext): void;
}

/**
 * Reads and checks the files.
 * @throws Error that names the option, the file, and what is wrong with it
 */
export async function readTls({ cert, key, clientCa }: TlsFiles): Promise<TlsMaterial> {
  const certText = await textOf("--tls-cert", cert);
  const certificates = certificatesIn("--tls-cert", cert, certText);
  const keyText = await textOf("--tls-key", key);
  if (!certificates[0]!.checkPrivateKey(privateKeyIn(key, keyText))) {
    throw new Error(
      `--tls-key ${key}: this key does not fit the certificate in ${cert}. Give the two that belong together, the server's own ` +
        "certificate first in its file.",
    );
  }
  const caText = clientCa === null ? null : await textOf("--tls-client-ca", clientCa);
  if (caText !== null) certificatesIn("--tls-client-ca", clientCa!, caText);
  const context: TlsContext = {
    cert: certText,
    key: keyText,
    ...(caText === null ? {} : { ca: caText }),
    minVersion: "TLSv1.2",
  };
  try {
    createSecureContext(context);
  } catch (error) {
    throw new Error(`--tls-cert ${cert}: TLS cannot use this certificate: ${(error as Error).message}.`);
  }
  return { context, endsAtMs: Math.min(...certificates.map(({ validTo }) => Date.parse(validTo))) };
}

export interface TlsWatchParts {
  readonly log: FastifyBaseLogger;
  /** Wall clock, in milliseconds: that is what a certificate's end is written in. */
  readonly wallMs: () => number;
}

/** The files of a running server: looked at again and again, taken when they are new and good. */
export class TlsWatch {
  readonly #files: TlsFiles;
  readonly #log: FastifyBaseLogger;
  readonly #wallMs: () => number;
  readonly #servers: SecureServer[] = [];
  #material: TlsMaterial;
  /** How the files looked when they were last read, and when they were last looked at. */
  #readAs: string;
  #seenAs: string;
  #warnedAtMs = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #isLooking = false;

  private constructor(files: TlsFiles, seenAs: string, material: TlsMaterial, parts: TlsWatchParts) {
    this.#files = files;
    this.#readAs = seenAs;
    this.#seenAs = seenAs;
    this.#material = material;
    this.#log = parts.log;
    this.#wallMs = parts.wallMs;
  }

  /** Reads the files. @throws Error as `readTls` does */
  static async open(files: TlsFiles, parts: TlsWatchParts): Promise<TlsWatch> {
    const seenAs = await lookOf(files);
    return new TlsWatch(files, seenAs, await readTls(files), parts);
  }

  /** What is in use. */
  get material(): TlsMaterial {
    return this.#material;
  }

  /** True when clients have to show a certificate. */
  get asksClients(): boolean {
    return this.#files.clientCa !== null;
  }

  /** This one is given what is new from now on. Connections that it has stay as they are. */
  serve(server: SecureServer): void {
    this.#servers.push(server);
  }

  /** Looks now, and then every second until `stop`. Keeps no process alive. */
  start(): void {
    this.#warn();
    this.#timer = setInterval(() => void this.look(), LOOK_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Looks once. What has changed is read at the next look, when it is still the same. */
  async look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      await this.#look();
    } finally {
      this.#isLooking = false;
    }
    this.#warn();
  }

  /** Reads the files now, without waiting whether they stay as they are: somebody says that they are complete. */
  async reload(): Promise<void> {
    this.#seenAs = await lookOf(this.#files);
    await this.#take();
    this.#warn();
  }

  async #look(): Promise<void> {
    const before = this.#seenAs;
    this.#seenAs = await lookOf(this.#files);
    if (this.#seenAs === this.#readAs || this.#seenAs !== before) return;
    await this.#take();
  }

  async #take(): Promise<void> {
    const found = await readTls(this.#files).catch((error: Error) => error);
    // Changed while it was read: this may be the old certificate with the new key.
    if ((await lookOf(this.#files)) !== this.#seenAs) return;
    this.#readAs = this.#seenAs;
    try {
      if (found instanceof Error) throw found;
      for (const server of this.#servers) server.setSecureContext(found.context);
    } catch (error) {
      return this.#log.error(
        { reason: (error as Error).message },
        "the new TLS files cannot be used: the old certificate stays",
      );
    }
    this.#material = found;
    this.#warnedAtMs = Number.NEGATIVE_INFINITY;
    this.#log.info({ endsAt: timeText(found.endsAtMs) }, "new TLS files are in use");
  }

  /** Once a day while the certificate is about to end, or has. */
  #warn(): void {
    const nowMs = this.#wallMs();
    const restMs = this.#material.endsAtMs - nowMs;
    if (restMs > ENDS_SOON_MS || nowMs - this.#warnedAtMs < DAY_MS) return;
    this.#warnedAtMs = nowMs;
    const facts = { endsAt: timeText(this.#material.endsAtMs), file: this.#files.cert };
    if (restMs <= 0) this.#log.warn(facts, "the TLS certificate has ended: clients refuse it");
    else this.#log.warn({ ...facts, days: Math.floor(restMs / DAY_MS) }, "the TLS certificate ends soon");
  }
}

/** What tells that a file is another one, also behind symbolic links, as Kubernetes has them. */
async function lookOf({ cert, key, clientCa }: TlsFiles): Promise<string> {
  const paths = [cert, key, ...(clientCa === null ? [] : [clientCa])];
  const looks = paths.map((path) =>
    stat(path, { bigint: true }).then(
      ({ dev, ino, size, mtimeNs, ctimeNs }) => [dev, ino, size, mtimeNs, ctimeNs].join(),
      (error: NodeJS.ErrnoException) => error.code ?? "absent",
    ),
  );
  return (await Promise.all(looks)).join(" ");
}

async function textOf(option: string, path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new Error(
      `${option} ${path}: the file cannot be read (${(error as NodeJS.ErrnoException).code}). Check its path, and that this user may read it.`,
    );
  }
}

function certificatesIn(option: string, path: string, text: string): readonly X509Certificate[] {
  const found = text.match(PEM_CERTIFICATE) ?? [];
  try {
    if (found.length === 0) throw new Error("no PEM");
    return found.map((pem) => new X509Certificate(pem));
  } catch {
    throw new Error(
      `${option} ${path}: this is no certificate in PEM form (-----BEGIN CERTIFICATE-----), or not all of it is.`,
    );
  }
}

function privateKeyIn(path: string, text: string): KeyObject {
  try {
    return createPrivateKey(text);
  } catch {
    throw new Error(
      `--tls-key ${path}: this is no private key in PEM form (-----BEGIN PRIVATE KEY-----) without a passphrase.`,
    );
  }
}

function timeText(ms: number): string {
  return new Date(ms).toISOString();
}
