import { lookup } from "node:dns/promises";
import { once } from "node:events";
import { request as plainRequest } from "node:http";
import { request as secureRequest } from "node:https";
import { connect as connectPlain, isIP, type Socket } from "node:net";
import { connect as connectTls, type DetailedPeerCertificate, type TLSSocket } from "node:tls";
import { type SecureOptions, troubleText } from "../../runtime/secure.js";
import { endFinding, type Finding, fail, ok, skipped, warn } from "./finding.js";

const PATIENCE_MS = 5_000;

/** What of the way to one server works, from its name to an answer, as far as one gets. */
export async function reachFindings(
  url: string,
  secure: SecureOptions,
): Promise<{ readonly isReached: boolean; readonly findings: readonly Finding[] }> {
  const findings: Finding[] = [];
  const { protocol, port, hostname } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, "");
  const isTls = protocol === "https:";
  const addresses = await addressesOf(host, findings);
  if (addresses.length === 0) return { isReached: false, findings };
  const target = { host, port: Number(port || (isTls ? 443 : 80)) };
  const startMs = performance.now();
  const socket = await opened(connectPlain(target), "connect").catch((error: NodeJS.ErrnoException) => error);
  if (socket instanceof Error) {
    findings.push(
      fail("reach", `${url} cannot be reached: ${socket.message || socket.code}`, mendOf(socket)),
    );
    return { isReached: false, findings };
  }
  socket.destroy();
  findings.push(ok("reach", `${url} took a connection in ${(performance.now() - startMs).toFixed(1)} ms`));
  if (isTls) {
    const finding = await tlsFinding(url, target, secure);
    findings.push(finding, ok("plain-text", `keys are sent encrypted to ${url}`));
    if (finding.status === "fail") return { isReached: false, findings };
  } else findings.push(plainTextFinding(url, addresses));
  const ready = await readyFinding(url, secure);
  findings.push(ready);
  return { isReached: ready.check === "ready", findings };
}

async function addressesOf(host: string, findings: Finding[]): Promise<readonly string[]> {
  if (isIP(host) !== 0) return [host];
  try {
    const found = (await lookup(host, { all: true })).map(({ address }) => address);
    findings.push(ok("address", `${host} is ${found.join(", ")}`));
    return found;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    findings.push(
      fail(
        "address",
        `the name ${host} cannot be resolved (${code})`,
        "Check how it is written in -s or LOCKDB_SERVER_URL, and that this machine's DNS knows it: `getent hosts " +
          `${host}\`.`,
      ),
    );
    return [];
  }
}

function mendOf({ code }: NodeJS.ErrnoException): string {
  if (code === "ECONNREFUSED")
    return "Nothing listens there. Start the server (`lockdb serve`), or mend host and port in -s or LOCKDB_SERVER_URL; the server says at its start where it listens.";
  return "Something between drops the connection: look at firewalls, network policies, and whether the server listens beyond its own machine (--host).";
}

function plainTextFinding(url: string, addresses: readonly string[]): Finding {
  if (addresses.every((address) => /^(127\.|::1$|::ffff:127\.)/.test(address)))
    return ok("plain-text", `${url} is on this machine, so keys cross no network in clear`);
  return fail(
    "plain-text",
    `${url} is plain text on a network: whoever is on the way reads the API key`,
    "Give the server a certificate (--tls-cert, --tls-key) and call it by https://, or put TLS in front of it. Then rotate the keys that were sent: `lockdb keys rotate`.",
  );
}

async function tlsFinding(
  url: string,
  { host, port }: { readonly host: string; readonly port: number },
  secure: SecureOptions,
): Promise<Finding> {
  const name = isIP(host) === 0 ? { servername: host } : {};
  // It is looked at, whoever has signed it: what is wrong with it is to be told.
  const connecting = connectTls({ host, port, ...name, ...secure, rejectUnauthorized: false });
  const socket = await opened(connecting, "secureConnect").catch((error: Error) => error);
  if (socket instanceof Error)
    return fail(
      "tls",
      `${url} does not speak TLS with this client: ${troubleText(socket, url)}`,
      "Mend what it says: the address, the files in LOCKDB_CERT_FILE and LOCKDB_KEY_FILE, or the server's certificate.",
    );
  const tls = socket as TLSSocket;
  const endsAtMs = firstEnd(tls.getPeerCertificate(true));
  const { authorized, authorizationError } = tls;
  const version = tls.getProtocol();
  socket.destroy();
  const ends = endFinding(
    "tls",
    `the certificate of ${url}`,
    endsAtMs,
    "Renew it, and write the new files over the old (--tls-cert, --tls-key): the server takes them within seconds, without a restart.",
  );
  if (ends.status === "fail") return ends;
  if (!authorized) {
    const code = String((authorizationError as { code?: string } | null)?.code ?? authorizationError);
    const trouble = Object.assign(new Error(code), { code });
    return fail(
      "tls",
      `the certificate of ${url} is not trusted: ${troubleText(trouble, url)}`,
      "Where a CA of your own has signed it, name that in LOCKDB_CA_FILE; else call the server by the name that it is for.",
    );
  }
  return ends.status === "warn" ? ends : ok("tls", `${version}; ${ends.found}`);
}

/** When the first of the certificates ends that lead to the root. */
function firstEnd(certificate: DetailedPeerCertificate): number {
  const ends: number[] = [];
  const seen = new Set<DetailedPeerCertificate>();
  for (let at = certificate; at !== undefined && !seen.has(at); at = at.issuerCertificate) {
    seen.add(at);
    ends.push(Date.parse(at.valid_to));
  }
  return Math.min(...ends.filter((end) => !Number.isNaN(end)));
}

async function readyFinding(url: string, secure: SecureOptions): Promise<Finding> {
  const answer = await answerOf(`${url}/readyz`, secure).catch((error: Error) => error);
  const elsewhere = "Check host and port in -s or LOCKDB_SERVER_URL: something else may listen there.";
  if (answer instanceof Error)
    return fail("reach", `${url} does not answer as LockDB: ${troubleText(answer, url)}`, elsewhere);
  const { status, text } = answer;
  if (status === 200 && text === "ok\n") return ok("ready", "the server takes requests");
  const out = /^not ready: (.+)\n$/.exec(text)?.[1];
  if (status === 503 && out !== undefined)
    return fail(
      "ready",
      `the server takes no requests: ${out}`,
      "See whether it reaches etcd, and whether more than half of etcd's members work. It joins again by itself.",
    );
  if (status === 503 && text === "not ready\n")
    return fail(
      "ready",
      "the server takes no requests: its store does not work, or it stops",
      "Look at its log. A full or broken disk is mended there, and the server comes back by itself.",
    );
  return fail("reach", `${url} answers (${status}), but not as LockDB`, elsewhere);
}

function answerOf(
  url: string,
  secure: SecureOptions,
): Promise<{ readonly status: number; readonly text: string }> {
  const isTls = url.startsWith("https:");
  return new Promise((resolve, reject) => {
    const request = (isTls ? secureRequest : plainRequest)(url, { ...(isTls ? secure : {}), agent: false });
    request.setTimeout(PATIENCE_MS, () => request.destroy(new Error("no answer within 5 s")));
    request.on("error", reject);
    request.once("response", async (response) => {
      let text = "";
      try {
        for await (const chunk of response.setEncoding("utf8")) if (text.length < 1_000) text += chunk;
        resolve({ status: response.statusCode ?? 0, text });
      } catch (error) {
        reject(error);
      }
    });
    request.end();
  });
}

async function opened<T extends Socket>(socket: T, event: "connect" | "secureConnect"): Promise<T> {
  const late = setTimeout(() => socket.destroy(new Error("no connection within 5 s")), PATIENCE_MS);
  try {
    await once(socket, event);
    socket.on("error", () => {});
    return socket;
  } finally {
    clearTimeout(late);
  }
}

/** What is not looked at since the server is not reached. */
export function unreached(checks: readonly Finding["check"][]): readonly Finding[] {
  return checks.map((check) => skipped(check, "no server was reached"));
}

/** Several servers: one that does not answer is covered by the others, for now. */
export function covered(finding: Finding): Finding {
  return finding.status === "fail" && finding.check !== "plain-text"
    ? warn(finding.check, `${finding.found} (another of the servers answers)`, finding.mend!)
    : finding;
}
