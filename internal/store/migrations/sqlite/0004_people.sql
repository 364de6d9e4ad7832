-- +goose Up

-- users: people. subuser_id is empty for people of the account itself. password is
-- an Argon2id hash, totp a sealed secret; both are empty where there is none.
CREATE TABLE users (
    id          BLOB PRIMARY KEY,
    account_id  BLOB NOT NULL REFERENCES accounts (id),
    subuser_id  BLOB NOT NULL,
    username    TEXT NOT NULL,
    email       TEXT NOT NULL,
    first_name  TEXT NOT NULL,
    last_name   TEXT NOT NULL,
    role        TEXT NOT NULL,
    scopes      TEXT NOT NULL,
    restricted  INTEGER NOT NULL,
    subusers    TEXT NOT NULL,
    password    TEXT NOT NULL,
    password_at INTEGER NOT NULL,
    totp        BLOB NOT NULL,
    totp_step   INTEGER NOT NULL,
    totp_at     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    invited_by  TEXT NOT NULL,
    disabled_at INTEGER NOT NULL,
    deleted_at  INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL,
    seen_from   TEXT NOT NULL
) STRICT;
CREATE INDEX users_account ON users (account_id, subuser_id);

-- user_names: by what people who are not deleted are found: user name and e-mail
-- address in lower case. They are one space, so that nobody's user name is the
-- address of another.
CREATE TABLE user_names (
    name    TEXT PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX user_names_user ON user_names (user_id);

-- sessions: hash is the SHA-256 of the cookie's token.
CREATE TABLE sessions (
    id          BLOB PRIMARY KEY,
    user_id     BLOB NOT NULL REFERENCES users (id),
    hash        BLOB NOT NULL CHECK (length(hash) = 32),
    level       TEXT NOT NULL,
    method      TEXT NOT NULL,
    addr        TEXT NOT NULL,
    agent       TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    fresh_until INTEGER NOT NULL,
    tries       INTEGER NOT NULL,
    pending     BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX sessions_hash ON sessions (hash);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expires ON sessions (expires_at);

-- recovery_codes: those that are left, by their SHA-256.
CREATE TABLE recovery_codes (
    user_id BLOB NOT NULL REFERENCES users (id),
    hash    BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (user_id, hash)
) STRICT, WITHOUT ROWID;

-- passkeys: id is the credential's own.
CREATE TABLE passkeys (
    id         BLOB PRIMARY KEY,
    user_id    BLOB NOT NULL REFERENCES users (id),
    name       TEXT NOT NULL,
    credential BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX passkeys_user ON passkeys (user_id);

-- links: one-time links, by the SHA-256 of their token. user_id is empty for a
-- person to be; address is email in lower case.
CREATE TABLE links (
    hash       BLOB PRIMARY KEY CHECK (length(hash) = 32),
    kind       TEXT NOT NULL,
    account_id BLOB NOT NULL REFERENCES accounts (id),
    subuser_id BLOB NOT NULL,
    user_id    BLOB NOT NULL,
    email      TEXT NOT NULL,
    address    TEXT NOT NULL,
    role       TEXT NOT NULL,
    scopes     TEXT NOT NULL,
    restricted INTEGER NOT NULL,
    subusers   TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX links_account ON links (account_id, address);
CREATE INDEX links_user ON links (user_id) WHERE length(user_id) > 0;
CREATE INDEX links_expires ON links (expires_at);

-- issuances: who a person is at an issuer of single sign-on.
CREATE TABLE issuances (
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    user_id    BLOB NOT NULL REFERENCES users (id),
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX issuances_user ON issuances (user_id);
