-- +goose Up

-- warmups: addresses that are new to the receivers of their mail. held is on how
-- many days the allowance did not grow; counts is what was sent of late, written
-- by the node that has the address, some seconds after the fact.
CREATE TABLE warmups (
    address    TEXT PRIMARY KEY,
    started_at BIGINT NOT NULL,
    held       BIGINT NOT NULL DEFAULT 0,
    counts     BYTEA NOT NULL
);
