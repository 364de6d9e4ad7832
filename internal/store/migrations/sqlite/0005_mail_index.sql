-- +goose Up

-- consumers: how far each reader of the logs has come.
CREATE TABLE consumers (
    name       TEXT PRIMARY KEY,
    cursor     TEXT NOT NULL,
    updated_at INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- mail_<day>, mailhours_<day> and loginhours_<day> are made as their day comes; see
-- partition.go.
