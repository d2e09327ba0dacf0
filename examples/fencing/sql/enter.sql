-- $1 lock name, $2 token. First in the transaction. 0 rows changed: refused, roll back.
INSERT INTO fences (name, token) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET token = excluded.token
WHERE fences.token <= excluded.token;
