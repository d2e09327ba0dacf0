/** How etcd, and the way to it, misbehaves in one run. Chances are for each call. */
export interface EtcdPlan {
  /** One way. */
  readonly latencyMsMax: number;
  readonly slowChance: number;
  readonly slowMsMax: number;
  /** It says honestly that nothing was done. */
  readonly notAppliedChance: number;
  /** Nobody hears what came of it: it never was done, or it was. */
  readonly neverChance: number;
  readonly unheardChance: number;
  /** Nobody hears what came of it, and it is done later, behind what was sent after it. */
  readonly lateChance: number;
  readonly lateMsMax: number;
  /** A bare range shows an older state. */
  readonly staleChance: number;
  /** The revision goes back, so that numbers come a second time. */
  readonly backChance: number;
  readonly hintLostChance: number;
  readonly hintLateMsMax: number;
  readonly hintTwiceChance: number;
  /** Hints for nothing, for each watch. */
  readonly hintsPerMinute: number;
}
