import { expect, test } from "vitest";
import { serve } from "../src/index.js";

test("[I6zv] an embedded server takes a new log level, and refuses what is wrong without a change", async () => {
  const server = await serve({ port: 0, store: "memory", logLevel: "silent" });
  try {
    await server.reload({ logLevel: "fatal" });
    await expect(server.reload({ logLevel: "loud" as "info" })).rejects.toThrow('"logLevel": must be one of');
    await expect(server.reload({ prot: 1 } as object)).rejects.toThrow('"prot" is no option');
    await server.reload({ port: 1, logLevel: undefined } as object);
    await server.reload();
  } finally {
    await server.close();
  }
});
