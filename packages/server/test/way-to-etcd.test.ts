import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { wayToEtcdFrom } from "../src/index.js";
import { newFolder } from "./store/folders.js";

test("[I4wa] the way to etcd is read from the variables that serve reads, and from no others", () => {
  const file = join(newFolder(), "password");
  writeFileSync(file, "secret\n");
  expect(wayToEtcdFrom({ LOCKDB_PORT: "not a port" })).toEqual({});
  expect(wayToEtcdFrom({ LOCKDB_ETCD_CA: "/ca.pem" })).toEqual({
    tls: { ca: "/ca.pem", cert: null, key: null },
  });
  const shown = { LOCKDB_ETCD_CA: "/ca.pem", LOCKDB_ETCD_CERT: "/c.pem", LOCKDB_ETCD_KEY: "/k.pem" };
  const user = { LOCKDB_ETCD_USER: "lockdb", LOCKDB_ETCD_PASSWORD_FILE: file };
  expect(wayToEtcdFrom({ ...shown, ...user })).toEqual({
    tls: { ca: "/ca.pem", cert: "/c.pem", key: "/k.pem" },
    user: { name: "lockdb", password: "secret" },
  });
  expect(() => wayToEtcdFrom({ LOCKDB_ETCD_USER: "lockdb" })).toThrow(/go together/);
});
