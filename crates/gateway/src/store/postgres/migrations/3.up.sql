-- Version 3: histories.

CREATE TABLE vestibule.history (
    number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind    text   COLLATE "C" NOT NULL,
    tenant  text   COLLATE "C" NOT NULL,
    subject text   COLLATE "C",
    record  text   NOT NULL                 -- JSON
);
CREATE INDEX history_by_tenant ON vestibule.history (kind, tenant, number);
CREATE INDEX history_by_subject ON vestibule.history (kind, tenant, subject, number);
