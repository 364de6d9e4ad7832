-- +goose Up

-- audit_reports: reports that were kept, each as one compressed text. A row is
-- never changed.
CREATE TABLE audit_reports (
    id         BLOB PRIMARY KEY,
    account_id BLOB NOT NULL REFERENCES accounts (id),
    at         INTEGER NOT NULL,
    score      INTEGER NOT NULL,
    findings   INTEGER NOT NULL,
    body       BLOB NOT NULL
) STRICT;
CREATE INDEX audit_reports_account ON audit_reports (account_id, at);
CREATE INDEX audit_reports_at ON audit_reports (at);

-- audit_schedules: when an account's report is due, and whom it is mailed to.
-- next_at is 0 where it is not. Who makes one has claimed it until a time: if they
-- die with it, somebody else makes it then.
CREATE TABLE audit_schedules (
    account_id    BLOB PRIMARY KEY REFERENCES accounts (id),
    every         TEXT NOT NULL,
    recipients    TEXT NOT NULL DEFAULT '',
    options       TEXT NOT NULL DEFAULT '',
    next_at       INTEGER NOT NULL DEFAULT 0,
    last_at       INTEGER NOT NULL DEFAULT 0,
    claimed_until INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_schedules_next ON audit_schedules (next_at) WHERE next_at > 0;
