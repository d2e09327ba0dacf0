import { Queue } from "./queue.js";

/** How often the queues take turns, so that what disturbs the machine disturbs all of them. */
const TURNS = 4;

/**
 * Many wait for one lock: whether a hand-over costs more than when few do.
 *
 * @param {number} few
 * @param {number} many
 * @returns {import("./index.js").Workload}
 */
export const longQueue = (few, many) => {
  const [fewText, manyText] = [few, many].map((waiting) => `${waiting.toLocaleString("en-US")} wait`);
  return {
    name: `queue-x${many}`,
    about: `hand-overs of one lock while ${manyText} and while ${fewText}: all exclusive, and half of them shared`,
    figures: [
      { key: "many", title: `${manyText}: /s` },
      { key: "few", title: `${fewText}: /s` },
      { key: "cost", title: "costs", digits: 2 },
      { key: "mixedMany", title: `half shared, ${manyText}: /s` },
      { key: "mixedFew", title: `${fewText}: /s` },
      { key: "mixedCost", title: "costs", digits: 2 },
    ],
    isSelfMeasured: true,
    async run(client, timing, { prefix }) {
      const locker = /** @type {import("lockdb").LockDB} */ (client.locker);
      const queues = {
        few: new Queue(locker, `${prefix}-few`, few),
        many: new Queue(locker, `${prefix}-many`, many),
        mixedFew: new Queue(locker, `${prefix}-mixed-few`, few, true),
        mixedMany: new Queue(locker, `${prefix}-mixed-many`, many, true),
      };
      const all = Object.values(queues);
      for (const queue of all) await queue.fill();
      for (const queue of all) await queue.handOver(timing.warmUpMs / all.length);
      for (const queue of all) queue.restart();
      for (let turn = 0; turn < TURNS; turn += 1) {
        for (const queue of turn % 2 === 0 ? all : all.toReversed()) {
          await queue.handOver(timing.windowMs / TURNS);
        }
      }
      for (const queue of all) queue.stop();
      const figures = Object.fromEntries(
        Object.entries(queues).map(([key, { perSecond }]) => [key, perSecond]),
      );
      return {
        figures: {
          ...figures,
          cost: queues.few.perSecond / queues.many.perSecond,
          mixedCost: queues.mixedFew.perSecond / queues.mixedMany.perSecond,
        },
        violations: all.reduce((sum, { violations }) => sum + violations, 0),
        isUnfinished: true,
      };
    },
  };
};
