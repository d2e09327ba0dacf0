import type { Socket } from "node:net";
import type { FastifyRequest } from "fastify";

/** Who it is, for whoever looks, when the caller does not say. */
export function callerLabel({ remoteAddress, remotePort }: Socket): string {
  return `http:${remoteAddress ?? "?"}:${remotePort ?? 0}`;
}

/** Who it is, for the audit log. There is one key so far. */
export function whoOf({ ip }: FastifyRequest): string {
  return `root key from ${ip}`;
}
