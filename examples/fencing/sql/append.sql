-- $1 service, $2 lock name, $3 token, $4 sale, $5 item. 0 rows inserted: refused.
WITH holder AS (
  INSERT INTO lockdb_fences AS fence (service, name, token) VALUES ($1, $2, $3)
  ON CONFLICT (service, name) DO UPDATE SET token = excluded.token
  WHERE fence.token <= excluded.token
  RETURNING token
)
INSERT INTO sales (id, item, token)
SELECT $4, $5, token FROM holder;
