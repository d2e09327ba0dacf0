// What docs/guides/replacing.md shows as it is afterwards.

export async function invoiceOnce(locker, id, settle) {
  return await locker.withLock(`invoice/${id}`, { wait: "10s" }, async (lease) => {
    await settle({ signal: lease.signal, token: lease.token });
  });
}

export async function encodeSome(locker, encode) {
  return await locker.withLock("encoder", { permits: 4, wait: "1m" }, (lease) => encode(lease.signal));
}

export async function ifFree(locker, name, work) {
  const lease = await locker.tryAcquire(name);
  if (lease === null) return false;
  try {
    await work(lease.signal);
    return true;
  } finally {
    await lease.release();
  }
}

export async function readTogether(locker, name, read) {
  return await locker.withLock(name, { mode: "shared" }, read);
}
