-- The key of an ordinary event in a short way: if the first entry of the context is the user, no query
-- searches the entries; and no regular expression reads a payload without an escape like \u00e9. Each
-- payload has the key that it had before. Statements end with an empty line.
--
-- PostgreSQL raises an error when it takes a value from a JSON text that has the escape of a NUL, or of
-- a surrogate without its other half, anywhere. So the function replaces each such escape by `mark`
-- before it reads the context. `mark` is the MD5 of the payload, a text that the payload doesn't
-- contain: a key that contains it had such an escape, and isn't used, because PostgreSQL can't store
-- it. The first regexp_replace goes from left to right, so that \\u0000, a backslash and five characters,
-- isn't taken for a NUL. It puts \x01\x02 behind each pair of surrogates and each escape like \n, which
-- stay, and puts each escape that has to go between \x01 and \x02. No JSON text has these two characters.
--
-- Without such an escape, `mark` is NULL, and `coalesce(mark, key || '.')` is longer than the key: so
-- strpos can't find it in the key, and returns 0, as for a key without `mark`.
--
-- Every error while the key is derived leaves it NULL: it must never make the application's INSERT
-- fail. A statement that is cancelled still ends, because OTHERS doesn't include that.

CREATE OR REPLACE FUNCTION shipper_outbox_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict error
DECLARE
  doc json;
  body text;
  mark text;
  key text;
BEGIN
  IF NEW.event_id ~ E'[\\x01-\\x1f\\x7f-\\x9f]' OR char_length(NEW.event_id) > 255 THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'shipper_outbox.event_id: must be a text of 1 to 255 characters, none of them a control character';
  ELSIF char_length(NEW.ordering_key) > 255 THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'shipper_outbox.ordering_key: must be a text of up to 255 characters without NUL';
  ELSIF char_length(NEW.destination) > 255 THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'shipper_outbox.destination: must be a text of up to 255 characters without NUL';
  END IF;
  IF coalesce(NEW.destination, '') = '' THEN
    NEW.destination := 'default';
  END IF;
  IF coalesce(NEW.event_id, '') = '' THEN
    NEW.event_id := gen_random_uuid()::text;
  END IF;
  IF coalesce(NEW.ordering_key, '') = '' THEN
    BEGIN
      NEW.ordering_key := NULL;
      IF strpos(NEW.payload::text, E'\\u') > 0
        AND NEW.payload::text ~ E'\\\\u(0000|[dD][89a-fA-F])' THEN
        body := NEW.payload::text;
        mark := md5(body);
        body := regexp_replace(body, E'(\\\\[^u]|\\\\u[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2})|(\\\\u0000|\\\\u[dD][89a-fA-F][0-9a-fA-F]{2})', E'\\1\x01\\2\x02', 'g');
        body := replace(regexp_replace(body, E'\x01\\\\u....\x02', mark, 'g'), E'\x01\x02', '');
        doc := body::json -> 'context';
      ELSE
        doc := NEW.payload -> 'context';
      END IF;
      IF doc -> 0 ->> 'type' = 'user' THEN
        doc := doc -> 0 -> 'user' -> 'id';
      ELSIF json_typeof(doc) = 'array' THEN
        SELECT entry -> 'user' -> 'id' INTO doc FROM json_array_elements(doc) AS entry
          WHERE json_typeof(entry) = 'object' AND json_typeof(entry -> 'type') = 'string'
            AND entry ->> 'type' = 'user' LIMIT 1;
      ELSE
        doc := NULL;
      END IF;
      key := doc #>> '{}';
      IF json_typeof(doc) = 'string' AND strpos(key, coalesce(mark, key || '.')) = 0 THEN
        NEW.ordering_key := nullif(key, '');
      ELSIF json_typeof(doc) = 'number' AND key ~ '^-?[0-9]{1,18}$' THEN
        NEW.ordering_key := key::bigint::text;
      END IF;
    EXCEPTION WHEN OTHERS THEN
      NEW.ordering_key := NULL;
    END;
  END IF;
  NEW.lane := hashtextextended((NEW.destination || chr(31) || NEW.ordering_key) COLLATE "C", 0);
  NEW.slot := coalesce(NEW.lane, hashtextextended(NEW.event_id COLLATE "C", 0)) & 255;
  RETURN NEW;
END
$$;
