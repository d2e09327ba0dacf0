import type { ServerMessage } from "lockdb/protocol";
import type { ServiceKey } from "./service.js";

/** Somebody who sends commands and gets answers: a connection, or one HTTP request. */
export interface Recipient {
  /** The service that it speaks with; null: none yet. */
  readonly service: ServiceKey | null;
  /** One message, after everything it depends on is durable (R1). */
  receive(message: ServerMessage): void;
  /** The messages of this turn are all there. */
  flush(): void;
}
