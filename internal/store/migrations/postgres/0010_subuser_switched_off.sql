-- +goose Up

-- disabled_rank: who switched it off: 0 its account, 2 the operator. Who is lower
-- does not switch it on again.
ALTER TABLE subusers ADD COLUMN disabled_rank BIGINT NOT NULL DEFAULT 0;
