-- +goose Up

-- rev is the revision of a row's last change: what changed since a revision is
-- read by it. Rows of before have 0, which is before every revision.

ALTER TABLE accounts ADD COLUMN number  BIGINT NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN policy  TEXT NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN plan    TEXT NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN profile TEXT NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN rev     BIGINT NOT NULL DEFAULT 0;
UPDATE accounts SET number = n.number
    FROM (SELECT id, row_number() OVER (ORDER BY created_at, id) AS number FROM accounts) AS n WHERE n.id = accounts.id;
CREATE UNIQUE INDEX accounts_number ON accounts (number);
CREATE INDEX accounts_rev ON accounts (rev);

ALTER TABLE subusers ADD COLUMN number              BIGINT NOT NULL DEFAULT 0;
ALTER TABLE subusers ADD COLUMN tls                 TEXT NOT NULL DEFAULT '';
ALTER TABLE subusers ADD COLUMN plan                TEXT NOT NULL DEFAULT '';
ALTER TABLE subusers ADD COLUMN profile             TEXT NOT NULL DEFAULT '';
ALTER TABLE subusers ADD COLUMN console_disabled_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE subusers ADD COLUMN deleted_at          BIGINT NOT NULL DEFAULT 0;
ALTER TABLE subusers ADD COLUMN rev                 BIGINT NOT NULL DEFAULT 0;
UPDATE subusers SET number = n.number
    FROM (SELECT id, (SELECT count(*) FROM accounts) + row_number() OVER (ORDER BY created_at, id) AS number FROM subusers) AS n
    WHERE n.id = subusers.id;
-- Only the name of a subuser that is not deleted is unique.
ALTER TABLE subusers DROP CONSTRAINT subusers_name_key;
CREATE UNIQUE INDEX subusers_name ON subusers (name) WHERE deleted_at = 0;
CREATE UNIQUE INDEX subusers_number ON subusers (number);
CREATE INDEX subusers_account ON subusers (account_id);
CREATE INDEX subusers_rev ON subusers (rev);

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
ALTER TABLE keys ADD COLUMN rotated_at     BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN reminded_at    BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN prev_used_at   BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN prev_used_from TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN prev_used_helo TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN prev_use_count BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN rev            BIGINT NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX keys_login ON keys (login) WHERE login <> '';
CREATE INDEX keys_rev ON keys (rev);

ALTER TABLE pools ADD COLUMN rev BIGINT NOT NULL DEFAULT 0;
CREATE INDEX pools_rev ON pools (rev);
ALTER TABLE domains ADD COLUMN rev BIGINT NOT NULL DEFAULT 0;
CREATE INDEX domains_rev ON domains (rev);
ALTER TABLE dkim_keys ADD COLUMN rev BIGINT NOT NULL DEFAULT 0;
CREATE INDEX dkim_keys_rev ON dkim_keys (rev);

-- access_lists: from where a tenant may come. An emptied list keeps its row, so
-- that those who follow the revisions hear of it.
CREATE TABLE access_lists (
    account_id  BYTEA NOT NULL REFERENCES accounts (id),
    subuser_id  BYTEA NOT NULL,
    rules       TEXT NOT NULL,
    monitor     BIGINT NOT NULL,
    trial_until BIGINT NOT NULL,
    before      TEXT NOT NULL,
    rev         BIGINT NOT NULL,
    PRIMARY KEY (account_id, subuser_id)
);
CREATE INDEX access_lists_rev ON access_lists (rev);

-- access_seen: from where a tenant was tried, the newest thousand of each.
CREATE TABLE access_seen (
    account_id BYTEA NOT NULL,
    subuser_id BYTEA NOT NULL,
    addr       TEXT NOT NULL,
    method     TEXT NOT NULL,
    allowed    BIGINT NOT NULL,
    first_at   BIGINT NOT NULL,
    last_at    BIGINT NOT NULL,
    count      BIGINT NOT NULL,
    PRIMARY KEY (account_id, subuser_id, addr, method, allowed)
);
CREATE INDEX access_seen_last ON access_seen (account_id, subuser_id, last_at);

-- revoked_tokens: access tokens that end before their time, until that time.
CREATE TABLE revoked_tokens (
    id         BYTEA PRIMARY KEY,
    account_id BYTEA NOT NULL REFERENCES accounts (id),
    until      BIGINT NOT NULL,
    rev        BIGINT NOT NULL
);
CREATE INDEX revoked_tokens_rev ON revoked_tokens (rev);
CREATE INDEX revoked_tokens_until ON revoked_tokens (until);

-- usage_*: credits that a subject (account, subuser or key) has used, by minute
-- and by day of its account's time zone. A day that is too old is added to
-- usage_totals, so that the sum of both stays right.
CREATE TABLE usage_minutes (
    subject BYTEA NOT NULL,
    minute  BIGINT NOT NULL,
    n       BIGINT NOT NULL,
    PRIMARY KEY (subject, minute)
) WITH (fillfactor = 70);
CREATE INDEX usage_minutes_minute ON usage_minutes (minute);
CREATE TABLE usage_days (
    subject BYTEA NOT NULL,
    day     BIGINT NOT NULL,
    n       BIGINT NOT NULL,
    PRIMARY KEY (subject, day)
) WITH (fillfactor = 70);
CREATE INDEX usage_days_day ON usage_days (day);
CREATE TABLE usage_totals (
    subject BYTEA PRIMARY KEY,
    n       BIGINT NOT NULL
);

-- idempotency: requests that are being answered, and the answers of the last day.
CREATE TABLE idempotency (
    account_id BYTEA NOT NULL,
    subuser_id BYTEA NOT NULL,
    idem_key   BYTEA NOT NULL,
    route      BYTEA NOT NULL,
    request    BYTEA NOT NULL,
    status     BIGINT NOT NULL,
    header     TEXT NOT NULL,
    body       BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    pending    BIGINT NOT NULL,
    PRIMARY KEY (account_id, subuser_id, idem_key, route)
);
CREATE INDEX idempotency_created ON idempotency (created_at);

-- states: what a service wants to find again after a restart.
CREATE TABLE states (
    name       TEXT PRIMARY KEY,
    data       BYTEA NOT NULL,
    updated_at BIGINT NOT NULL
);

-- A chain's head is signed with the installation's audit key. The heads of
-- before are signed when that key is made, at the first start.
ALTER TABLE change_heads ADD COLUMN at        BIGINT NOT NULL DEFAULT 0;
ALTER TABLE change_heads ADD COLUMN signature BYTEA NOT NULL DEFAULT '';

-- change_checkpoints: what stands for changes that were pruned.
CREATE TABLE change_checkpoints (
    account_id BYTEA NOT NULL,
    seq        BIGINT NOT NULL,
    hash       BYTEA NOT NULL,
    at         BIGINT NOT NULL,
    count      BIGINT NOT NULL,
    signature  BYTEA NOT NULL,
    PRIMARY KEY (account_id, seq)
);

ALTER TABLE logins ADD COLUMN network TEXT NOT NULL DEFAULT '';
ALTER TABLE logins ADD COLUMN detail  TEXT NOT NULL DEFAULT '';
CREATE INDEX logins_key ON logins (key_id, at);

-- An older program would let in who is on no access list and sign nothing.
UPDATE settings SET value = '2' WHERE name = 'compatible_from';

-- A node of the version before that still runs goes on with its mail, and its
-- administration is refused: its changes would bear no revision and no signature.
-- +goose StatementBegin
CREATE FUNCTION postern_signed_heads() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.hash <> OLD.hash AND NEW.signature = OLD.signature THEN
        RAISE EXCEPTION 'changes need the newer program';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER signed_heads BEFORE UPDATE ON change_heads FOR EACH ROW EXECUTE FUNCTION postern_signed_heads();
