-- What an INSERT with a payload alone costs is mostly the search for its key. The old search sorted
-- at each level of the JSON, and for each sort SQLite allocates and frees a page cache, whatever
-- the payload. Now nothing is sorted, and most payloads need no search.
-- Statements end with an empty line.

DROP TRIGGER shipper_outbox_derive;

-- If the key is left out, it is the id of the first user in the context, if that can be read.
--
-- The short way is for a first entry that is exactly {"type":"user","user":{"id":"…"}}. SQLite
-- writes the entry without blanks, and the id without escapes: so the two texts are equal only if
-- the entry has no other name, no name twice, and no escape. json_extract takes the first of two
-- equal names, and reads a name up to a NUL escape. So the name "context" must be in the payload
-- once; no letter may be written as an escape (\u0061 to \u007a), because such a name can be the
-- same; and there may be no NUL escape. A payload without the name, and without such an escape, has
-- no key, and its row isn't written again. GLOB searches a long text much faster than instr.
--
-- The careful way is for all other payloads. Each json_each gets a value that it can read, or NULL,
-- so it never raises an error. If a name occurs twice, the last one counts, as in every other reader
-- of JSON: the columns beside max() and min() are those of its row. SQLite would end the id at a NUL
-- escape, so the trigger replaces the escape by two lone surrogates. It doesn't use a key with a
-- lone surrogate, which isn't UTF-8: SQLite reads surrogates as U+FFFD, as it does the three
-- characters that the trigger removes first.
CREATE TRIGGER shipper_outbox_derive AFTER INSERT ON shipper_outbox
WHEN coalesce(NEW.ordering_key, '') = '' AND (NEW.ordering_key IS NOT NULL
  OR NEW.payload GLOB '*context"*' OR NEW.payload GLOB '*\u00[067]*')
BEGIN
  UPDATE shipper_outbox SET ordering_key = CASE
    WHEN json_extract(NEW.payload, '$.context[0]') = '{"type":"user","user":{"id":"'
        || json_extract(NEW.payload, '$.context[0].user.id') || '"}}'
      AND NOT NEW.payload GLOB '*context"*context"*' AND NOT NEW.payload GLOB '*\u00[067]*'
      AND NOT json_extract(NEW.payload, '$.context[0].user.id') GLOB '*' || char(65533) || '*'
    THEN nullif(json_extract(NEW.payload, '$.context[0].user.id'), '')
    ELSE (
      SELECT CASE
        WHEN type = 'integer' AND typeof(value) = 'integer'
          AND value BETWEEN -999999999999999999 AND 999999999999999999 THEN CAST(value AS TEXT)
        WHEN type = 'text' AND value <> ''
          AND NOT replace(replace(replace(value, char(65533), ''), char(65534), ''), char(65535), '')
            GLOB '*' || char(65533) || '*' THEN value
        END
      FROM (SELECT max(i.id), i.type, i.value FROM json_each((
        SELECT CASE type WHEN 'object' THEN value END
        FROM (SELECT max(u.id), u.type, u.value FROM json_each((
          SELECT value
          FROM (SELECT min(e.id), e.value FROM json_each((
            SELECT CASE type WHEN 'array' THEN value END
            FROM (SELECT max(c.id), c.type, c.value FROM json_each(
              CASE WHEN instr(NEW.payload, '\u0000') = 0 THEN NEW.payload ELSE
                replace(replace(replace(NEW.payload, '\\', char(1)), '\u0000', '\udc00\udc00'),
                  char(1), '\\') END) AS c
              WHERE c.key = 'context'))) AS e
            WHERE e.type = 'object' AND (
              SELECT CASE type WHEN 'text' THEN value END
              FROM (SELECT max(t.id), t.type, t.value FROM json_each(e.value) AS t
                WHERE t.key = 'type')) = 'user'))) AS u
          WHERE u.key = 'user'))) AS i
        WHERE i.key = 'id'))
    END
  WHERE id = NEW.id;
END;
