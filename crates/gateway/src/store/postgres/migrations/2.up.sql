-- Version 2: what expires.

CREATE TABLE vestibule.entry (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key     text   COLLATE "C" NOT NULL UNIQUE,
    value   bytea  NOT NULL,
    version bigint NOT NULL,                -- random, so that no version stands for two entries
    expires bigint NOT NULL                 -- microseconds since 1970
);
CREATE INDEX entry_by_expiry ON vestibule.entry (expires);

CREATE TABLE vestibule.member (
    "group" text   COLLATE "C" NOT NULL,
    key     text   COLLATE "C" NOT NULL,
    entry   bigint NOT NULL REFERENCES vestibule.entry (id) ON DELETE CASCADE,
    PRIMARY KEY ("group", key)
);
CREATE INDEX member_by_entry ON vestibule.member (entry);

-- 0 inserted, 1 exists, 2 full.
CREATE FUNCTION vestibule.insert_entry(
    the_key text, the_value bytea, the_version bigint, now bigint, until bigint, groups text[], limiting text, most bigint
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    made bigint;
BEGIN
    IF limiting IS NOT NULL THEN
        -- One at a time in each group, or two would take its last place.
        PERFORM pg_advisory_xact_lock(hashtextextended(limiting, 0));
    END IF;
    DELETE FROM vestibule.entry WHERE key = the_key AND expires <= now;
    IF limiting IS NOT NULL THEN
        IF EXISTS (SELECT FROM vestibule.entry WHERE key = the_key) THEN
            RETURN 1;
        END IF;
        IF most <= (SELECT count(*) FROM (
            SELECT FROM vestibule.member JOIN vestibule.entry ON entry.id = member.entry
                WHERE member."group" = limiting AND entry.expires > now LIMIT most) AS live)
        THEN
            RETURN 2;
        END IF;
    END IF;
    INSERT INTO vestibule.entry (key, value, version, expires) VALUES (the_key, the_value, the_version, until)
        ON CONFLICT (key) DO NOTHING RETURNING id INTO made;
    IF made IS NULL THEN
        RETURN 1;
    END IF;
    INSERT INTO vestibule.member ("group", key, entry) SELECT DISTINCT given, the_key, made FROM unnest(groups) AS given;
    RETURN 0;
END $$;

-- The keys that were live. Rows are locked in one order, or two that end overlapping groups would wait for each other.
CREATE FUNCTION vestibule.remove_group(the_group text, now bigint, mark text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    doomed bigint[];
    ended text[];
    message text;
BEGIN
    doomed := ARRAY(SELECT entry.id FROM vestibule.entry
        WHERE entry.id IN (SELECT member.entry FROM vestibule.member WHERE member."group" = the_group)
        ORDER BY entry.id FOR UPDATE);
    WITH removed AS (DELETE FROM vestibule.entry WHERE id = ANY (doomed) RETURNING key, expires)
        SELECT array_agg(key ORDER BY key) FROM removed WHERE expires > now INTO ended;
    IF ended IS NOT NULL THEN
        message := mark || array_to_string(ended, E'\n');
        -- A message has less than 8000 octets.
        PERFORM pg_notify('vestibule_entries', CASE WHEN octet_length(message) < 7900 THEN message ELSE mark || '*' END);
    END IF;
    RETURN coalesce(ended, '{}');
END $$;
