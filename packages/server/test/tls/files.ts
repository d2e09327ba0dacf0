import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The certificates of this folder, by the names that its README tells. */
export type Name = "ca" | "other-ca" | "server" | "server-new" | "elsewhere" | "client" | "stranger";

export function certFile(name: Name): string {
  return fileURLToPath(new URL(`./${name}.pem`, import.meta.url));
}

export function keyFile(name: Name): string {
  return certFile(name).replace(/pem$/, "key");
}

/** What has signed the servers' certificates. */
export const CA = readFileSync(certFile("ca"));

/** Options of a client that shows a certificate. */
export function showing(name: Name) {
  return { ca: CA, cert: readFileSync(certFile(name)), key: readFileSync(keyFile(name)) };
}

/** Options of a server with TLS. */
export const TLS = { tlsCert: certFile("server"), tlsKey: keyFile("server") };

/** A folder with a certificate and its key as Kubernetes keeps secrets: behind two symbolic links, of which one is changed. */
export class SecretFolder {
  readonly path = mkdtempSync(join(tmpdir(), "lockdb-tls-"));
  readonly cert = join(this.path, "tls.crt");
  readonly key = join(this.path, "tls.key");
  #version = 0;

  constructor(name: Name) {
    this.put(name);
    symlinkSync("..data/tls.crt", this.cert);
    symlinkSync("..data/tls.key", this.key);
  }

  /** Both at once, as Kubernetes does it. */
  put(cert: Name, key: Name = cert): void {
    this.putFiles(certFile(cert), keyFile(key));
  }

  putFiles(cert: string, key: string): void {
    const version = `..${++this.#version}`;
    mkdirSync(join(this.path, version));
    copyFileSync(cert, join(this.path, version, "tls.crt"));
    copyFileSync(key, join(this.path, version, "tls.key"));
    symlinkSync(version, join(this.path, "..new"));
    renameSync(join(this.path, "..new"), join(this.path, "..data"));
  }

  remove(): void {
    rmSync(this.path, { recursive: true });
  }
}
