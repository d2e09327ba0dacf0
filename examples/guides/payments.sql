CREATE TABLE orders (
  id integer PRIMARY KEY,
  cents integer NOT NULL,
  receipt text, -- null: not paid
  fence bigint NOT NULL DEFAULT 0 -- the highest token that this row has seen
);
