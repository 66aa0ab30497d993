-- The event trigger of one publication, whose name, quoted names made of it, and definition.sql are filled in by
-- ddl_trigger.rs.
CREATE SCHEMA IF NOT EXISTS re_dms;
GRANT USAGE ON SCHEMA re_dms TO PUBLIC;

CREATE OR REPLACE FUNCTION re_dms.definition(bigint, text) RETURNS text LANGUAGE sql STABLE AS $definition$
@definition@
$definition$;

-- Tells what became of tables, within the transaction that did it, and never makes a command fail.
CREATE OR REPLACE FUNCTION re_dms.@function@() RETURNS event_trigger LANGUAGE plpgsql
SET search_path = pg_catalog SET standard_conforming_strings = on
SET DateStyle = 'ISO' SET TimeZone = 'UTC' SET IntervalStyle = 'postgres'
SET extra_float_digits = 3 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $body$
DECLARE
    publication CONSTANT text := @publication@;
    changed record;
    rewritten oid;
    query text;
    gone json;
    definition text;
BEGIN
    IF tg_event = 'sql_drop' THEN
        SELECT json_agg(objid::bigint) INTO gone FROM pg_event_trigger_dropped_objects()
        WHERE classid = 'pg_class'::regclass AND object_type = 'table' AND NOT is_temporary;
        IF gone IS NOT NULL THEN
            PERFORM pg_logical_emit_message(true, 're_dms.ddl', convert_to(json_build_object(
                'publication', publication, 'event', 'dropped', 'tables', gone)::text, 'UTF8'));
        END IF;
    ELSIF tg_event = 'table_rewrite' THEN
        rewritten := pg_event_trigger_table_rewrite_oid();
        query := lower(current_query());
        -- What this text does not say, another statement of it, or a function, may have done.
        PERFORM pg_logical_emit_message(true, 're_dms.ddl', convert_to(json_build_object(
            'publication', publication, 'event', 'rewrite',
            'oid', COALESCE(pg_partition_root(rewritten)::oid, rewritten)::bigint,
            'plain', query ~ '^\s*alter\s+table\s'
                AND query !~ '\m(using|select|with|do|call|execute|function|procedure)\M')::text, 'UTF8'));
    ELSE
        FOR changed IN
            SELECT c.oid, bool_or(d.command_tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO')) AS created
            FROM pg_event_trigger_ddl_commands() AS d
            JOIN pg_class AS c ON (d.classid = 'pg_class'::regclass AND c.oid = d.objid)
                OR (d.classid = 'pg_namespace'::regclass AND c.relnamespace = d.objid)
            WHERE @is_published@
            GROUP BY c.oid
        LOOP
            definition := re_dms.definition(changed.oid::bigint, publication);
            PERFORM pg_logical_emit_message(true, 're_dms.ddl', convert_to(json_build_object(
                'publication', publication, 'event', 'table', 'created', changed.created,
                'table', definition::json)::text, 'UTF8'));
        END LOOP;
    END IF;
    -- A message has the position where its record ends, a row's change that where its own begins. This block is a
    -- subtransaction, and PostgreSQL merges its messages with the changes around it by position: the record that follows
    -- directly would come first. So that is one that means nothing.
    PERFORM pg_logical_emit_message(true, 're_dms.end', '');
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 're_dms: a change of a table could not be told: %', sqlerrm;
    -- So the capture asks again from here on.
    BEGIN
        PERFORM pg_logical_emit_message(true, 're_dms.ddl', convert_to(json_build_object(
            'publication', publication, 'event', 'removed')::text, 'UTF8'));
        PERFORM pg_logical_emit_message(true, 're_dms.end', '');
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 're_dms: nor that: %', sqlerrm;
    END;
END
$body$;

DROP EVENT TRIGGER IF EXISTS @ended@;
CREATE EVENT TRIGGER @ended@ ON ddl_command_end EXECUTE FUNCTION re_dms.@function@();
ALTER EVENT TRIGGER @ended@ ENABLE ALWAYS;
DROP EVENT TRIGGER IF EXISTS @dropped@;
CREATE EVENT TRIGGER @dropped@ ON sql_drop EXECUTE FUNCTION re_dms.@function@();
ALTER EVENT TRIGGER @dropped@ ENABLE ALWAYS;
DROP EVENT TRIGGER IF EXISTS @rewriting@;
CREATE EVENT TRIGGER @rewriting@ ON table_rewrite EXECUTE FUNCTION re_dms.@function@();
ALTER EVENT TRIGGER @rewriting@ ENABLE ALWAYS;

-- How everything is now: what comes later is told from here on.
SELECT pg_catalog.pg_logical_emit_message(true, 're_dms.ddl', convert_to(json_build_object(
    'publication', p.pubname, 'event', 'table', 'created', false,
    'table', re_dms.definition(c.oid::bigint, p.pubname)::json)::text, 'UTF8'))
FROM pg_catalog.pg_publication_tables AS p
JOIN pg_catalog.pg_namespace AS n ON n.nspname = p.schemaname
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = p.tablename
WHERE p.pubname = @publication@;
SELECT pg_catalog.pg_logical_emit_message(true, 're_dms.ddl', convert_to(json_build_object(
    'publication', @publication@, 'event', 'installed')::text, 'UTF8'));
