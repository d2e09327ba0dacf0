import { X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import type { TlsOptions } from "./runtime.js";

/** What a TLS connection is made with; empty: with what the machine trusts. */
export interface SecureOptions {
  readonly ca?: string | Buffer;
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  /** The same, ready to use. What imitates Node.js may not know it. */
  readonly secureContext?: SecureContext;
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/**
 * Certificates that a caller gives, checked now: what is wrong with them is to be heard by whoever gives them.
 * @throws Error that says which of them is wrong
 */
export function secureOptions(tls: TlsOptions): SecureOptions {
  if (typeof tls !== "object" || tls === null) throw new Error("the options must be an object");
  const { ca, cert, key, ...others } = tls;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined)
    throw new Error(`the option "${unknown}" is not supported, there are ca, cert and key`);
  if ((cert === undefined) !== (key === undefined)) throw new Error("a certificate and its key go together");
  const given = Object.entries({ ca, cert, key }).filter(([, pem]) => pem !== undefined);
  const files: { ca?: Buffer; cert?: Buffer; key?: Buffer } = Object.fromEntries(
    given.map(([name, pem]) => [name, bytesOf(name, pem)]),
  );
  // TLS itself takes anything for a CA, and then trusts nobody.
  if (files.ca !== undefined) checkCertificates("ca", files.ca);
  if (files.cert !== undefined) checkCertificates("cert", files.cert);
  try {
    return { ...files, secureContext: createSecureContext(files) };
  } catch (error) {
    throw new Error(`cert and key cannot be used together (${(error as Error).message})`);
  }
}

function bytesOf(name: string, pem: unknown): Buffer {
  if (typeof pem === "string" || pem instanceof Uint8Array) return Buffer.from(pem as string);
  throw new Error(`${name} must be text or bytes in PEM form`);
}

function checkCertificates(name: string, bytes: Buffer): void {
  const found = bytes.toString("latin1").match(PEM_CERTIFICATE) ?? [];
  try {
    if (found.length === 0) throw new Error("no PEM");
    for (const pem of found) new X509Certificate(pem);
  } catch {
    throw new Error(`${name} is no certificate in PEM form, or not all of it is`);
  }
}

/** Why a connection did not come to be, in words; where TLS is the reason, what to do. */
export function troubleText({ code = "", message }: Error & { code?: string }, url: string): string {
  // Of what OpenSSL says the reason is for people, and the rest for whoever debugs OpenSSL.
  const what = /:SSL routines:[^:]*:([^:]+):/.exec(message)?.[1] ?? (message || code);
  const advice = adviceOn(code === "EPROTO" ? what : code, url);
  return `${what} (${url})${advice === null ? "" : `: ${advice}`}`;
}

const GIVE_CERTIFICATE = "{ tls: { cert, key } }, or LOCKDB_CERT_FILE and LOCKDB_KEY_FILE";

function adviceOn(code: string, url: string): string | null {
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID")
    return "the server's certificate is for another name; use the address that it is for";
  if (code === "CERT_HAS_EXPIRED") return "the server's certificate has ended; renew it there";
  if (code === "CERT_NOT_YET_VALID") return "the server's certificate is not valid yet; look at the clocks";
  if (/SELF_SIGNED|^UNABLE_TO_/.test(code))
    return "the server's certificate is signed by nobody that is trusted here; give its CA: { tls: { ca } }, or LOCKDB_CA_FILE";
  if (/ALERT_(CERTIFICATE_REQUIRED|UNKNOWN_CA|BAD_CERTIFICATE|HANDSHAKE_FAILURE)$/.test(code))
    return `the server wants a client certificate that it trusts; give one: ${GIVE_CERTIFICATE}`;
  // Some servers just close the connection of whoever shows none, or a wrong one.
  if (code === "ECONNRESET" && url.startsWith("wss:"))
    return `the server may want a client certificate that it trusts: ${GIVE_CERTIFICATE}`;
  if (/wrong.version.number|packet.length.too.long/i.test(code))
    return "there the server speaks plain text; say http:// if it is meant to";
  return null;
}
