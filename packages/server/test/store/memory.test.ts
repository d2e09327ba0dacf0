import { expect, test } from "vitest";
import { openMemoryStore } from "../../src/store/memory.js";
import { put, remove, storeContract, textByKey } from "./contract.js";

storeContract("memory", async () => openMemoryStore());

test("[R1ai] what is said to be new and is not is refused: tests and the simulator hear of it", async () => {
  const store = openMemoryStore();
  const added = (key: string) => ({ ...put(key, "new"), isNew: true });
  await store.commit([added("a"), remove("a"), added("a"), put("b", "1"), put("b", "2")]);
  await expect(store.commit([put("c", "1"), added("a")])).rejects.toThrow(TypeError);
  await expect(store.commit([put("c", "1"), added("c")])).rejects.toThrow(TypeError);
  expect(await textByKey(store, "")).toEqual([
    ["a", "new"],
    ["b", "2"],
  ]);
  await store.commit([remove("a")]);
  await store.commit([added("a")]);
});

test("[R1ai] a server's own store takes it, since nothing comes of it there", async () => {
  const store = openMemoryStore({ looks: false });
  await store.commit([put("a", "1")]);
  await store.commit([{ ...put("a", "2"), isNew: true }]);
  expect(await textByKey(store, "")).toEqual([["a", "2"]]);
});
