-- +goose Up

-- domains: who owns one, how it is proven, how it is set up. A domain without
-- named subusers was open to all of its account, and stays so.
ALTER TABLE domains ADD COLUMN number        BIGINT NOT NULL DEFAULT 0;
ALTER TABLE domains ADD COLUMN subuser_id    BYTEA NOT NULL DEFAULT '';
ALTER TABLE domains ADD COLUMN reason        TEXT NOT NULL DEFAULT '';
ALTER TABLE domains ADD COLUMN disputed      BIGINT NOT NULL DEFAULT 0;
ALTER TABLE domains ADD COLUMN verified_at   BIGINT NOT NULL DEFAULT 0;
ALTER TABLE domains ADD COLUMN failing_since BIGINT NOT NULL DEFAULT 0;
ALTER TABLE domains ADD COLUMN token         TEXT NOT NULL DEFAULT '';
ALTER TABLE domains ADD COLUMN automatic     BIGINT NOT NULL DEFAULT 0;
ALTER TABLE domains ADD COLUMN label         TEXT NOT NULL DEFAULT '';
ALTER TABLE domains ADD COLUMN selector      TEXT NOT NULL DEFAULT '';
ALTER TABLE domains ADD COLUMN key_bits      BIGINT NOT NULL DEFAULT 0;
ALTER TABLE domains ADD COLUMN rotate        BIGINT NOT NULL DEFAULT 0;
ALTER TABLE domains ADD COLUMN reveal        BIGINT NOT NULL DEFAULT 0;
ALTER TABLE domains ADD COLUMN custom_spf    BIGINT NOT NULL DEFAULT 0;
ALTER TABLE domains ADD COLUMN is_default    BIGINT NOT NULL DEFAULT 0;
ALTER TABLE domains ADD COLUMN ips           TEXT NOT NULL DEFAULT '';
ALTER TABLE domains ADD COLUMN all_subusers  BIGINT NOT NULL DEFAULT 0;
ALTER TABLE domains ADD COLUMN quiet         BIGINT NOT NULL DEFAULT 0;
ALTER TABLE domains ADD COLUMN deleted_at    BIGINT NOT NULL DEFAULT 0;
UPDATE domains SET number = n.number
    FROM (SELECT id, row_number() OVER (ORDER BY created_at, id) AS number FROM domains) AS n WHERE n.id = domains.id;
UPDATE domains SET all_subusers = 1 WHERE NOT EXISTS (SELECT 1 FROM domain_subusers s WHERE s.domain_id = domains.id);
UPDATE domains SET verified_at = created_at WHERE state = 'verified';
UPDATE domains SET label = substr(return_path, 1, length(return_path) - length(name) - 1)
    WHERE length(return_path) > length(name) + 1 AND right(return_path, length(name) + 1) = '.' || name;
-- One account has a name: usable, or paused because its records are gone. An
-- unproven claim blocks nobody. An account has a name once, whichever of its
-- subusers it belongs to; one that is off or deleted does not count.
DROP INDEX domains_usable;
CREATE UNIQUE INDEX domains_held ON domains (name) WHERE disabled_at = 0 AND state IN ('asserted', 'verified', 'paused');
CREATE UNIQUE INDEX domains_number ON domains (number);
CREATE UNIQUE INDEX domains_token ON domains (token) WHERE token <> '';
CREATE UNIQUE INDEX domains_default ON domains (account_id, subuser_id) WHERE is_default = 1;
CREATE INDEX domains_account ON domains (account_id);
-- A node of the version before that still runs gives no numbers: it may not
-- create domains any more.
ALTER TABLE domains ALTER COLUMN number DROP DEFAULT;

-- dkim_keys: a selector is a slot, and generation counts the keys it has had.
ALTER TABLE dkim_keys ADD COLUMN bits         BIGINT NOT NULL DEFAULT 0;
ALTER TABLE dkim_keys ADD COLUMN generation   BIGINT NOT NULL DEFAULT 1;
ALTER TABLE dkim_keys ADD COLUMN imported     BIGINT NOT NULL DEFAULT 0;
ALTER TABLE dkim_keys ADD COLUMN seen_at      BIGINT NOT NULL DEFAULT 0;
ALTER TABLE dkim_keys ADD COLUMN activated_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE dkim_keys ADD COLUMN withdrawn_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE dkim_keys ADD COLUMN revealed     TEXT NOT NULL DEFAULT '';
UPDATE dkim_keys SET activated_at = created_at WHERE active = 1;
UPDATE dkim_keys SET bits = 2048 WHERE algorithm = 'rsa-sha256';

-- domain_checks: when a domain is looked at next (0: not at all), and when it last
-- was. A row is small, since it changes with every check; what was found is kept
-- apart, and written only when it differs. That refers to nothing: its rows come
-- and go with those of domain_checks, and looking a domain up would lock it.
CREATE TABLE domain_checks (
    domain_id BYTEA PRIMARY KEY REFERENCES domains (id),
    at        BIGINT NOT NULL,
    next_at   BIGINT NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX domain_checks_due ON domain_checks (next_at) WHERE next_at > 0;
INSERT INTO domain_checks (domain_id, at, next_at)
    SELECT id, 0, CASE WHEN disabled_at = 0 THEN created_at ELSE 0 END FROM domains;
CREATE TABLE domain_findings (
    domain_id BYTEA PRIMARY KEY,
    sum       BYTEA NOT NULL,
    found     TEXT NOT NULL
);

-- single_senders: addresses that tenants may send as, proven by a link that was
-- mailed to them. secret is the SHA-256 of the link's token until it is used.
CREATE TABLE single_senders (
    number        BIGINT PRIMARY KEY,
    account_id    BYTEA NOT NULL REFERENCES accounts (id),
    subuser_id    BYTEA NOT NULL,
    nickname      TEXT NOT NULL,
    from_email    TEXT NOT NULL,
    address       TEXT NOT NULL,
    from_name     TEXT NOT NULL,
    reply_to      TEXT NOT NULL,
    reply_to_name TEXT NOT NULL,
    street        TEXT NOT NULL,
    street2       TEXT NOT NULL,
    city          TEXT NOT NULL,
    state         TEXT NOT NULL,
    zip           TEXT NOT NULL,
    country       TEXT NOT NULL,
    verified_at   BIGINT NOT NULL,
    secret        BYTEA NOT NULL,
    mailed_at     BIGINT NOT NULL,
    valid_until   BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    deleted_at    BIGINT NOT NULL,
    rev           BIGINT NOT NULL
);
CREATE UNIQUE INDEX single_senders_address ON single_senders (account_id, subuser_id, address) WHERE deleted_at = 0;
CREATE UNIQUE INDEX single_senders_secret ON single_senders (secret) WHERE length(secret) > 0;
CREATE INDEX single_senders_rev ON single_senders (rev);

-- last_domain and last_sender count the numbers of domains and of single senders
-- that were given out.
INSERT INTO settings (name, value) SELECT 'last_domain', CAST((SELECT count(*) FROM domains) AS TEXT);
INSERT INTO settings (name, value) VALUES ('last_sender', '0');

-- dmarc_reports: aggregate reports about a domain; dmarc_sources: from where mail
-- came, as each says. Nothing refers to them, and they end after a time.
CREATE TABLE dmarc_reports (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    domain_id     BYTEA NOT NULL REFERENCES domains (id),
    org           TEXT NOT NULL,
    report_id     TEXT NOT NULL,
    begin_at      BIGINT NOT NULL,
    end_at        BIGINT NOT NULL,
    received_at   BIGINT NOT NULL,
    received_from TEXT NOT NULL,
    email         TEXT NOT NULL,
    published     TEXT NOT NULL,
    messages      BIGINT NOT NULL,
    aligned       BIGINT NOT NULL,
    spf           BIGINT NOT NULL,
    dkim          BIGINT NOT NULL,
    failing       BIGINT NOT NULL,
    quarantined   BIGINT NOT NULL,
    rejected      BIGINT NOT NULL,
    sources       BIGINT NOT NULL,
    UNIQUE (domain_id, org, report_id, begin_at)
);
CREATE INDEX dmarc_reports_begin ON dmarc_reports (domain_id, begin_at);
CREATE INDEX dmarc_reports_received ON dmarc_reports (received_at);
CREATE TABLE dmarc_sources (
    report      BIGINT NOT NULL,
    n           BIGINT NOT NULL,
    addr        TEXT NOT NULL,
    header_from TEXT NOT NULL,
    disposition TEXT NOT NULL,
    spf         BIGINT NOT NULL,
    dkim        BIGINT NOT NULL,
    spf_check   TEXT NOT NULL,
    signatures  TEXT NOT NULL,
    reasons     TEXT NOT NULL,
    count       BIGINT NOT NULL,
    PRIMARY KEY (report, n)
);

-- An older program would let every subuser of the account send as a domain that
-- is shared with none, and sign with keys whose records are withdrawn.
UPDATE settings SET value = '3' WHERE name = 'compatible_from';
