-- Version 1: what lasts. A published file is never edited: a change of the schema is a further pair of files, and the
-- program before it must be able to go on working beside it, or a rolling upgrade would stop what still runs.

CREATE TABLE vestibule."user" (
    id       bytea  PRIMARY KEY,
    tenant   text   COLLATE "C" NOT NULL,
    name     text   COLLATE "C" NOT NULL,
    epoch    bigint NOT NULL,
    password text,                          -- PHC form
    record   text   NOT NULL,               -- JSON, everything but the password
    UNIQUE (tenant, name)
);

CREATE TABLE vestibule.external_id (
    tenant text  COLLATE "C" NOT NULL,
    issuer text  COLLATE "C" NOT NULL,
    id     text  COLLATE "C" NOT NULL,
    "user" bytea NOT NULL REFERENCES vestibule."user" (id) ON DELETE CASCADE,
    PRIMARY KEY (tenant, issuer, id)
);
CREATE INDEX external_id_by_user ON vestibule.external_id ("user");

CREATE TABLE vestibule.user_group (
    tenant  text  COLLATE "C" NOT NULL,
    "group" text  COLLATE "C" NOT NULL,
    name    text  COLLATE "C" NOT NULL,     -- the user's, for listing in order
    "user"  bytea NOT NULL REFERENCES vestibule."user" (id) ON DELETE CASCADE,
    PRIMARY KEY (tenant, "group", name)
);
CREATE INDEX user_group_by_user ON vestibule.user_group ("user");

CREATE TABLE vestibule.signing_key (
    id        text  PRIMARY KEY,
    purpose   text  NOT NULL,
    algorithm text  NOT NULL,
    state     text  NOT NULL,               -- JSON
    public    text  NOT NULL,
    sealed    bytea NOT NULL,
    created   text  NOT NULL,               -- RFC 3339
    changed   text  NOT NULL
);
CREATE INDEX signing_key_by_purpose ON vestibule.signing_key (purpose);

CREATE TABLE vestibule.decision (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_id bytea  NOT NULL UNIQUE,
    record     text   NOT NULL              -- JSON
);

CREATE TABLE vestibule.setting (
    name  text  PRIMARY KEY,
    value bytea NOT NULL
);

CREATE TABLE vestibule.installation (
    id    integer PRIMARY KEY CHECK (id = 1),
    epoch bigint  NOT NULL                  -- raised when a backup is restored
);
INSERT INTO vestibule.installation (id, epoch) VALUES (1, 1);

-- What points to a user: its external ids and groups. A name or id of another user's is a unique_violation.
CREATE FUNCTION vestibule.point_to_user(the_id bytea, the_tenant text, the_name text, issuers text[], ids text[], groups text[])
RETURNS void LANGUAGE sql AS $$
    INSERT INTO vestibule.external_id (tenant, issuer, id, "user")
        SELECT DISTINCT the_tenant, given.issuer, given.id, the_id FROM unnest(issuers, ids) AS given (issuer, id);
    INSERT INTO vestibule.user_group (tenant, "group", name, "user")
        SELECT DISTINCT the_tenant, given, the_name, the_id FROM unnest(groups) AS given;
$$;

CREATE FUNCTION vestibule.insert_user(
    the_id bytea, the_tenant text, the_name text, the_epoch bigint, the_password text, the_record text,
    issuers text[], ids text[], groups text[]
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO vestibule."user" (id, tenant, name, epoch, password, record)
        VALUES (the_id, the_tenant, the_name, the_epoch, the_password, the_record);
    PERFORM vestibule.point_to_user(the_id, the_tenant, the_name, issuers, ids, groups);
    RETURN true;
EXCEPTION WHEN unique_violation THEN
    RETURN false;
END $$;

CREATE FUNCTION vestibule.update_user(
    the_id bytea, the_tenant text, the_name text, the_epoch bigint, the_password text, the_record text,
    issuers text[], ids text[], groups text[], expected_epoch bigint, message text
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    -- Of several writers the later waits here, and then finds another epoch.
    UPDATE vestibule."user" SET name = the_name, epoch = the_epoch, password = the_password, record = the_record
        WHERE id = the_id AND tenant = the_tenant AND epoch = expected_epoch;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM vestibule.external_id WHERE "user" = the_id;
    DELETE FROM vestibule.user_group WHERE "user" = the_id;
    PERFORM vestibule.point_to_user(the_id, the_tenant, the_name, issuers, ids, groups);
    PERFORM pg_notify('vestibule_users', message);
    RETURN true;
EXCEPTION WHEN unique_violation THEN
    RETURN false;
END $$;
