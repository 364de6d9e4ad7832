-- +goose Up

-- watch_baselines: what the watch learned of each key, and under the empty id of
-- all failed logins. It commits with the watch's place in the logs.
CREATE TABLE watch_baselines (
    key_id     BLOB PRIMARY KEY,
    data       BLOB NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX watch_baselines_updated ON watch_baselines (updated_at);

-- watch_findings: what the watch noticed. data is the finding as it was when it
-- was last seen; what people and answers made of it is in the columns. taken: the
-- watch knows of the decision.
CREATE TABLE watch_findings (
    id           BLOB PRIMARY KEY,
    account_id   BLOB NOT NULL,
    subuser_id   BLOB NOT NULL,
    key_id       BLOB NOT NULL,
    rule         TEXT NOT NULL,
    severity     TEXT NOT NULL,
    state        TEXT NOT NULL,
    first_at     INTEGER NOT NULL,
    last_at      INTEGER NOT NULL,
    data         TEXT NOT NULL,
    answer       TEXT NOT NULL,
    answered_at  INTEGER NOT NULL DEFAULT 0,
    answer_error TEXT NOT NULL DEFAULT '',
    undo         TEXT NOT NULL DEFAULT '',
    decided_at   INTEGER NOT NULL DEFAULT 0,
    decided_by   TEXT NOT NULL DEFAULT '',
    teach        INTEGER NOT NULL DEFAULT 0,
    taken        INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX watch_findings_account ON watch_findings (account_id, id);
CREATE INDEX watch_findings_last ON watch_findings (last_at);
CREATE INDEX watch_findings_open ON watch_findings (id) WHERE state = 'open';
CREATE INDEX watch_findings_untaken ON watch_findings (id) WHERE state <> 'open' AND taken = 0;
CREATE INDEX watch_findings_undo ON watch_findings (key_id) WHERE undo <> '';

-- watch_settings: how an account wants to be watched; of the empty id: the
-- operator. secrets is sealed.
CREATE TABLE watch_settings (
    account_id BLOB PRIMARY KEY,
    data       TEXT NOT NULL,
    secrets    BLOB NOT NULL
) STRICT, WITHOUT ROWID;
