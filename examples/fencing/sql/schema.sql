CREATE TABLE stock (
  id text PRIMARY KEY,
  count integer NOT NULL,
  fence bigint NOT NULL DEFAULT 0 -- the highest token that this row has seen
);
CREATE TABLE sales (
  id text PRIMARY KEY,
  item text NOT NULL,
  token bigint NOT NULL
);
