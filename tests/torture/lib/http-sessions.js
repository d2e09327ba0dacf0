// HTTP sessions: they have no connection, so there may be more of them than sockets.
import { Agent, request } from "node:http";
import { given, serveCalls } from "../../processes/mailbox.mjs";

const { url, service, apiKey, count, leaseMs } = given;
const LANES = 16;
const agent = new Agent({ keepAlive: true, maxSockets: LANES });
let opened = 0;
/** @type {string | null} */
let problem = null;

function open() {
  const body = JSON.stringify({ leaseMs });
  return new Promise((resolve) => {
    const headers = { authorization: `Bearer ${apiKey}`, "content-length": body.length };
    const asked = request(
      `${url}/v1/services/${service}/sessions`,
      { method: "POST", agent, headers },
      (answer) => {
        answer.resume().once("end", () => {
          if (answer.statusCode === 201) opened++;
          else problem ??= `status ${answer.statusCode}`;
          resolve(undefined);
        });
      },
    );
    asked.once("error", (error) => {
      problem ??= error.message;
      resolve(undefined);
    });
    asked.end(body);
  });
}

let left = count;
const lane = async () => {
  while (left-- > 0) await open();
};
const all = Promise.all(Array.from({ length: LANES }, lane)).then(() => agent.destroy());

serveCalls({
  /** Waits a while for all of them. */
  ready: async () => {
    const isReady = await Promise.race([
      all.then(() => true),
      new Promise((resolve) => setTimeout(resolve, 1_000, false)),
    ]);
    return { isReady, opened, problem };
  },
});
