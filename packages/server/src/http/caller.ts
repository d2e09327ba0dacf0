import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Asked } from "./operation.js";

/** Where a request comes from. */
export function addressOf({ socket }: IncomingMessage): string {
  return socket.remoteAddress ?? "?";
}

/** Who it is, for whoever looks, when the caller does not say. */
export function callerLabel({ remoteAddress, remotePort }: Socket): string {
  return `http:${remoteAddress ?? "?"}:${remotePort ?? 0}`;
}

/** Who it is, for the audit log. */
export function whoOf({ caller, request }: Pick<Asked, "caller" | "request">): string {
  return `${caller.label} from ${addressOf(request.raw)}`;
}
