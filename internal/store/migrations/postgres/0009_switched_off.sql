-- +goose Up

-- disabled_rank: who switched it off: 0 its tenant, 1 the account of a subuser, 2 the
-- operator. Who is lower does not switch it on again.
ALTER TABLE users ADD COLUMN disabled_rank BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN disabled_rank BIGINT NOT NULL DEFAULT 0;
ALTER TABLE domains ADD COLUMN disabled_rank BIGINT NOT NULL DEFAULT 0;
