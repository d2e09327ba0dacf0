-- $1 item, $2 count, $3 token. 0 rows changed: refused.
INSERT INTO stock (id, count, fence) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET count = excluded.count, fence = excluded.fence
WHERE stock.fence <= excluded.fence;
