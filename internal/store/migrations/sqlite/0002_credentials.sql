-- +goose Up

-- rev is the revision of a row's last change: what changed since a revision is
-- read by it. Rows of before have 0, which is before every revision.

ALTER TABLE accounts ADD COLUMN number  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN policy  TEXT NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN plan    TEXT NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN profile TEXT NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN rev     INTEGER NOT NULL DEFAULT 0;
UPDATE accounts SET number = n.number
    FROM (SELECT id, row_number() OVER (ORDER BY created_at, id) AS number FROM accounts) AS n WHERE n.id = accounts.id;
CREATE UNIQUE INDEX accounts_number ON accounts (number);
CREATE INDEX accounts_rev ON accounts (rev);

-- subusers is made anew: only the name of one that is not deleted is unique, and
-- SQLite cannot drop the constraint. Its only child goes and comes with it.
CREATE TABLE old_subusers AS SELECT * FROM subusers;
CREATE TABLE old_domain_subusers AS SELECT * FROM domain_subusers;
DROP TABLE domain_subusers;
DROP TABLE subusers;
CREATE TABLE subusers (
    id                  BLOB PRIMARY KEY,
    account_id          BLOB NOT NULL REFERENCES accounts (id),
    number              INTEGER NOT NULL UNIQUE,
    name                TEXT NOT NULL,
    email               TEXT NOT NULL,
    default_pool        BLOB NOT NULL,
    tls                 TEXT NOT NULL,
    plan                TEXT NOT NULL,
    profile             TEXT NOT NULL,
    created_at          INTEGER NOT NULL,
    disabled_at         INTEGER NOT NULL,
    console_disabled_at INTEGER NOT NULL,
    deleted_at          INTEGER NOT NULL,
    rev                 INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX subusers_name ON subusers (name) WHERE deleted_at = 0;
CREATE INDEX subusers_account ON subusers (account_id);
CREATE INDEX subusers_rev ON subusers (rev);
INSERT INTO subusers (id, account_id, number, name, email, default_pool, tls, plan, profile, created_at, disabled_at, console_disabled_at, deleted_at, rev)
    SELECT id, account_id, (SELECT count(*) FROM accounts) + row_number() OVER (ORDER BY created_at, id), name, email, default_pool, '', '', '',
        created_at, disabled_at, 0, 0, 0 FROM old_subusers;
CREATE TABLE domain_subusers (
    domain_id  BLOB NOT NULL REFERENCES domains (id),
    subuser_id BLOB NOT NULL REFERENCES subusers (id),
    PRIMARY KEY (domain_id, subuser_id)
) STRICT, WITHOUT ROWID;
INSERT INTO domain_subusers (domain_id, subuser_id) SELECT domain_id, subuser_id FROM old_domain_subusers;
DROP TABLE old_domain_subusers;
DROP TABLE old_subusers;

-- last_number and last_rule count the numbers of accounts and subusers, and of
-- access rules, that were given out.
INSERT INTO settings (name, value)
    SELECT 'last_number', CAST((SELECT count(*) FROM accounts) + (SELECT count(*) FROM subusers) AS TEXT);
INSERT INTO settings (name, value) VALUES ('last_rule', '0');

ALTER TABLE keys ADD COLUMN kind           TEXT NOT NULL DEFAULT 'api_key';
ALTER TABLE keys ADD COLUMN login          TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN matching       TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN hosts          TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN created_by     TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN rotated_at     INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN reminded_at    INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN prev_used_at   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN prev_used_from TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN prev_used_helo TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN prev_use_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN rev            INTEGER NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX keys_login ON keys (login) WHERE login <> '';
CREATE INDEX keys_rev ON keys (rev);

ALTER TABLE pools ADD COLUMN rev INTEGER NOT NULL DEFAULT 0;
CREATE INDEX pools_rev ON pools (rev);
ALTER TABLE domains ADD COLUMN rev INTEGER NOT NULL DEFAULT 0;
CREATE INDEX domains_rev ON domains (rev);
ALTER TABLE dkim_keys ADD COLUMN rev INTEGER NOT NULL DEFAULT 0;
CREATE INDEX dkim_keys_rev ON dkim_keys (rev);

-- access_lists: from where a tenant may come. An emptied list keeps its row, so
-- that those who follow the revisions hear of it.
CREATE TABLE access_lists (
    account_id  BLOB NOT NULL REFERENCES accounts (id),
    subuser_id  BLOB NOT NULL,
    rules       TEXT NOT NULL,
    monitor     INTEGER NOT NULL,
    trial_until INTEGER NOT NULL,
    before      TEXT NOT NULL,
    rev         INTEGER NOT NULL,
    PRIMARY KEY (account_id, subuser_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX access_lists_rev ON access_lists (rev);

-- access_seen: from where a tenant was tried, the newest thousand of each.
CREATE TABLE access_seen (
    account_id BLOB NOT NULL,
    subuser_id BLOB NOT NULL,
    addr       TEXT NOT NULL,
    method     TEXT NOT NULL,
    allowed    INTEGER NOT NULL,
    first_at   INTEGER NOT NULL,
    last_at    INTEGER NOT NULL,
    count      INTEGER NOT NULL,
    PRIMARY KEY (account_id, subuser_id, addr, method, allowed)
) STRICT, WITHOUT ROWID;
CREATE INDEX access_seen_last ON access_seen (account_id, subuser_id, last_at);

-- revoked_tokens: access tokens that end before their time, until that time.
CREATE TABLE revoked_tokens (
    id         BLOB PRIMARY KEY,
    account_id BLOB NOT NULL REFERENCES accounts (id),
    until      INTEGER NOT NULL,
    rev        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX revoked_tokens_rev ON revoked_tokens (rev);
CREATE INDEX revoked_tokens_until ON revoked_tokens (until);

-- usage_*: credits that a subject (account, subuser or key) has used, by minute
-- and by day of its account's time zone. A day that is too old is added to
-- usage_totals, so that the sum of both stays right.
CREATE TABLE usage_minutes (
    subject BLOB NOT NULL,
    minute  INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (subject, minute)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_minutes_minute ON usage_minutes (minute);
CREATE TABLE usage_days (
    subject BLOB NOT NULL,
    day     INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (subject, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_days_day ON usage_days (day);
CREATE TABLE usage_totals (
    subject BLOB PRIMARY KEY,
    n       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- idempotency: requests that are being answered, and the answers of the last
-- day. Not WITHOUT ROWID: an answer may be longer than a page.
CREATE TABLE idempotency (
    account_id BLOB NOT NULL,
    subuser_id BLOB NOT NULL,
    idem_key   BLOB NOT NULL,
    route      BLOB NOT NULL,
    request    BLOB NOT NULL,
    status     INTEGER NOT NULL,
    header     TEXT NOT NULL,
    body       BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    pending    INTEGER NOT NULL,
    PRIMARY KEY (account_id, subuser_id, idem_key, route)
) STRICT;
CREATE INDEX idempotency_created ON idempotency (created_at);

-- states: what a service wants to find again after a restart.
CREATE TABLE states (
    name       TEXT PRIMARY KEY,
    data       BLOB NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- A chain's head is signed with the installation's audit key. The heads of
-- before are signed when that key is made, at the first start.
ALTER TABLE change_heads ADD COLUMN at        INTEGER NOT NULL DEFAULT 0;
ALTER TABLE change_heads ADD COLUMN signature BLOB NOT NULL DEFAULT x'';

-- change_checkpoints: what stands for changes that were pruned.
CREATE TABLE change_checkpoints (
    account_id BLOB NOT NULL,
    seq        INTEGER NOT NULL,
    hash       BLOB NOT NULL,
    at         INTEGER NOT NULL,
    count      INTEGER NOT NULL,
    signature  BLOB NOT NULL,
    PRIMARY KEY (account_id, seq)
) STRICT, WITHOUT ROWID;

-- An older program would let in who is on no access list and sign nothing.
UPDATE settings SET value = '2' WHERE name = 'compatible_from';

-- The columns of logins_<day> are added at the start; see partition.go.
