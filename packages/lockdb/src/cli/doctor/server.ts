import type { Diagnosis } from "../answers.js";
import { diskFinding, endFinding, type Finding, fail, ok, skipped, warn } from "./finding.js";

/** What only the server itself can see. A further part of it, such as a cluster's members, is one more function here. */
const SERVER_CHECKS: readonly ((diagnosis: Diagnosis) => Finding)[] = [
  disk,
  store,
  recovery,
  queues,
  certificate,
  listening,
  files,
  webhooks,
  mistakes,
];

export function serverFindings(diagnosis: Diagnosis): readonly Finding[] {
  return [
    ok("server", `it has run for ${hoursText(diagnosis.upMs)}`),
    ...SERVER_CHECKS.map((check) => check(diagnosis)),
  ];
}

function disk({ store: { directory, freeBytes, totalBytes } }: Diagnosis): Finding {
  if (directory === null) return skipped("disk", "the store is in memory");
  if (freeBytes === null || totalBytes === null)
    return skipped("disk", `the server cannot tell how full the disk of ${directory} is`);
  return diskFinding("disk", directory, freeBytes, totalBytes);
}

function store({ store: { kind, failures }, ready }: Diagnosis): Finding {
  if (failures > 0) {
    const found = `${failures} commits have failed since the start`;
    const mend =
      "Look at the server's log and at its disk (`dmesg`, `smartctl`). Nothing that was acknowledged is lost; after each, clients had to come back.";
    return ready ? warn("store", found, mend) : fail("store", found, mend);
  }
  if (kind === "memory")
    return warn(
      "store",
      "the store is in memory: everything is gone when the server stops",
      "For anything but tests start it without --store memory.",
    );
  return ok("store", "every commit has worked since the start");
}

function recovery({ recovering: { count, first } }: Diagnosis): Finding {
  if (count === 0) return ok("recovery", "no service waits for its clients");
  const names = first.slice(0, 3).map(({ account, service }) => nameOf(account, service));
  const more = count > names.length ? ` and ${count - names.length} more` : "";
  return warn(
    "recovery",
    `${names.join(", ")}${more} ${count === 1 ? "is" : "are"} recovering after an unclean start: nothing new is granted there yet`,
    "Wait: it ends when all clients of before are back, and after their lease (10 s by default) at the latest; a client that is to come back needs the server's address and its key. See docs/recovery.md.",
  );
}

function queues({ queues: { longest, waitersMax, refused } }: Diagnosis): Finding {
  const where =
    longest === null
      ? ""
      : `${longest.name === null ? "a lock" : JSON.stringify(longest.name)} in ${nameOf(longest.account, longest.service)}`;
  const mend =
    longest === null
      ? "`lockdb top` shows where it is crowded. Hold locks for less long, ask with a shorter wait, or raise --waiters-max."
      : `\`lockdb show NAME -i ${longest.service}\` tells who has it. If that one hangs: \`lockdb force-release\`. Else hold it for less long, ask with a shorter wait, or raise --waiters-max.`;
  if (longest !== null && longest.length >= waitersMax)
    return fail("queues", `the queue of ${where} is full (${waitersMax}): who asks gets QUEUE_FULL`, mend);
  if (longest !== null && longest.length >= 0.8 * waitersMax)
    return warn("queues", `the queue of ${where} is nearly full: ${longest.length} of ${waitersMax}`, mend);
  if (refused > 0)
    return warn(
      "queues",
      `${refused} requests met a full queue since the start; now the longest is ${longest?.length ?? 0}`,
      mend,
    );
  return ok(
    "queues",
    longest === null ? "nobody waits" : `the longest queue has ${longest.length} of ${waitersMax}`,
  );
}

function certificate({ listening: { certificateEndsAt } }: Diagnosis): Finding {
  if (certificateEndsAt === null) return skipped("certificate", "the server itself speaks plain text");
  return endFinding(
    "certificate",
    "the server's certificate",
    Date.parse(certificateEndsAt),
    "Renew it, and write the new files over the old (--tls-cert, --tls-key): the server takes them within seconds, without a restart.",
  );
}

function listening({ listening: { host, isLoopback, isTls } }: Diagnosis): Finding {
  if (isTls) return ok("listening", `on ${host}, with TLS`);
  if (isLoopback) return ok("listening", `on ${host}, which only this machine reaches`);
  return warn(
    "listening",
    `the server listens on ${host} in plain text: API keys can be read on that network`,
    "Give it --tls-cert and --tls-key; or put TLS in front and let only that reach it (--host, a firewall). If that is so: --skip listening.",
  );
}

function files({ files: { open, max } }: Diagnosis): Finding {
  if (open === null || max === null)
    return skipped("files", "that system does not tell how many files are open");
  const found = `${open} of ${max} files and sockets are open`;
  const mend =
    "Raise the limit (systemd: LimitNOFILE, containers: ulimits), or find who keeps so many connections.";
  if (open >= 0.9 * max) return fail("files", found, mend);
  return open >= 0.7 * max ? warn("files", found, mend) : ok("files", found);
}

function webhooks({ webhooks: { pending, pausedTargets } }: Diagnosis): Finding {
  if (pausedTargets === 0) return ok("webhooks", `${pending} deliveries wait, and no target is left alone`);
  return warn(
    "webhooks",
    `${pausedTargets} webhook targets failed several times in a row and are left alone for a while; ${pending} deliveries wait`,
    "`GET /v1/webhooks/deliveries?status=pending` says what they answer.",
  );
}

function mistakes({ serviceFailures }: Diagnosis): Finding {
  if (serviceFailures === 0) return ok("mistakes", "no service had to be read anew");
  return warn(
    "mistakes",
    `a service was read anew ${serviceFailures} times, because of a mistake in LockDB`,
    "Report it with the error in the server's log. No lock was lost.",
  );
}

function nameOf(account: string, service: string): string {
  return account === "default" ? service : `${account}/${service}`;
}

function hoursText(ms: number): string {
  const hours = ms / 3_600_000;
  if (hours < 1) return `${Math.floor(hours * 60)} min`;
  return hours < 48 ? `${Math.floor(hours)} h` : `${Math.floor(hours / 24)} d`;
}
