CREATE TABLE stock (
  id text PRIMARY KEY,
  count integer NOT NULL,
  fence bigint NOT NULL DEFAULT 0 -- the highest token that this row has seen
);
CREATE TABLE fences (
  name text PRIMARY KEY, -- the lock's name
  token bigint NOT NULL -- the highest token that anything under this lock has seen
);
CREATE TABLE sales (
  id text PRIMARY KEY,
  item text NOT NULL,
  token bigint NOT NULL
);
