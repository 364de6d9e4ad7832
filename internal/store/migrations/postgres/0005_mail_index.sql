-- +goose Up

-- consumers: how far each reader of the logs has come, and which run of a process
-- may move it on.
CREATE TABLE consumers (
    name       TEXT PRIMARY KEY,
    cursor     TEXT NOT NULL,
    held_by    BIGINT NOT NULL DEFAULT 0,
    held_until BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL DEFAULT 0
);

-- mail: what is searched, a row for each recipient of a message, by the UTC day of
-- the message's id (at is that day's first microsecond). ref is its place in that
-- day: the time it was accepted, and what tells it from others of that moment.
CREATE TABLE mail (
    at          BIGINT NOT NULL,
    ref         BIGINT NOT NULL,
    message_id  BYTEA NOT NULL,
    n           BIGINT NOT NULL,
    account_id  BYTEA NOT NULL,
    owner_id    BYTEA NOT NULL,
    key_id      BYTEA NOT NULL,
    rcpt        TEXT COLLATE "C" NOT NULL,
    rdomain     TEXT COLLATE "C" NOT NULL,
    sender      TEXT COLLATE "C" NOT NULL,
    sdomain     TEXT COLLATE "C" NOT NULL,
    envelope    TEXT COLLATE "C" NOT NULL,
    subject     TEXT NOT NULL,
    shown       TEXT NOT NULL,
    size        BIGINT NOT NULL,
    accepted_at BIGINT NOT NULL,
    state       BIGINT NOT NULL,
    state_at    BIGINT NOT NULL,
    attempts    BIGINT NOT NULL,
    next_at     BIGINT NOT NULL,
    code        BIGINT NOT NULL,
    reply       TEXT NOT NULL,
    host        TEXT NOT NULL,
    count       BIGINT NOT NULL,
    PRIMARY KEY (message_id, n, at)
) PARTITION BY RANGE (at);
CREATE UNIQUE INDEX mail_ref ON mail (ref, at);
CREATE INDEX mail_owner ON mail (owner_id, ref);
CREATE INDEX mail_account ON mail (account_id, ref) WHERE owner_id <> account_id;
CREATE INDEX mail_key ON mail (key_id, ref);
CREATE INDEX mail_rcpt ON mail (rcpt, ref);
CREATE INDEX mail_rdomain ON mail (rdomain, ref);
CREATE INDEX mail_sender ON mail (sender, ref);
CREATE INDEX mail_sdomain ON mail (sdomain, ref);
CREATE INDEX mail_envelope ON mail (envelope, ref) WHERE envelope <> '';
CREATE INDEX mail_state ON mail (state, ref) WHERE state <> 20;

-- mailhours: what happened in an hour. kind says what subject is: 0 all of the
-- installation, 1 an account alone, 2 an account's subusers together, 3 a subuser,
-- 4 a key.
CREATE TABLE mailhours (
    at        BIGINT NOT NULL,
    kind      BIGINT NOT NULL,
    subject   BYTEA NOT NULL,
    received  BIGINT NOT NULL,
    delivered BIGINT NOT NULL,
    deferred  BIGINT NOT NULL,
    bounced   BIGINT NOT NULL,
    dropped   BIGINT NOT NULL,
    held      BIGINT NOT NULL,
    refused   BIGINT NOT NULL,
    PRIMARY KEY (kind, subject, at)
) PARTITION BY RANGE (at);

-- loginhours: logins of an hour by result, mechanism, TLS version and network.
CREATE TABLE loginhours (
    at        BIGINT NOT NULL,
    kind      BIGINT NOT NULL,
    subject   BYTEA NOT NULL,
    dimension TEXT NOT NULL,
    name      TEXT NOT NULL,
    ok        BIGINT NOT NULL,
    refused   BIGINT NOT NULL,
    PRIMARY KEY (kind, subject, at, dimension, name)
) PARTITION BY RANGE (at);
