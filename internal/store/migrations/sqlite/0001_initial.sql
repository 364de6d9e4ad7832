-- +goose Up

-- settings holds the few values that are not rows of anything.
CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO settings (name, value) VALUES ('revision', '1'), ('compatible_from', '1');

-- schema_hashes proves that an applied migration is the one this binary knows.
CREATE TABLE schema_hashes (
    version INTEGER PRIMARY KEY,
    sha256  TEXT NOT NULL
) STRICT;

-- nodes: one row per run of a process. Its epoch names its leases and events.
CREATE TABLE nodes (
    epoch        INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT NOT NULL,
    started_at   INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL,
    ended_at     INTEGER NOT NULL DEFAULT 0,
    clean        INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE accounts (
    id           BLOB PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    owner_email  TEXT NOT NULL,
    time_zone    TEXT NOT NULL,
    default_pool BLOB NOT NULL,
    tls          TEXT NOT NULL,
    retry        TEXT NOT NULL,
    system       INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    disabled_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE subusers (
    id           BLOB PRIMARY KEY,
    account_id   BLOB NOT NULL REFERENCES accounts (id),
    name         TEXT NOT NULL UNIQUE,
    email        TEXT NOT NULL,
    default_pool BLOB NOT NULL,
    created_at   INTEGER NOT NULL,
    disabled_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    id                    BLOB PRIMARY KEY,
    account_id            BLOB NOT NULL REFERENCES accounts (id),
    subuser_id            BLOB NOT NULL,
    name                  TEXT NOT NULL,
    scopes                TEXT NOT NULL,
    sha256                BLOB NOT NULL,
    scram_salt            BLOB NOT NULL,
    scram_iterations      INTEGER NOT NULL,
    scram_stored_key      BLOB NOT NULL,
    scram_server_key      BLOB NOT NULL,
    sealed_cram           BLOB NOT NULL,
    prev_sha256           BLOB NOT NULL,
    prev_scram_salt       BLOB NOT NULL,
    prev_scram_iterations INTEGER NOT NULL,
    prev_scram_stored_key BLOB NOT NULL,
    prev_scram_server_key BLOB NOT NULL,
    prev_sealed_cram      BLOB NOT NULL,
    prev_until            INTEGER NOT NULL,
    mode                  TEXT NOT NULL,
    networks              TEXT NOT NULL,
    senders               TEXT NOT NULL,
    recipient_domains     TEXT NOT NULL,
    per_minute            INTEGER NOT NULL,
    per_hour              INTEGER NOT NULL,
    per_day               INTEGER NOT NULL,
    per_month             INTEGER NOT NULL,
    hours                 TEXT NOT NULL,
    canary                INTEGER NOT NULL,
    expires_at            INTEGER NOT NULL,
    created_at            INTEGER NOT NULL,
    disabled_at           INTEGER NOT NULL,
    revoked_at            INTEGER NOT NULL,
    last_used_at          INTEGER NOT NULL DEFAULT 0,
    last_used_from        TEXT NOT NULL DEFAULT '',
    last_used_mechanism   TEXT NOT NULL DEFAULT '',
    last_used_helo        TEXT NOT NULL DEFAULT '',
    use_count             INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_account ON keys (account_id, subuser_id);

CREATE TABLE pools (
    id                        BLOB PRIMARY KEY,
    account_id                BLOB NOT NULL,
    name                      TEXT NOT NULL,
    retry                     TEXT NOT NULL,
    tls                       TEXT NOT NULL,
    return_path_per_recipient INTEGER NOT NULL,
    created_at                INTEGER NOT NULL,
    disabled_at               INTEGER NOT NULL,
    UNIQUE (account_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE pool_addresses (
    pool_id     BLOB NOT NULL REFERENCES pools (id),
    address     TEXT NOT NULL,
    position    INTEGER NOT NULL,
    helo        TEXT NOT NULL,
    disabled_at INTEGER NOT NULL,
    PRIMARY KEY (pool_id, address)
) STRICT, WITHOUT ROWID;

CREATE TABLE domains (
    id          BLOB PRIMARY KEY,
    account_id  BLOB NOT NULL REFERENCES accounts (id),
    name        TEXT NOT NULL,
    state       TEXT NOT NULL,
    asserted_by TEXT NOT NULL,
    subdomains  INTEGER NOT NULL,
    return_path TEXT NOT NULL,
    system      INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    disabled_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- One usable owner of a name; an unproven claim blocks nobody.
CREATE UNIQUE INDEX domains_usable ON domains (name) WHERE disabled_at = 0 AND state IN ('asserted', 'verified');
CREATE UNIQUE INDEX domains_name ON domains (account_id, name) WHERE disabled_at = 0;

CREATE TABLE domain_subusers (
    domain_id  BLOB NOT NULL REFERENCES domains (id),
    subuser_id BLOB NOT NULL REFERENCES subusers (id),
    PRIMARY KEY (domain_id, subuser_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE dkim_keys (
    domain_id  BLOB NOT NULL REFERENCES domains (id),
    selector   TEXT NOT NULL,
    algorithm  TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    record     TEXT NOT NULL,
    active     INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    retired_at INTEGER NOT NULL,
    PRIMARY KEY (domain_id, selector)
) STRICT, WITHOUT ROWID;

-- messages: what was accepted and has recipients left. The columns up to
-- content_size never change; checksum covers them.
CREATE TABLE messages (
    id               BLOB PRIMARY KEY,
    account_id       BLOB NOT NULL,
    subuser_id       BLOB NOT NULL,
    key_id           BLOB NOT NULL,
    pool_id          BLOB NOT NULL,
    domain_id        BLOB NOT NULL,
    envelope_from    BLOB NOT NULL,
    return_path      BLOB NOT NULL,
    body_kind        TEXT NOT NULL,
    smtputf8         INTEGER NOT NULL,
    require_tls      INTEGER NOT NULL,
    ret              TEXT NOT NULL,
    envid            BLOB NOT NULL,
    header_from      BLOB NOT NULL,
    subject          BLOB NOT NULL,
    header_id        BLOB NOT NULL,
    size             INTEGER NOT NULL,
    categories       TEXT NOT NULL,
    unique_args      TEXT NOT NULL,
    accepted_at      INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    source_addr      TEXT NOT NULL,
    source_helo      BLOB NOT NULL,
    source_protocol  TEXT NOT NULL,
    source_tls       TEXT NOT NULL,
    source_mechanism TEXT NOT NULL,
    body_key         BLOB NOT NULL,
    head_chunks      INTEGER NOT NULL,
    body_chunks      INTEGER NOT NULL,
    content_size     INTEGER NOT NULL,
    checksum         BLOB NOT NULL,
    state            TEXT NOT NULL,
    reason           TEXT NOT NULL DEFAULT '',
    signatures       BLOB NOT NULL DEFAULT x'',
    signed_with      TEXT NOT NULL DEFAULT '',
    crashes          INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- recipients: those that are not final yet. lease is the epoch that works on
-- it, started the epoch whose attempt is past its in-flight mark.
CREATE TABLE recipients (
    message_id         BLOB NOT NULL,
    n                  INTEGER NOT NULL,
    lease              INTEGER NOT NULL,
    started            INTEGER NOT NULL DEFAULT 0,
    held               INTEGER NOT NULL,
    generation         INTEGER NOT NULL,
    due_at             INTEGER NOT NULL,
    pool_id            BLOB NOT NULL,
    site               TEXT NOT NULL,
    account_id         BLOB NOT NULL,
    subuser_id         BLOB NOT NULL,
    address            BLOB NOT NULL,
    notify             INTEGER NOT NULL,
    orcpt              BLOB NOT NULL,
    checksum           INTEGER NOT NULL,
    attempts           INTEGER NOT NULL DEFAULT 0,
    possibly_delivered INTEGER NOT NULL DEFAULT 0,
    delay_noticed      INTEGER NOT NULL DEFAULT 0,
    last_reply         TEXT NOT NULL DEFAULT '',
    last_host          TEXT NOT NULL DEFAULT '',
    last_at            INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (message_id, n)
) STRICT, WITHOUT ROWID;
-- What waits, by lane and tenant. A recipient that is accepted and worked on at
-- once never enters it.
CREATE INDEX recipients_due ON recipients (pool_id, site, account_id, subuser_id, due_at)
    WHERE lease = 0 AND held = 0;

-- bodies: sealed chunks. Header section from 0, spilled body from 65536. Not
-- WITHOUT ROWID: each comparison in a b-tree of rows longer than a page would read
-- a whole row.
CREATE TABLE bodies (
    message_id BLOB NOT NULL,
    seq        INTEGER NOT NULL,
    chunk      BLOB NOT NULL,
    PRIMARY KEY (message_id, seq)
) STRICT;

-- pending_bodies: bodies that are still being received by an epoch.
CREATE TABLE pending_bodies (
    message_id BLOB PRIMARY KEY,
    epoch      INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- kept_bodies: bodies of messages that have ended, held until a time.
CREATE TABLE kept_bodies (
    message_id   BLOB PRIMARY KEY,
    account_id   BLOB NOT NULL,
    body_key     BLOB NOT NULL,
    head_chunks  INTEGER NOT NULL,
    body_chunks  INTEGER NOT NULL,
    content_size INTEGER NOT NULL,
    until        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- changes: administrative changes, one hash chain per account.
CREATE TABLE changes (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id BLOB NOT NULL,
    seq        INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    who        TEXT NOT NULL,
    from_addr  TEXT NOT NULL,
    action     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    before     TEXT NOT NULL,
    after      TEXT NOT NULL,
    prev_hash  BLOB NOT NULL,
    hash       BLOB NOT NULL,
    UNIQUE (account_id, seq)
) STRICT;
CREATE INDEX changes_at ON changes (at);

CREATE TABLE change_heads (
    account_id BLOB PRIMARY KEY,
    seq        INTEGER NOT NULL,
    hash       BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- events_<day> and logins_<day> are made as their day comes; see partition.go.
