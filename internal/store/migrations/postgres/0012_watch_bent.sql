-- +goose Up

-- bent: which of the finding's answers the key was last changed by: 1 is the first, one
-- more each time that it was raised; 0: none. It outlives undo, which forgets what a
-- person put back.
ALTER TABLE watch_findings ADD COLUMN bent BIGINT NOT NULL DEFAULT 0;
