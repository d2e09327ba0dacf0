import { EXCLUSIVE, Queue } from "./queue.js";

/**
 * Requests for a lock that many wait for, made inside of another hold: what it costs to see that one is no deadlock, and
 * to refuse one that is.
 *
 * @param {number} few
 * @param {number} many
 * @returns {import("./index.js").Workload}
 */
export const nestedRequests = (few, many) => {
  const [fewText, manyText] = [few, many].map((waiting) => `${waiting.toLocaleString("en-US")} wait`);
  return {
    name: `inside-x${many}`,
    about: `requests inside a hold, one after the other, while ${manyText} and while ${fewText}: queued, or a deadlock`,
    figures: [
      { key: "many", title: `queued, ${manyText}: /s` },
      { key: "few", title: `${fewText}: /s` },
      { key: "cost", title: "costs", digits: 2 },
      { key: "refusedMany", title: `refused, ${manyText}: /s` },
      { key: "refusedFew", title: `${fewText}: /s` },
      { key: "refusedCost", title: "costs", digits: 2 },
    ],
    isSelfMeasured: true,
    async run(client, { warmUpMs, windowMs }, { prefix }) {
      const locker = /** @type {import("lockdb").LockDB} */ (client.locker);
      const queues = {
        few: new Queue(locker, `${prefix}-few`, few),
        many: new Queue(locker, `${prefix}-many`, many),
      };
      for (const queue of Object.values(queues)) await queue.fill();
      await queued(locker, queues.few, warmUpMs);
      const [perSecondFew, perSecondMany] = [
        await queued(locker, queues.few, windowMs / 4),
        await queued(locker, queues.many, windowMs / 4),
      ];
      const [refusedFew, refusedMany] = [
        await refused(locker, queues.few, windowMs / 4),
        await refused(locker, queues.many, windowMs / 4),
      ];
      for (const queue of Object.values(queues)) queue.stop();
      return {
        figures: {
          many: perSecondMany,
          few: perSecondFew,
          cost: perSecondFew / perSecondMany,
          refusedMany,
          refusedFew,
          refusedCost: refusedFew / refusedMany,
        },
        violations: 0,
        isUnfinished: true,
      };
    },
  };
};

/**
 * @param {import("lockdb").LockDB} locker
 * @param {Queue} queue
 * @param {number} forMs
 */
async function queued(locker, { name }, forMs) {
  const own = await locker.acquire(`own-${name}`);
  const perSecond = await rate(forMs, async () => {
    const { giveUp } = ask(locker, name, own);
    // Answered once the server is done with the request before it.
    await locker.check(`own-${name}`);
    giveUp();
  });
  await own.release();
  return perSecond;
}

/**
 * @param {import("lockdb").LockDB} locker
 * @param {Queue} queue
 * @param {number} forMs
 */
async function refused(locker, { name, holder }, forMs) {
  const own = await locker.acquire(`own-${name}`);
  // With this, whoever asks for the lock inside of our hold waits for himself.
  const around = ask(locker, `own-${name}`, holder);
  const perSecond = await rate(forMs, async () => {
    const answer = await ask(locker, name, own).answer;
    if (answer !== "DEADLOCK") throw new Error(`a deadlock was answered with ${answer}`);
  });
  around.giveUp();
  await own.release();
  return perSecond;
}

/**
 * @param {import("lockdb").LockDB} locker
 * @param {string} name
 * @param {import("lockdb").Lease} within
 */
function ask(locker, name, within) {
  const aborter = new AbortController();
  const answer = locker.acquire(name, { ...EXCLUSIVE, within, signal: aborter.signal }).then(
    () => "granted",
    (error) => error?.code,
  );
  return { answer, giveUp: () => aborter.abort() };
}

/**
 * @param {number} forMs
 * @param {() => Promise<void>} request
 */
async function rate(forMs, request) {
  const startMs = performance.now();
  let [count, spentMs] = [0, 0];
  while (spentMs < forMs) {
    await request();
    count += 1;
    spentMs = performance.now() - startMs;
  }
  return count / (spentMs / 1_000);
}
