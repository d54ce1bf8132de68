-- Version 2: histories.

CREATE TABLE history (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    kind    TEXT NOT NULL,
    tenant  TEXT NOT NULL,
    subject TEXT,
    record  TEXT NOT NULL                   -- JSON
) STRICT;
CREATE INDEX history_by_tenant ON history (kind, tenant, number);
CREATE INDEX history_by_subject ON history (kind, tenant, subject, number);
