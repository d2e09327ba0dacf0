// The package brings no types. This is the one function of it that we call.
declare module "fs-native-extensions" {
  /** Locks the whole file for this open descriptor; false when another descriptor has it. */
  export function tryLock(fd: number): boolean;
}
