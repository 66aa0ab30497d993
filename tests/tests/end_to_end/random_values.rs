//! Values of every type drawn from a seed, edges among them, written, changed and read anew: PostgreSQL makes them, both
//! sides are compared. The source prints them in every form that it has but the one that the capture wants.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use re_dms_tests::{Sandbox, postgresql};
use tokio_postgres::Client;

use super::types;
use super::verify::no_difference_is_found;

/// What PostgreSQL prints for those who do not say what they want.
const FORMS: &str = "
    ALTER DATABASE {d} SET DateStyle = 'German, DMY'; ALTER DATABASE {d} SET IntervalStyle = 'iso_8601';
    ALTER DATABASE {d} SET TimeZone = 'Asia/Kathmandu'; ALTER DATABASE {d} SET extra_float_digits = -10;
    ALTER DATABASE {d} SET bytea_output = 'escape'; ALTER DATABASE {d} SET standard_conforming_strings = off;
    ALTER DATABASE {d} SET xmloption = 'document'; ALTER DATABASE {d} SET search_path = 'nowhere'";

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
    ("numeric(19,4)", "number(14)::numeric"),
    ("numeric(3,5)", "(random()::numeric / 1000)"),
    ("numeric(39,2)", "number(30)::numeric"),
    ("numeric(38,38)", "(random()::numeric / 7)"),
    ("varchar(20000)", "noise(2000)"),
    ("varchar", "noise()"),
    ("\"char\"", "left(noise(), 1)"),
    ("cidr", "network(('10.' || floor(random() * 256) || '.0.1/' || floor(random() * 33))::inet)"),
    ("macaddr", "right(md5(random()::text), 12)::macaddr"),
    ("macaddr8", "right(md5(random()::text), 16)::macaddr8"),
    ("varbit(9)", "left(floor(random() * 256)::int::bit(8)::text, 1 + floor(random() * 8)::int)"),
    ("xid", "floor(random() * 4294967296)::bigint::text"),
    ("cid", "floor(random() * 4294967296)::bigint::text"),
    ("xid8", "floor(random() * 1e19)::numeric::text"),
    ("tid", "format('(%s,%s)', floor(random() * 4294967296)::bigint, floor(random() * 65536)::int)"),
    ("regclass", "(ARRAY['pg_class', 'pg_type', 'pg_attribute'])[1 + floor(random() * 3)::int]"),
    ("int8range", "int8range(floor(random() * 1e15)::bigint - 1000000000000000, NULL, '(]')"),
    ("daterange", "daterange(moment()::date, NULL)"),
    ("tsrange", "tsrange(NULL, moment(), '[]')"),
    ("numrange", "numrange(-abs(number(20)::numeric) - 1, abs(number(20)::numeric))"),
    ("int4multirange", "int4multirange(int4range(1, 2 + floor(random() * 9)::int), int4range(20, NULL))"),
    ("line", "line(point(number(5), number(5)), point(number(5), 7e9))"),
    ("lseg", "lseg(point(number(300), number(5)), point(number(5), number(5)))"),
    ("circle", "circle(point(number(5), number(5)), abs(number(5)))"),
    ("path", "path(polygon(box(point(number(5), number(5)), point(number(5), number(5)))))"),
    (
        "xml",
        "xmlelement(name element, xmlattributes('at, \"tr\"' AS a), replace(md5(random()::text), 'a', '<&>'))",
    ),
    ("jsonb[]", "ARRAY[jsonb_build_object('k', noise()), NULL, to_jsonb(number(20))]"),
    ("box[]", "ARRAY[box(point(number(5), number(5)), point(1, 1)), NULL]"),
];

/// The page's names of what is called otherwise here; none for what is not to be had without PostGIS.
const CALLED: &[(&str, Option<&str>)] = &[
    ("double precision", Some("float8")),
    ("numeric(5,-2)", Some("numeric(6,-2)")),
    ("char(10)", Some("char(6)")),
    ("bit(4)", Some("bit(8)")),
    ("bit varying(9)", Some("varbit(9)")),
    ("bit varying", Some("varbit")),
    ("enum", Some("mood")),
    ("domain", Some("amount")),
    ("composite", Some("pair")),
    ("array of any of these", Some("pair[]")),
    // One that nobody built in is among the edges.
    ("range", Some("numrange")),
    ("PostGIS's `geometry`, `geography`", None),
    ("any other extension's", Some("citext")),
];

#[test]
fn every_type_of_the_page_is_drawn() {
    let page = include_str!("../../../docs/types.md");
    let called: BTreeMap<_, _> = CALLED.iter().copied().collect();
    for (heading, quoted) in [("| PostgreSQL |", true), ("| of the source's own |", false)] {
        let rows = page.lines().skip_while(|line| !line.starts_with(heading)).skip(2);
        for row in rows.take_while(|line| line.starts_with('|')) {
            let cell = row.split('|').nth(1).unwrap().trim();
            let is_quoted = quoted || cell.starts_with('`');
            let names: Vec<_> =
                if is_quoted { cell.split('`').skip(1).step_by(2).collect() } else { vec![cell] };
            for name in names {
                let Some(name) = called.get(name).copied().unwrap_or(Some(name)) else { continue };
                assert!(VALUES.iter().any(|(drawn, _)| *drawn == name), "{name} is not drawn");
            }
        }
    }
}

/// Every tenth value is NULL, and nearly as many are edges, of those types that have some.
fn drawn((ty, expression): &(&str, &str)) -> String {
    let edges = types::VALUES.iter().find(|(of, _)| of == ty).map_or(&[][..], |(_, values)| values);
    let edges: Vec<_> = edges.iter().map(|value| format!("'{}'", value.replace('\'', "''"))).collect();
    let edge = if edges.is_empty() {
        String::new()
    } else {
        let (most, edges) = (edges.len(), edges.join(", "));
        format!(" WHEN random() < 0.1 THEN (ARRAY[{edges}])[1 + floor(random() * {most})::int]::{ty}")
    };
    format!("CASE WHEN random() < 0.1 THEN NULL{edge} ELSE ({expression})::{ty} END")
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
    let mut sandbox = Sandbox::up_with_source(&postgresql::programs(15)?, "")?;
    let source = sandbox.source().await?;
    let database: String = source.query_one("SELECT quote_ident(current_database())", &[]).await?.get(0);
    source.batch_execute(&FORMS.replace("{d}", &database)).await?;
    sandbox.restart_capture()?;
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
    // Rows from before get constants, as whoever looks at the catalog is told them.
    for table in ["keyed", "keyless"] {
        source
            .batch_execute(&format!(
                "ALTER TABLE {table} ADD d1 date DEFAULT '2020-02-01', ADD d2 timestamptz DEFAULT '2020-02-01 03:04:05.678+02',
                 ADD d3 interval DEFAULT '1 year -2 days 03:04:05', ADD d4 bytea DEFAULT '\\xff005c', ADD d5 float8 DEFAULT 1e-7::float8 / 3,
                 ADD d6 money DEFAULT -1234.5, ADD d7 timestamp[] DEFAULT '{{2020-02-01 03:04:05,NULL}}', ADD d8 text DEFAULT E'a\\\\b''c'"
            ))
            .await?;
    }
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
    no_difference_is_found(&sandbox)?;
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
