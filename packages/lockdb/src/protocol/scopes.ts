/** What a key may be for (A2). */
export const SCOPES = ["lock", "read", "force", "admin"] as const;

/** lock: ask for locks and give them back; read: look; force: take a lock from somebody else; admin: keys, accounts, settings. */
export type Scope = (typeof SCOPES)[number];
