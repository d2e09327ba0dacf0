import type { LockNames, LockSpec } from "../../packages/lockdb/dist/protocol/messages.js";
import { wantsOf } from "./modes.js";
import type { Shared } from "./shared.js";

const SET_MAX = 4;

/** What a request asks for that has to do with a lock: mostly that alone, exclusively. */
export function namesFor({ plan, world }: Shared, service: string, lock: string): LockNames {
  const { random } = world;
  const others = plan.locks.filter((name) => name.startsWith(service) && name !== lock);
  const locks = [lock];
  if (others.length > 0 && random.chance(plan.work.setChance)) {
    const count = 1 + random.int(Math.min(SET_MAX - 1, others.length));
    for (let left = count; left > 0; left--) {
      locks.push(...others.splice(random.int(others.length), 1));
    }
  }
  const specs = locks.map((name): LockSpec => {
    const usual = plan.permits.get(name) ?? 0;
    const permits = random.chance(plan.work.strangeChance) ? random.pick([0, 2, 3, 6]) : usual;
    if (permits > 0) return [name, permits, 1 + random.int(permits)];
    return random.chance(plan.work.sharedChance) ? [name, "shared"] : name;
  });
  const [only] = specs;
  return specs.length === 1 && typeof only === "string" ? only : specs;
}

/** Some of what a hold has, as it has it or less; now and then more than it has. */
export function namesInside({ world }: Shared, names: LockNames): LockNames {
  const { random } = world;
  const wants = wantsOf(names);
  const some = wants.filter(() => random.chance(0.5));
  const isMore = random.chance(0.2);
  return (some.length === 0 ? wants.slice(0, 1) : some).map(({ lock, mode, permits, weight }): LockSpec => {
    if (mode === "semaphore") return [lock, permits, 1 + random.int(isMore ? permits : weight)];
    return (mode === "shared" && !isMore) || random.chance(0.3) ? [lock, "shared"] : lock;
  });
}
