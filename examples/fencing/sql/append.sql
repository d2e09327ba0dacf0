-- $1 lock name, $2 token, $3 sale, $4 item. 0 rows inserted: refused.
WITH holder AS (
  INSERT INTO fences (name, token) VALUES ($1, $2)
  ON CONFLICT (name) DO UPDATE SET token = excluded.token
  WHERE fences.token <= excluded.token
  RETURNING token
)
INSERT INTO sales (id, item, token)
SELECT $3, $4, token FROM holder;
