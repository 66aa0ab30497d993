//! Values of every type drawn from a seed, written, changed and read anew: PostgreSQL makes them, both sides are compared.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use re_dms_tests::{Sandbox, postgresql};
use tokio_postgres::Client;

/// Texts of all that has a meaning somewhere on the way, and what the types below need.
const MADE: &str = r#"
    CREATE EXTENSION hstore; CREATE EXTENSION citext;
    CREATE TYPE mood AS ENUM ('sad', 'so-so, really', 'ha''ppy');
    CREATE TYPE pair AS (a numeric, b text);
    CREATE DOMAIN amount AS numeric(9,2);
    CREATE FUNCTION noise(most int DEFAULT 24) RETURNS text LANGUAGE plpgsql VOLATILE AS $noise$
    DECLARE
        pieces CONSTANT text[] := ARRAY['a', 'B', '7', ' ', ',', '"', '''', '\', E'\n', E'\r', E'\t', '{', '}', '[', ']', '(', ')',
            ':', ';', '|', '%', '\N', '\0', 'NULL', 'null', '/*', '--', '$1', '=>', E'\x01', E'\x7f', 'ä', 'é', '﷽', '😀', E'\u200b', E'\ufeff',
            E'\ufffe', 'true', '0', '-', '::int'];
        made text := '';
    BEGIN
        FOR n IN 1 .. floor(random() * most)::int LOOP
            made := made || pieces[1 + floor(random() * cardinality(pieces))::int];
        END LOOP;
        RETURN made;
    END $noise$;
    CREATE FUNCTION number(digits float8) RETURNS float8 LANGUAGE sql VOLATILE AS
        $$ SELECT (random() - 0.5) * 10.0::float8 ^ ((random() - 0.5) * 2 * digits) $$;
    CREATE FUNCTION moment() RETURNS timestamp LANGUAGE sql VOLATILE AS
        $$ SELECT timestamp '0001-01-01' + floor(random() * 3652058) * interval '1 day' + random() * interval '86399 s' $$;
    CREATE FUNCTION bytes() RETURNS bytea LANGUAGE sql VOLATILE AS
        $$ SELECT substr(decode(md5(random()::text), 'hex'), 1, 1 + floor(random() * 16)::int) $$;
"#;

/// Types, and expressions that give another value each time.
const VALUES: &[(&str, &str)] = &[
    ("boolean", "random() < 0.5"),
    ("smallint", "floor(random() * 65536)::int - 32768"),
    ("integer", "(floor(random() * 4294967296) - 2147483648)::bigint"),
    ("bigint", "('x' || substr(md5(random()::text), 1, 16))::bit(64)::bigint"),
    ("real", "number(36)::real"),
    ("float8", "number(300)"),
    ("numeric(18,4)", "number(13)::numeric"),
    ("numeric(38,12)", "(number(7)::numeric * 1000000000000000000 + random()::numeric / 100000)"),
    ("numeric(6,-2)", "number(7)::numeric"),
    ("numeric", "number(40)::numeric * random()::numeric"),
    ("money", "number(12)::numeric::money"),
    ("char(6)", "left(noise(), 6)"),
    ("varchar(10)", "left(noise(), 10)"),
    ("text", "noise(200)"),
    ("citext", "noise()"),
    ("name", "left(noise(), 15)"),
    ("bytea", "bytes()"),
    ("date", "moment()::date"),
    ("time", "moment()::time"),
    ("timetz", "moment()::time AT TIME ZONE interval '5:30'"),
    ("timestamp", "moment()"),
    ("timestamptz", "moment() AT TIME ZONE 'UTC'"),
    ("interval", "number(3) * interval '1 month' + number(6) * interval '1 second'"),
    ("uuid", "md5(random()::text)::uuid"),
    ("inet", "('10.' || floor(random() * 256) || '.0.1/' || floor(random() * 33))::inet"),
    ("bit(8)", "floor(random() * 256)::int::bit(8)"),
    ("varbit", "left(floor(random() * 256)::int::bit(8)::text, 1 + floor(random() * 8)::int)"),
    ("oid", "floor(random() * 4294967296)::bigint::oid"),
    ("pg_lsn", "'0/0'::pg_lsn + floor(random() * 1e18)::numeric"),
    ("point", "point(number(300), number(5))"),
    ("box", "box(point(number(5), number(5)), point(number(5), number(5)))"),
    ("int4range", "int4range(floor(random() * 10)::int, 10 + floor(random() * 10)::int)"),
    ("tstzrange", "tstzrange(moment() AT TIME ZONE 'UTC', NULL)"),
    ("tsvector", "to_tsvector('simple', noise())"),
    ("mood", "(enum_range(NULL::mood))[1 + floor(random() * 3)::int]"),
    ("amount", "number(6)::numeric"),
    (
        "json",
        "json_build_object(noise(), noise(), 'n', number(20), 'l', json_build_array(noise(), NULL, true))",
    ),
    (
        "jsonb",
        "jsonb_build_object(noise() || 'k', noise(), 'n', number(40)::numeric, 'l', jsonb_build_array(noise(), NULL))",
    ),
    ("hstore", "hstore(ARRAY[noise() || 'k', noise(), 'null', NULL])"),
    ("pair", "ROW(number(20)::numeric, noise())::pair"),
    ("pair[]", "ARRAY[ROW(number(20)::numeric, noise())::pair, NULL, ROW(NULL, noise())::pair]"),
    ("integer[]", "ARRAY[ARRAY[floor(random() * 100)::int, NULL], ARRAY[1, 2]]"),
    ("numeric[]", "ARRAY[number(30)::numeric, NULL]"),
    ("float8[]", "ARRAY[number(300), NULL]"),
    ("text[]", "ARRAY[noise(), NULL, noise()]"),
    ("bytea[]", "ARRAY[bytes(), NULL]"),
    ("timestamptz[]", "ARRAY[moment() AT TIME ZONE 'UTC', NULL]"),
    ("mood[]", "(enum_range(NULL::mood))[1 : floor(random() * 4)::int]"),
];

/// Every tenth value is NULL.
fn drawn((ty, expression): &(&str, &str)) -> String {
    format!("CASE WHEN random() < 0.1 THEN NULL ELSE ({expression})::{ty} END")
}

/// Rows of a key and a column of each type.
async fn insert(source: &Client, table: &str, ids: &str) -> Result<()> {
    let values: Vec<_> = VALUES.iter().map(drawn).collect();
    let sql = format!("INSERT INTO {table} SELECT g, {} FROM generate_series({ids}) AS g", values.join(", "));
    source.batch_execute(&sql).await.with_context(|| table.to_owned())
}

/// Other values in some columns of some rows.
async fn update(source: &Client, table: &str, nth: usize) -> Result<()> {
    let columns = VALUES.iter().enumerate().filter(|(at, _)| at % 3 == nth);
    let changed: Vec<_> = columns.map(|(at, value)| format!("c{at} = {}", drawn(value))).collect();
    let sql = format!("UPDATE {table} SET {} WHERE id % 4 = {nth}", changed.join(", "));
    source.batch_execute(&sql).await.with_context(|| table.to_owned())
}

async fn make_the_round_trip(seed: f64) -> Result<()> {
    let sandbox = Sandbox::up_with_source(&postgresql::programs(15)?, "")?;
    let source = sandbox.source().await?;
    source.batch_execute(MADE).await?;
    source.batch_execute(&format!("SELECT setseed({seed})")).await?;
    let columns: Vec<_> = VALUES.iter().enumerate().map(|(at, (ty, _))| format!("c{at} {ty}")).collect();
    let columns = columns.join(", ");
    source
        .batch_execute(&format!(
            "CREATE TABLE keyed (id int PRIMARY KEY, {columns}); CREATE TABLE keyless (id int, {columns});
             ALTER TABLE keyless REPLICA IDENTITY FULL"
        ))
        .await?;
    for table in ["keyed", "keyless"] {
        insert(&source, table, "1, 60").await?;
    }
    sandbox.wait_and_compare()?;
    for nth in 0..3 {
        for table in ["keyed", "keyless"] {
            update(&source, table, nth).await?;
        }
    }
    source
        .batch_execute(
            "UPDATE keyed SET id = id + 1000 WHERE id % 5 = 0; DELETE FROM keyless WHERE id % 7 = 0;
             INSERT INTO keyless SELECT * FROM keyless WHERE id < 10; DELETE FROM keyless WHERE ctid IN (SELECT max(ctid) FROM keyless)",
        )
        .await?;
    sandbox.wait_and_compare()?;
    // Through an initial copy's files, too.
    insert(&source, "keyed", "2000, 2030").await?;
    let config = sandbox.text("capture_config")?.to_owned();
    let asked = re_dms_tests::run("re_dms", &["tables", "resync", "public.keyed", "--config", &config])?;
    anyhow::ensure!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    sandbox.wait_and_compare()?;
    sandbox.down()
}

#[tokio::test]
async fn random_values_of_every_type_make_the_round_trip() -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let seed: f64 = match std::env::var("RE_DMS_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => f64::from(now.subsec_micros()) / 1e6,
    };
    make_the_round_trip(seed).await.with_context(|| format!("RE_DMS_SEED={seed} draws the same values"))
}
