-- +goose Up

-- users: people. subuser_id is empty for people of the account itself. password is
-- an Argon2id hash, totp a sealed secret; both are empty where there is none.
CREATE TABLE users (
    id          BYTEA PRIMARY KEY,
    account_id  BYTEA NOT NULL REFERENCES accounts (id),
    subuser_id  BYTEA NOT NULL,
    username    TEXT NOT NULL,
    email       TEXT NOT NULL,
    first_name  TEXT NOT NULL,
    last_name   TEXT NOT NULL,
    role        TEXT NOT NULL,
    scopes      TEXT NOT NULL,
    restricted  BIGINT NOT NULL,
    subusers    TEXT NOT NULL,
    password    TEXT NOT NULL,
    password_at BIGINT NOT NULL,
    totp        BYTEA NOT NULL,
    totp_step   BIGINT NOT NULL,
    totp_at     BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    invited_by  TEXT NOT NULL,
    disabled_at BIGINT NOT NULL,
    deleted_at  BIGINT NOT NULL,
    seen_at     BIGINT NOT NULL,
    seen_from   TEXT NOT NULL
);
CREATE INDEX users_account ON users (account_id, subuser_id);

-- user_names: by what people who are not deleted are found: user name and e-mail
-- address in lower case. They are one space, so that nobody's user name is the
-- address of another.
CREATE TABLE user_names (
    name    TEXT PRIMARY KEY,
    user_id BYTEA NOT NULL REFERENCES users (id)
);
CREATE INDEX user_names_user ON user_names (user_id);

-- sessions: hash is the SHA-256 of the cookie's token.
CREATE TABLE sessions (
    id          BYTEA PRIMARY KEY,
    user_id     BYTEA NOT NULL REFERENCES users (id),
    hash        BYTEA NOT NULL CHECK (length(hash) = 32),
    level       TEXT NOT NULL,
    method      TEXT NOT NULL,
    addr        TEXT NOT NULL,
    agent       TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    seen_at     BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    fresh_until BIGINT NOT NULL,
    tries       BIGINT NOT NULL,
    pending     BYTEA NOT NULL
);
CREATE UNIQUE INDEX sessions_hash ON sessions (hash);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expires ON sessions (expires_at);

-- recovery_codes: those that are left, by their SHA-256.
CREATE TABLE recovery_codes (
    user_id BYTEA NOT NULL REFERENCES users (id),
    hash    BYTEA NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (user_id, hash)
);

-- passkeys: id is the credential's own.
CREATE TABLE passkeys (
    id         BYTEA PRIMARY KEY,
    user_id    BYTEA NOT NULL REFERENCES users (id),
    name       TEXT NOT NULL,
    credential BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    used_at    BIGINT NOT NULL
);
CREATE INDEX passkeys_user ON passkeys (user_id);

-- links: one-time links, by the SHA-256 of their token. user_id is empty for a
-- person to be; address is email in lower case.
CREATE TABLE links (
    hash       BYTEA PRIMARY KEY CHECK (length(hash) = 32),
    kind       TEXT NOT NULL,
    account_id BYTEA NOT NULL REFERENCES accounts (id),
    subuser_id BYTEA NOT NULL,
    user_id    BYTEA NOT NULL,
    email      TEXT NOT NULL,
    address    TEXT NOT NULL,
    role       TEXT NOT NULL,
    scopes     TEXT NOT NULL,
    restricted BIGINT NOT NULL,
    subusers   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT NOT NULL
);
CREATE INDEX links_account ON links (account_id, address);
CREATE INDEX links_user ON links (user_id) WHERE length(user_id) > 0;
CREATE INDEX links_expires ON links (expires_at);

-- issuances: who a person is at an issuer of single sign-on.
CREATE TABLE issuances (
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    user_id    BYTEA NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    used_at    BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX issuances_user ON issuances (user_id);
