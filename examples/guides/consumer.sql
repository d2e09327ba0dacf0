CREATE TABLE done (id text PRIMARY KEY); -- ids of messages
CREATE TABLE accounts (id text PRIMARY KEY, points integer NOT NULL DEFAULT 0);
