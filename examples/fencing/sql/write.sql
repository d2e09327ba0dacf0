-- $1 item, $2 count, $3 token. 0 rows changed: refused.
UPDATE stock SET count = $2, fence = $3
WHERE id = $1 AND fence <= $3;
