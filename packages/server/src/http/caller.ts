import type { IncomingMessage } from "node:http";
import { addressOf, portOf } from "./addresses.js";
import type { Asked } from "./operation.js";

/** Who it is, for whoever looks, when the caller does not say: its address, and its port where no proxy is between. */
export function callerLabel(request: IncomingMessage): string {
  const port = portOf(request);
  return callerHost(request) + (port === null ? "" : `:${port}`);
}

/** The same on all its connections. */
export function callerHost(request: IncomingMessage): string {
  return `http:${addressOf(request)}`;
}

/** Who it is, for the audit log. */
export function whoOf({ caller, request }: Pick<Asked, "caller" | "request">): string {
  return `${caller.label} from ${addressOf(request.raw)}`;
}
