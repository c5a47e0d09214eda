-- No setting of a session, a role or a database is allowed to change what becomes of an event.
-- PostgreSQL reads a function with the settings of the session that calls it first. So the only
-- texts with a backslash here are written E'...', which every setting reads in the same way.
-- Statements end with an empty line.

CREATE OR REPLACE FUNCTION shipper_outbox_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict error
DECLARE
  doc json := NEW.payload;
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
  NEW.destination := coalesce(nullif(NEW.destination, ''), 'default');
  NEW.event_id := coalesce(nullif(NEW.event_id, ''), gen_random_uuid()::text);
  NEW.ordering_key := nullif(NEW.ordering_key, '');
  IF NEW.ordering_key IS NULL THEN
    BEGIN
      body := NEW.payload::text;
      IF body ~ E'\\\\u(0000|[dD][89a-fA-F])' THEN
        mark := md5(body);
        body := regexp_replace(body, E'(\\\\[^u]|\\\\u[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2})|(\\\\u0000|\\\\u[dD][89a-fA-F][0-9a-fA-F]{2})', E'\\1\x01\\2\x02', 'g');
        body := replace(regexp_replace(body, E'\x01\\\\u....\x02', mark, 'g'), E'\x01\x02', '');
        doc := body::json;
      END IF;
      doc := doc -> 'context';
      IF json_typeof(doc) = 'array' THEN
        SELECT entry -> 'user' -> 'id' INTO doc FROM json_array_elements(doc) AS entry
          WHERE json_typeof(entry) = 'object' AND json_typeof(entry -> 'type') = 'string'
            AND entry ->> 'type' = 'user' LIMIT 1;
        key := doc #>> '{}';
        IF json_typeof(doc) = 'string' AND strpos(key, coalesce(mark, key || '.')) = 0 THEN
          NEW.ordering_key := nullif(key, '');
        ELSIF json_typeof(doc) = 'number' AND key ~ '^-?[0-9]{1,18}$' THEN
          NEW.ordering_key := key::bigint::text;
        END IF;
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

-- The trigger also fires when a tool loads rows as a replica: rows without lanes couldn't be
-- shipped in order.
ALTER TABLE shipper_outbox ENABLE ALWAYS TRIGGER shipper_outbox_write;
