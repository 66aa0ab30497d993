-- What Redshift has and PostgreSQL lacks, in schemas that clients never see. Runs at every start; each statement may
-- have been done before.
SET client_min_messages TO warning;
BEGIN;
SELECT pg_advisory_xact_lock(7381203114982);

CREATE SCHEMA IF NOT EXISTS re_dms_standin;
CREATE SCHEMA IF NOT EXISTS re_dms_standin_information_schema;
CREATE SCHEMA IF NOT EXISTS re_dms_standin_data;
GRANT USAGE ON SCHEMA re_dms_standin, re_dms_standin_information_schema TO PUBLIC;

-- Trailing blanks don't count in comparisons of VARCHAR. PostgreSQL's own comparisons of bpchar do just that, on the same
-- representation.
DO $$
DECLARE
    operator record;
BEGIN
    IF to_regoperator('re_dms_standin.=(varchar,varchar)') IS NOT NULL THEN
        RETURN;
    END IF;
    FOR operator IN
        SELECT * FROM (VALUES
            ('eq', '=', 'COMMUTATOR = OPERATOR(re_dms_standin.=), NEGATOR = OPERATOR(re_dms_standin.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES'),
            ('ne', '<>', 'COMMUTATOR = OPERATOR(re_dms_standin.<>), NEGATOR = OPERATOR(re_dms_standin.=), RESTRICT = neqsel, JOIN = neqjoinsel'),
            ('lt', '<', 'COMMUTATOR = OPERATOR(re_dms_standin.>), NEGATOR = OPERATOR(re_dms_standin.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel'),
            ('le', '<=', 'COMMUTATOR = OPERATOR(re_dms_standin.>=), NEGATOR = OPERATOR(re_dms_standin.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel'),
            ('gt', '>', 'COMMUTATOR = OPERATOR(re_dms_standin.<), NEGATOR = OPERATOR(re_dms_standin.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel'),
            ('ge', '>=', 'COMMUTATOR = OPERATOR(re_dms_standin.<=), NEGATOR = OPERATOR(re_dms_standin.<), RESTRICT = scalargesel, JOIN = scalargejoinsel')
        ) AS o(name, symbol, options)
    LOOP
        EXECUTE format(
            'CREATE FUNCTION re_dms_standin.varchar_%1$s(varchar, varchar) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS %2$L',
            operator.name, 'bpchar' || operator.name);
        EXECUTE format(
            'CREATE OPERATOR re_dms_standin.%s (FUNCTION = re_dms_standin.varchar_%s, LEFTARG = varchar, RIGHTARG = varchar, %s)',
            operator.symbol, operator.name, operator.options);
    END LOOP;
    CREATE FUNCTION re_dms_standin.varchar_cmp(varchar, varchar) RETURNS integer
        LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'bpcharcmp';
    CREATE FUNCTION re_dms_standin.varchar_hash(varchar) RETURNS integer
        LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'hashbpchar';
    CREATE FUNCTION re_dms_standin.varchar_hash(varchar, bigint) RETURNS bigint
        LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'hashbpcharextended';
    CREATE OPERATOR CLASS re_dms_standin.varchar_blanks_btree DEFAULT FOR TYPE varchar USING btree AS
        OPERATOR 1 re_dms_standin.<, OPERATOR 2 re_dms_standin.<=, OPERATOR 3 re_dms_standin.=,
        OPERATOR 4 re_dms_standin.>=, OPERATOR 5 re_dms_standin.>,
        FUNCTION 1 re_dms_standin.varchar_cmp(varchar, varchar);
    CREATE OPERATOR CLASS re_dms_standin.varchar_blanks_hash DEFAULT FOR TYPE varchar USING hash AS
        OPERATOR 1 re_dms_standin.=,
        FUNCTION 1 re_dms_standin.varchar_hash(varchar), FUNCTION 2 re_dms_standin.varchar_hash(varchar, bigint);
END
$$;

-- Redshift's functions.
CREATE OR REPLACE FUNCTION re_dms_standin.getdate() RETURNS timestamp LANGUAGE sql STABLE
    AS $$ SELECT date_trunc('second', statement_timestamp() AT TIME ZONE 'UTC') $$;
CREATE OR REPLACE FUNCTION re_dms_standin.sysdate() RETURNS timestamp LANGUAGE sql STABLE
    AS $$ SELECT transaction_timestamp() AT TIME ZONE 'UTC' $$;
CREATE OR REPLACE FUNCTION re_dms_standin.len(text) RETURNS integer LANGUAGE internal IMMUTABLE STRICT AS 'textlen';
CREATE OR REPLACE FUNCTION re_dms_standin.len(varchar) RETURNS integer LANGUAGE internal IMMUTABLE STRICT AS 'textlen';
CREATE OR REPLACE FUNCTION re_dms_standin.len(bpchar) RETURNS integer LANGUAGE internal IMMUTABLE STRICT AS 'bpcharlen';
CREATE OR REPLACE FUNCTION re_dms_standin.len(bytea) RETURNS integer LANGUAGE internal IMMUTABLE STRICT AS 'byteaoctetlen';
-- Text of at most so many bytes, cut between characters.
CREATE OR REPLACE FUNCTION re_dms_standin.cut_long(value text, bytes integer) RETURNS varchar
    LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    encoded bytea := convert_to(value, 'UTF8');
    kept integer := bytes;
BEGIN
    WHILE kept > 0 AND get_byte(encoded, kept) & 192 = 128 LOOP
        kept := kept - 1;
    END LOOP;
    RETURN convert_from(substring(encoded FROM 1 FOR kept), 'UTF8');
END
$$;
CREATE OR REPLACE FUNCTION re_dms_standin.cut(value text, bytes integer) RETURNS varchar LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT CASE WHEN octet_length(value) <= bytes THEN value::varchar
        ELSE re_dms_standin.cut_long(value, bytes) END $$;
CREATE OR REPLACE FUNCTION re_dms_standin.from_hex(text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT decode($1, 'hex') $$;
CREATE OR REPLACE FUNCTION re_dms_standin.to_hex(bytea) RETURNS varchar LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT encode($1, 'hex') $$;
CREATE OR REPLACE FUNCTION re_dms_standin.strtol(value text, base integer) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT
AS $$
BEGIN
    IF base <> 16 OR value !~ '^[0-9a-fA-F]{1,15}$' THEN
        RAISE EXCEPTION 'the stand-in knows STRTOL of up to fifteen hexadecimal digits';
    END IF;
    RETURN ('x' || lpad(value, 16, '0'))::bit(64)::bigint;
END
$$;
-- Of day times; with an offset they are times in UTC.
CREATE OR REPLACE FUNCTION re_dms_standin.microseconds_between(time, time) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT ((extract(epoch FROM $2) - extract(epoch FROM $1)) * 1000000)::bigint $$;
CREATE OR REPLACE FUNCTION re_dms_standin.microseconds_between(timetz, timetz) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT ((extract(epoch FROM $2) - extract(epoch FROM $1)) * 1000000)::bigint $$;
CREATE OR REPLACE FUNCTION re_dms_standin.microseconds_between(timestamp, timestamp) RETURNS bigint LANGUAGE sql IMMUTABLE
    STRICT AS $$ SELECT ((extract(epoch FROM $2) - extract(epoch FROM $1)) * 1000000)::bigint $$;
CREATE OR REPLACE FUNCTION re_dms_standin.json_parse(text) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT $1::jsonb $$;
-- Redshift puts no blanks between JSON's tokens.
CREATE OR REPLACE FUNCTION re_dms_standin.json_serialize(jsonb) RETURNS varchar LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT regexp_replace($1::text, '("(?:[^"\\]|\\.)*")|\s+', '\1', 'g') $$;
CREATE OR REPLACE FUNCTION re_dms_standin.json_serialize_to_varbyte(jsonb) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT convert_to(re_dms_standin.json_serialize($1), 'UTF8') $$;
CREATE OR REPLACE FUNCTION re_dms_standin.nvl2(anyelement, integer, integer) RETURNS integer LANGUAGE sql IMMUTABLE
    AS $$ SELECT CASE WHEN $1 IS NULL THEN $3 ELSE $2 END $$;

-- FNV-1a of 64 bits over a value's bytes in memory, which are little-endian.
CREATE OR REPLACE FUNCTION re_dms_standin.fnv_of_bytes(bytes bytea, seed bigint) RETURNS bigint
    LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    hash bigint := seed;
    product numeric;
BEGIN
    FOR at IN 0 .. octet_length(bytes) - 1 LOOP
        hash := hash # get_byte(bytes, at)::bigint;
        product := mod(hash::numeric * 1099511628211, 18446744073709551616);
        hash := CASE
            WHEN product >= 9223372036854775808 THEN product - 18446744073709551616
            WHEN product < -9223372036854775808 THEN product + 18446744073709551616
            ELSE product END;
    END LOOP;
    RETURN hash;
END
$$;
CREATE OR REPLACE FUNCTION re_dms_standin.fnv_hash(varchar, bigint DEFAULT -3750763034362895579) RETURNS bigint
    LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT re_dms_standin.fnv_of_bytes(convert_to($1, 'UTF8'), $2) $$;
CREATE OR REPLACE FUNCTION re_dms_standin.reversed(bytes bytea) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT string_agg(substring($1 FROM at FOR 1), ''::bytea ORDER BY at DESC)
    FROM generate_series(1, octet_length($1)) AS at $$;
CREATE OR REPLACE FUNCTION re_dms_standin.fnv_hash(smallint, bigint DEFAULT -3750763034362895579) RETURNS bigint
    LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT re_dms_standin.fnv_of_bytes(re_dms_standin.reversed(int2send($1)), $2) $$;
CREATE OR REPLACE FUNCTION re_dms_standin.fnv_hash(integer, bigint DEFAULT -3750763034362895579) RETURNS bigint
    LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT re_dms_standin.fnv_of_bytes(re_dms_standin.reversed(int4send($1)), $2) $$;
CREATE OR REPLACE FUNCTION re_dms_standin.fnv_hash(bigint, bigint DEFAULT -3750763034362895579) RETURNS bigint
    LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT re_dms_standin.fnv_of_bytes(re_dms_standin.reversed(int8send($1)), $2) $$;
CREATE OR REPLACE FUNCTION re_dms_standin.fnv_hash(double precision, bigint DEFAULT -3750763034362895579) RETURNS bigint
    LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT re_dms_standin.fnv_of_bytes(re_dms_standin.reversed(float8send($1)), $2) $$;
CREATE OR REPLACE FUNCTION re_dms_standin.pg_last_copy_count() RETURNS bigint LANGUAGE sql STABLE
    AS $$ SELECT COALESCE(NULLIF(current_setting('re_dms_standin.last_copy_count', true), ''), '-1')::bigint $$;

-- Load errors outlive the transactions that they ended.
CREATE TABLE IF NOT EXISTS re_dms_standin_data.load_error (
    query_id bigint NOT NULL,
    transaction_id bigint NOT NULL,
    session_id integer NOT NULL,
    table_name text NOT NULL,
    start_time timestamp NOT NULL,
    file_name text NOT NULL,
    line_number bigint NOT NULL,
    column_name text NOT NULL,
    column_type text NOT NULL,
    column_length text NOT NULL,
    position integer NOT NULL,
    error_code integer NOT NULL,
    error_message text NOT NULL,
    raw_line text NOT NULL,
    raw_field_value text NOT NULL
);

CREATE OR REPLACE VIEW re_dms_standin.sys_load_error_detail AS
SELECT 100 AS user_id, query_id, transaction_id, session_id, current_database()::char(64) AS database_name,
    COALESCE(to_regclass(quote_ident(table_name))::oid::bigint, 0)::integer AS table_id, start_time,
    file_name::char(256), line_number, column_name::char(127), column_type::char(10),
    column_length::char(10), position, error_code, error_message::char(512)
FROM re_dms_standin_data.load_error;

CREATE OR REPLACE VIEW re_dms_standin.stl_load_errors AS
SELECT 100 AS userid, 0 AS slice, COALESCE(to_regclass(quote_ident(table_name))::oid::bigint, 0)::integer AS tbl,
    start_time AS starttime, session_id AS session, query_id AS query, file_name::char(256) AS filename, line_number,
    column_name::char(127) AS colname, column_type::char(10) AS type, column_length::char(10) AS col_length, position,
    raw_line::char(1024), raw_field_value::char(1024), error_code AS err_code, error_message::char(100) AS err_reason,
    0 AS is_partial, 0 AS start_offset, 0::bigint AS copy_job_id
FROM re_dms_standin_data.load_error;

-- The catalog in Redshift's words.
CREATE OR REPLACE VIEW re_dms_standin_information_schema.columns AS
SELECT c.table_catalog::varchar(128), c.table_schema::varchar(128), c.table_name::varchar(128),
    c.column_name::varchar(128), c.ordinal_position::integer, c.column_default::varchar(4000),
    c.is_nullable::varchar(3),
    (CASE c.udt_name WHEN 'jsonb' THEN 'super' WHEN 'bytea' THEN 'varbyte' ELSE c.data_type END)::varchar(128)
        AS data_type,
    COALESCE(c.character_maximum_length, (
        SELECT max(substring(k.conname FROM '^varbyte_(\d+)_')::integer)
        FROM pg_catalog.pg_constraint AS k
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
        WHERE k.contype = 'c' AND a.attname = c.column_name::name
            AND k.conrelid = to_regclass(format('%I.%I', c.table_schema, c.table_name))
            AND c.udt_name = 'bytea'))::integer AS character_maximum_length,
    c.numeric_precision::integer, c.numeric_precision_radix::integer, c.numeric_scale::integer,
    c.datetime_precision::integer
FROM information_schema.columns AS c
WHERE c.table_schema NOT LIKE 're\_dms\_standin%' AND c.table_schema NOT LIKE 'pg\_%'
    AND c.table_schema <> 'information_schema';

CREATE OR REPLACE VIEW re_dms_standin_information_schema.tables AS
SELECT t.table_catalog::varchar(128), t.table_schema::varchar(128), t.table_name::varchar(128),
    t.table_type::varchar(128)
FROM information_schema.tables AS t
WHERE t.table_schema NOT LIKE 're\_dms\_standin%' AND t.table_schema NOT LIKE 'pg\_%'
    AND t.table_schema <> 'information_schema';

CREATE OR REPLACE VIEW re_dms_standin_information_schema.table_constraints AS
SELECT current_database()::varchar(128) AS constraint_catalog, n.nspname::varchar(128) AS constraint_schema,
    regexp_replace(k.conname, '^named_key_', '')::varchar(128) AS constraint_name,
    current_database()::varchar(128) AS table_catalog, n.nspname::varchar(128) AS table_schema,
    c.relname::varchar(128) AS table_name, 'PRIMARY KEY'::varchar(11) AS constraint_type
FROM pg_catalog.pg_constraint AS k JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.contype = 'c' AND k.conname ~ '^(declared|named)_key_' AND n.nspname NOT LIKE 're\_dms\_standin%';

CREATE OR REPLACE VIEW re_dms_standin.svv_redshift_columns AS
SELECT c.table_catalog AS database_name, c.table_schema AS schema_name, c.table_name, c.column_name,
    c.ordinal_position, c.data_type, c.column_default, c.is_nullable,
    COALESCE(substring(m.encode FROM '^encode_([a-z0-9]+)_'), 'none')::varchar(128) AS encoding,
    m.distkey IS NOT NULL AS distkey,
    COALESCE(substring(m.sortkey FROM '^sortkey_(\d+)_')::integer, substring(m.sortkey FROM '^interleaved_(\d+)_')::integer,
        0) AS sortkey,
    NULL::varchar(128) AS column_acl, NULL::varchar(256) AS remarks
FROM re_dms_standin_information_schema.columns AS c
LEFT JOIN LATERAL (
    SELECT max(k.conname) FILTER (WHERE k.conname ~ '^distkey_') AS distkey,
        max(k.conname) FILTER (WHERE k.conname ~ '^(sortkey|interleaved)_') AS sortkey,
        max(k.conname) FILTER (WHERE k.conname ~ '^encode_') AS encode
    FROM pg_catalog.pg_constraint AS k
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
    WHERE k.contype = 'c' AND a.attname = c.column_name::name
        AND k.conrelid = to_regclass(format('%I.%I', c.table_schema, c.table_name))
) AS m ON true;

CREATE OR REPLACE VIEW re_dms_standin.svv_columns AS
SELECT *, NULL::varchar(256) AS remarks FROM re_dms_standin_information_schema.columns;

CREATE OR REPLACE VIEW re_dms_standin.svv_tables AS
SELECT *, NULL::varchar(256) AS remarks FROM re_dms_standin_information_schema.tables;

CREATE OR REPLACE VIEW re_dms_standin.stv_db_isolation_level AS
SELECT oid::integer AS db_id, current_setting('re_dms_standin.isolation', true)::char(20) AS isolation_level
FROM pg_catalog.pg_database;

CREATE OR REPLACE VIEW re_dms_standin.pg_table_def AS
SELECT table_schema AS schemaname, table_name AS tablename, column_name AS "column",
    (data_type || CASE
        WHEN character_maximum_length IS NOT NULL THEN format('(%s)', character_maximum_length)
        WHEN data_type = 'numeric' THEN format('(%s,%s)', numeric_precision, numeric_scale)
        ELSE '' END)::varchar(128) AS type,
    'none'::varchar(32) AS encoding, false AS distkey, 0 AS sortkey, is_nullable = 'NO' AS notnull
FROM re_dms_standin_information_schema.columns
WHERE table_schema::name = ANY (current_schemas(false));

COMMIT;
