import type { DoneValue, ServerMessage } from "lockdb/protocol";
import type { Command } from "../engine/index.js";
import type { Loop, ServiceKey } from "../loop/index.js";
import { Moved, Refusal } from "./errors.js";

/** A command with the address that its answer goes to left open. */
export type Question = (address: string) => Command;

/**
 * Sends one command, and gives its answer once what it depends on is durable.
 * @throws Refusal
 */
export function ask(loop: Loop, service: ServiceKey, question: Question): Promise<DoneValue> {
  return new Promise((resolve, reject) => {
    const address = loop.attach({
      service,
      receive: (message) => {
        loop.detach(address);
        try {
          resolve(answered(message));
        } catch (error) {
          reject(error);
        }
      },
      flush: () => {},
    });
    loop.submit(service, question(address));
  });
}

function answered(message: ServerMessage): DoneValue {
  switch (message[0]) {
    case "done":
      return message[2];
    case "refused":
      throw new Refusal(message[2], message[3], message[4]);
    case "ended":
      throw new Refusal("UNAVAILABLE", message[2]);
    case "moved":
      throw new Moved();
    default:
      throw new Refusal("INTERNAL");
  }
}
