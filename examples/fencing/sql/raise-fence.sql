-- $1 item, $2 token. No row: a later holder was here, or there is no such item.
UPDATE stock SET fence = $2
WHERE id = $1 AND fence <= $2
RETURNING count;
