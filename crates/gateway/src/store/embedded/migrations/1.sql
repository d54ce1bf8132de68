-- Version 1. A published file is never edited: a change of the schema is a further file.

CREATE TABLE entry (
    id      INTEGER PRIMARY KEY,
    key     TEXT    NOT NULL UNIQUE,
    value   BLOB    NOT NULL,
    version INTEGER NOT NULL,           -- random, so that no version stands for two entries
    expires INTEGER NOT NULL            -- microseconds since 1970
) STRICT;
CREATE INDEX entry_by_expiry ON entry (expires);

CREATE TABLE member (
    "group" TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    entry   INTEGER NOT NULL REFERENCES entry (id) ON DELETE CASCADE,
    PRIMARY KEY ("group", key)
) STRICT, WITHOUT ROWID;
CREATE INDEX member_by_entry ON member (entry);

CREATE TABLE user (
    id       BLOB    PRIMARY KEY NOT NULL,
    tenant   TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    epoch    INTEGER NOT NULL,
    password TEXT,                      -- PHC form
    record   TEXT    NOT NULL,          -- JSON, everything but the password
    UNIQUE (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE external_id (
    tenant TEXT NOT NULL,
    issuer TEXT NOT NULL,
    id     TEXT NOT NULL,
    user   BLOB NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    PRIMARY KEY (tenant, issuer, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX external_id_by_user ON external_id (user);

CREATE TABLE user_group (
    tenant  TEXT NOT NULL,
    "group" TEXT NOT NULL,
    name    TEXT NOT NULL,              -- the user's, for listing in order
    user    BLOB NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    PRIMARY KEY (tenant, "group", name)
) STRICT, WITHOUT ROWID;
CREATE INDEX user_group_by_user ON user_group (user);

CREATE TABLE signing_key (
    id        TEXT PRIMARY KEY NOT NULL,
    purpose   TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    state     TEXT NOT NULL,            -- JSON
    public    TEXT NOT NULL,
    sealed    BLOB NOT NULL,
    created   TEXT NOT NULL,            -- RFC 3339
    changed   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX signing_key_by_purpose ON signing_key (purpose);

CREATE TABLE decision (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id BLOB NOT NULL UNIQUE,
    record     TEXT NOT NULL            -- JSON
) STRICT;

CREATE TABLE setting (
    name  TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE installation (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL              -- raised when a backup is restored
) STRICT;
INSERT INTO installation (id, epoch) VALUES (1, 1);
