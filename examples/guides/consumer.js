// Messages that come twice, and at two workers at once: each is done once, those of one account one after the other.

/**
 * @param client one connection of `pg`, not a pool: there is a transaction in it
 * @returns "done", or "done before": then acknowledge the message, too
 */
export async function consume(locker, client, message, rate) {
  return await locker.withLock(`account/${message.account}`, async (lease) => {
    const { rowCount } = await client.query("SELECT FROM done WHERE id = $1", [message.id]);
    if (rowCount > 0) return "done before";
    // Slow, and somebody else's: no transaction can stay open for it. The lock keeps others from doing it meanwhile.
    const points = await rate(message, lease.signal);
    return await apply(client, message, points);
  });
}

/** The id and what it stands for are written together, or neither is: also a holder that comes too late changes nothing. */
async function apply(client, { id, account }, points) {
  await client.query("BEGIN");
  try {
    const { rowCount } = await client.query("INSERT INTO done (id) VALUES ($1) ON CONFLICT DO NOTHING", [id]);
    if (rowCount > 0)
      await client.query("UPDATE accounts SET points = points + $2::integer WHERE id = $1", [
        account,
        points,
      ]);
    await client.query("COMMIT");
    return rowCount > 0 ? "done" : "done before";
  } catch (error) {
    await client.query("ROLLBACK").catch(() => {});
    throw error;
  }
}
