// What invoices.spec.js tests.
/** @returns false when somebody else is at it */
export async function sendOnce(locker, invoice, send) {
  const lease = await locker.tryAcquire(`invoice/${invoice.id}`);
  if (lease === null) return false;
  try {
    await send(invoice, lease.signal);
    lease.assertHeld();
    return true;
  } finally {
    await lease.release();
  }
}
