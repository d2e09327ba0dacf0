// A payment that is made once, whoever asks for it, however often.
import { LockTimeoutError } from "lockdb";

const ENTER = "UPDATE orders SET fence = $2 WHERE id = $1 AND fence <= $2 RETURNING cents, receipt";
const PAID = "UPDATE orders SET receipt = $3 WHERE id = $1 AND fence <= $2";

/** @param db a client or a pool of `pg` */
export async function pay(locker, db, charge, id) {
  return await locker.withLock(`order/${id}`, { wait: "5s" }, async (lease) => {
    const { rows } = await db.query(ENTER, [id, lease.token]);
    if (rows.length === 0) throw new Error(`There is no order ${id}, or a later holder was here.`);
    const [{ cents, receipt }] = rows;
    if (receipt) return receipt; // It was paid before.
    // The number of the order, not of the lock: whoever charges it, now or late, sends the same key.
    const options = { idempotencyKey: `order-${id}`, signal: lease.signal };
    const made = await charge(Number(cents), options);
    const { rowCount } = await db.query(PAID, [id, lease.token, made]);
    if (rowCount === 0) throw new Error(`Order ${id}: a later holder was here.`);
    return made;
  });
}

/** `app.post("/orders/:id/pay", payRoute(locker, pool, charge));` */
export function payRoute(locker, db, charge) {
  return async (request, response, next) => {
    try {
      const receipt = await pay(locker, db, charge, Number(request.params.id));
      response.json({ receipt });
    } catch (error) {
      if (error instanceof LockTimeoutError)
        response.status(409).json({ error: "It is being paid. Look again." });
      else next(error);
    }
  };
}
