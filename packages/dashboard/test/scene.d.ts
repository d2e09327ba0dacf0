import type { ServeOptions, Server } from "@lockdb/server";
import type LockDB from "lockdb";

export const SERVICE: string;
export const HOSTILE: Readonly<
  Record<"image" | "script" | "bidi" | "emoji" | "proto" | "dots" | "space" | "slash", string>
>;

export class Scene {
  readonly server: Server;
  static start(options?: Partial<ServeOptions>): Promise<Scene>;
  client(owner: string, service?: string): LockDB;
  // biome-ignore lint/suspicious/noExplicitAny: what comes is looked at as somebody else would.
  http(method: string, path: string, body?: object, apiKey?: string): Promise<any>;
  key(scopes: readonly string[], name?: string, services?: readonly string[] | null): Promise<string>;
  queue(owner: string, name: string | readonly object[], options?: object): Promise<LockDB>;
  deadlock(first?: string, second?: string, owners?: readonly string[]): Promise<readonly Error[]>;
  bustle(names?: readonly string[], workers?: number, holdMs?: number): void;
  until(isSo: () => boolean | Promise<boolean>, ms?: number): Promise<void>;
  close(): Promise<void>;
}

export function pause(ms: number): Promise<void>;
export function shop(scene: Scene): Promise<{ readonly cron: LockDB }>;
