//! Every type with its edge values: PostgreSQL's own text, the capture's rendering, COPY, and both sides compared.

use anyhow::{Result, ensure};
use re_dms_shared::manifest::{Action, Manifest};
use re_dms_tests::{Aws, Sandbox, postgresql};
use tokio_postgres::Client;

use crate::verify::no_difference_is_found;

/// What types can be made of, before tables.
const MADE: &str = r"
    CREATE EXTENSION hstore; CREATE EXTENSION citext;
    CREATE TYPE mood AS ENUM ('sad', 'so-so, really', 'ha''ppy');
    CREATE DOMAIN amount AS numeric(9,2) CHECK (VALUE > -1000);
    CREATE DOMAIN big_amount AS amount;
    CREATE DOMAIN numbers AS int[];
    CREATE TYPE pair AS (a numeric, b text);
    CREATE TYPE nest AS (p pair, list pair[], at timestamptz, made timestamp, on_day date, h hstore, j jsonb, ok boolean,
                         m mood, x bytea, n big_amount, ns numbers, f float8, lone int);
    CREATE TYPE floats AS RANGE (subtype = float8);";

/// Types with values as PostgreSQL's input takes them. Each has NULL besides.
pub(super) const VALUES: &[(&str, &[&str])] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["-32768", "32767", "0"]),
    ("integer", &["-2147483648", "2147483647"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    ("real", &["0", "-0", "1.17549435e-38", "3.4028235e38", "NaN", "Infinity", "-Infinity", "0.1"]),
    (
        "float8",
        &["-0", "2.2250738585072014e-308", "1.7976931348623157e308", "NaN", "Infinity", "0.1", "1e-300"],
    ),
    ("numeric(18,4)", &["99999999999999.9999", "-0.0001", "NaN", "0"]),
    ("numeric(19,0)", &["9999999999999999999", "-9999999999999999999"]),
    (
        "numeric(38,37)",
        &["9.9999999999999999999999999999999999999", "-0.0000000000000000000000000000000000001"],
    ),
    ("numeric(38,0)", &["99999999999999999999999999999999999999"]),
    ("numeric(5,-2)", &["9999900", "-100"]),
    ("numeric(3,5)", &["0.00999", "-0.00001"]),
    ("numeric(60,40)", &["99999999999999999999.9999999999999999999999999999999999999999", "NaN"]),
    (
        "numeric",
        &[
            "1e100",
            "-1e-100",
            "NaN",
            "Infinity",
            "3.14159265358979323846264338327950288419716939937510",
            "1.10",
        ],
    ),
    ("money", &["92233720368547758.07", "-92233720368547758.08", "-1234.5", "0"]),
    ("char(5)", &["", "ab", "äöü", "😀😀😀😀😀", "a b  "]),
    ("varchar(3)", &["", "😀😀😀", "\\N", "a,b"]),
    ("varchar(20000)", &["", "😀"]),
    ("\"char\"", &["a", "\"", ""]),
    ("name", &["a name", ""]),
    ("citext", &["MiXed", "ä"]),
    (
        "text",
        &[
            "",
            " ",
            " both ends ",
            "\t",
            "\n",
            "\r\n",
            "\"",
            "\"\"",
            "'",
            "\\",
            "\\\\N",
            "\\N",
            "NULL",
            "a,b",
            "\u{1}\u{7f}",
            "😀 emoji",
            "\u{fffe}\u{ffff}",
            "\u{feff}bom",
            "e\u{301}",
            "﷽",
            "\u{200b}",
        ],
    ),
    ("bytea", &["", "\\x00", "\\x00ff10", "\\x5c78"]),
    (
        "date",
        &[
            "0001-01-01",
            "9999-12-31",
            "10000-01-01",
            "0044-03-15 BC",
            "infinity",
            "-infinity",
            "2024-02-29",
            "5874897-12-31",
        ],
    ),
    ("time", &["00:00:00", "23:59:59.999999", "24:00:00"]),
    ("timetz", &["00:00:00+15:59", "23:59:59.999999-15:59", "12:00:00+05:30", "24:00:00+00"]),
    (
        "timestamp",
        &[
            "0001-01-01",
            "9999-12-31 23:59:59.999999",
            "infinity",
            "-infinity",
            "294276-12-31 23:59:59.999999",
            "4713-01-01 BC",
        ],
    ),
    (
        "timestamptz",
        &[
            "0001-01-01 00:00:00+00",
            "9999-12-31 23:59:59.999999+00",
            "infinity",
            "4713-01-01 00:00:00+00 BC",
            "2024-02-29 12:34:56.789012+02",
        ],
    ),
    ("interval", &["-178000000 years", "1 year 2 mons -3 days 04:05:06.789", "0", "@ 1 minute ago"]),
    ("uuid", &["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]),
    ("inet", &["10.1.2.3/8", "::1", "::ffff:1.2.3.4/128", "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"]),
    ("cidr", &["10.0.0.0/8", "2001:db8::/32"]),
    ("macaddr", &["08:00:2b:01:02:03"]),
    ("macaddr8", &["08:00:2b:01:02:03:04:05"]),
    ("bit(4)", &["1010", "0000"]),
    ("varbit(9)", &["", "101010101"]),
    ("varbit", &["", "1"]),
    ("pg_lsn", &["0/0", "FFFFFFFF/FFFFFFFF"]),
    ("oid", &["0", "4294967295"]),
    ("xid", &["4294967295"]),
    ("cid", &["7"]),
    ("xid8", &["18446744073709551615"]),
    ("tid", &["(4294967295,65535)"]),
    ("regtype", &["integer", "character varying"]),
    (
        "json",
        &[
            "{}",
            "[]",
            "null",
            "\"\"",
            r#"{"b": 1.10, "a": [1e5, "x\ny \u00e9 \ud83d\ude00"]}"#,
            r#"["\u0000"]"#,
            r#"["\\u0000"]"#,
            r#"["\ud83d"]"#,
            r#"["\ude00x"]"#,
            " [ 1 ]",
        ],
    ),
    (
        "jsonb",
        &[
            "{}",
            "null",
            r#"{"n": 12345678901234567890.12345678901234567890, "q": "v \" \\ ,"}"#,
            "1e-300",
            "\"😀\"",
        ],
    ),
    ("xml", &["<a b=\"c\">d</a>"]),
    ("tsvector", &["'a':1 'b,c':2"]),
    ("tsquery", &["'a' & !'b'"]),
    ("jsonpath", &["$.a[*] ? (@ > 1)"]),
    ("txid_snapshot", &["10:20:10,14,15"]),
    ("point", &["(1.7976931348623157e308,-2.2250738585072014e-308)", "(NaN,Infinity)"]),
    ("line", &["{-1.7976931348623157e308,-2.2250738585072014e-308,-1.1111111111111112}"]),
    ("lseg", &["[(0.1,0.2),(-3,4e-300)]"]),
    (
        "box",
        &[
            "(1,1),(0,0)",
            "(1.7976931348623157e308,1.1111111111111112e-300),(-1.7976931348623157e308,-1.1111111111111112e-300)",
        ],
    ),
    ("path", &["[(0,0),(1,1)]", "((0,0),(1,1),(2,0))"]),
    ("polygon", &["((0,0),(1,1),(2,0))"]),
    ("circle", &["<(-1.7976931348623157e308,-1.1111111111111112e-300),1.7976931348623157e308>"]),
    ("int4range", &["empty", "[-2147483648,2147483647)", "(,)"]),
    ("int8range", &["[-9223372036854775808,9223372036854775807)"]),
    ("numrange", &["[1e50,1e60]", "empty"]),
    ("daterange", &["[4713-01-01 BC,5874897-12-31)", "[-infinity,infinity]"]),
    ("tsrange", &["[\"4713-01-01 00:00:00.000001 BC\",\"294276-12-31 23:59:59.999999\"]"]),
    ("tstzrange", &["[\"4713-01-01 00:00:00.000001+00 BC\",\"294276-12-31 23:59:59.999999+00\"]"]),
    ("floats", &["[1.5,2.5)"]),
    ("int4multirange", &["{}", "{[1,3),[5,7)}"]),
    ("tstzmultirange", &["{[2024-01-01 00:00:00+00,2024-02-01 00:00:00+00)}"]),
    ("mood", &["sad", "so-so, really", "ha'ppy"]),
    ("amount", &["9999999.99", "-999.5"]),
    ("big_amount", &["0.01"]),
    ("numbers", &["{1,NULL,3}", "{}", "[0:1]={1,2}"]),
    ("boolean[]", &["{t,f,NULL}", "{}"]),
    ("int[]", &["{{1,2},{3,NULL}}", "[-1:0]={1,2}"]),
    ("oid[]", &["{1,4294967295}"]),
    ("float8[]", &["{NaN,Infinity,-Infinity,-0,1e-300,0.1}"]),
    ("numeric[][]", &["{{1.10,2},{3,4}}", "{NaN,123456789012345678901234567890.1}"]),
    ("money[]", &["{1.5,-1234.56}"]),
    (
        "text[]",
        &[
            r#"{"a b","c\"d",NULL,"","NULL","{x}","\\"}"#,
            "{}",
            r#"{{"a,b",c},{"
",e}}"#,
        ],
    ),
    ("varchar(3)[]", &["{abc,\"\"}"]),
    ("char(3)[]", &["{a,bcd}"]),
    ("bytea[]", &[r#"{"\\x00ff",NULL}"#]),
    ("date[]", &["{2024-02-29,infinity,0044-03-15 BC}"]),
    ("time[]", &["{24:00:00}"]),
    ("timestamp[]", &["{2024-02-29 12:34:56.789012,-infinity,0044-03-15 01:02:03 BC}"]),
    ("timestamptz[]", &["{2024-02-29 12:34:56.7+00,infinity,0044-03-15 01:02:03+00 BC}"]),
    ("interval[]", &["{1 day,-1 year}"]),
    ("inet[]", &["{10.0.0.1,::1/64}"]),
    ("json[]", &[r#"{"{\"a\": 1.10}",null,"\"x\""}"#]),
    ("jsonb[]", &[r#"{"{\"a\": [1, \"}\"]}",NULL}"#]),
    ("box[]", &["{(1,1),(0,0);(2,2),(0,0)}"]),
    ("int4range[]", &["{\"[1,3)\",empty}"]),
    ("xml[]", &["{<a/>}"]),
    ("uuid[]", &["{00000000-0000-0000-0000-000000000000}"]),
    ("mood[]", &["{sad,\"so-so, really\",NULL}"]),
    ("amount[]", &["{1.5,NULL}"]),
    ("numbers[]", &[r#"{"{1,2}","{}",NULL}"#]),
    ("citext[]", &["{A,b}"]),
    ("hstore", &["", r#""a"=>"1", "b \"q\""=>NULL, "c"=>"x\\y, 'z'", "d"=>"NULL""#]),
    ("hstore[]", &[r#"{"\"a\"=>\"1\"",""}"#]),
    ("pair", &["(,)", "(1.50,)", r#"(NaN,"say ""hi"", \\ (now)")"#, "(1,\"\")"]),
    ("pair[]", &[r#"{"(1,a)",NULL,"(,\"b \"\"c\"\"\")"}"#, r#"{{"(1,a)"},{"(2,b)"}}"#]),
    (
        "nest",
        &[
            "(,,,,,,,,,,,,,)",
            "(\"(1.10,x)\",\"{\"\"(2,y)\"\",NULL}\",\"2024-02-29 12:00:00.5+00\",\"2024-02-29 12:00:00\",infinity,\"\"\"k\"\"=>\"\"v\"\"\",\"{\"\"a\"\": [1, 2]}\",t,\"so-so, really\",\"\\\\x00ff\",1.5,\"{1,2}\",-Infinity,7)",
        ],
    ),
];

/// A table with a column of every type, and rows that go through each type's values.
async fn make_all(source: &Client) -> Result<()> {
    source.batch_execute(MADE).await?;
    let columns: Vec<String> = VALUES.iter().enumerate().map(|(at, (ty, _))| format!("c{at} {ty}")).collect();
    source
        .batch_execute(&format!("CREATE TABLE everything (id int PRIMARY KEY, {})", columns.join(", ")))
        .await?;
    let most = VALUES.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    for row in 0..=most {
        let literal = |(ty, values): &(&str, &[&str])| match values.get(row % (values.len() + 1)) {
            Some(value) => format!("'{}'::{ty}", value.replace('\'', "''")),
            None => "NULL".to_owned(),
        };
        let values: Vec<String> = VALUES.iter().map(literal).collect();
        source
            .batch_execute(&format!("INSERT INTO everything VALUES ({row}, {})", values.join(", ")))
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_type_makes_the_round_trip() -> Result<()> {
    let sandbox = Sandbox::up_with_source(&postgresql::programs(15)?, "")?;
    let source = sandbox.source().await?;
    make_all(&source).await?;
    sandbox.wait_and_compare()?;
    let warehouse = sandbox.warehouse().await?;
    let value = async |ty: &str, row: i32| -> Result<Option<String>> {
        let at = VALUES.iter().position(|(name, _)| *name == ty).unwrap();
        let sql = format!("SELECT c{at}::text FROM public.everything WHERE id = {row}");
        Ok(warehouse.query_one(&sql, &[]).await?.get(0))
    };
    // The comparison is our own: some values are looked at as they are.
    for (ty, row, expected) in [
        ("pair", 2, r#"{"a": "NaN", "b": "say \"hi\", \\ (now)"}"#),
        ("hstore", 1, r#"{"a": "1", "c": "x\\y, 'z'", "d": "NULL", "b \"q\"": null}"#),
        (
            "timestamptz[]",
            0,
            r#"["2024-02-29T12:34:56.7+00:00", "infinity", "0044-03-15T01:02:03+00:00 BC"]"#,
        ),
        ("money", 2, "-1234.50"),
        ("big_amount", 0, "0.01"),
        ("time", 2, "24:00:00"),
        ("float8[]", 0, r#"["NaN", "Infinity", "-Infinity", -0, 0.000"#),
        ("box[]", 0, r#"["(1,1),(0,0)", "(2,2),(0,0)"]"#),
    ] {
        let found = value(ty, row).await?.unwrap_or_default();
        ensure!(found.starts_with(&expected.replace(", -0,", ", 0,")), "{ty}: {found}");
    }
    ensure!(value("date", 4).await?.is_none() && value("real", 4).await?.is_none());

    // Types that are made while the stream runs, also within the transaction that uses them.
    source
        .batch_execute(
            "CREATE TYPE later AS (x int, y text);
             CREATE TABLE made_later (id int PRIMARY KEY, v later, vs later[]);
             INSERT INTO made_later VALUES (1, '(1,a)', '{\"(2,b)\"}');
             ALTER TYPE mood ADD VALUE 'new';",
        )
        .await?;
    source
        .batch_execute(
            "BEGIN; CREATE DOMAIN even_later AS numeric(5,1); CREATE TABLE latest (id int PRIMARY KEY, d even_later);
             INSERT INTO latest VALUES (1, 12.5); COMMIT;
             INSERT INTO everything (id, c0) VALUES (1000, true);",
        )
        .await?;
    let mood = VALUES.iter().position(|(name, _)| *name == "mood").unwrap();
    source.batch_execute(&format!("INSERT INTO everything (id, c{mood}) VALUES (1001, 'new')")).await?;
    sandbox.wait_and_compare()?;
    ensure!(value("mood", 1001).await?.as_deref() == Some("new"), "a label that is new needs no DDL");
    no_difference_is_found(&sandbox)?;
    let types: String = warehouse
        .query_one(
            "SELECT string_agg(format_type(atttypid, atttypmod), ', ' ORDER BY attrelid, attnum) FROM pg_attribute
             WHERE attrelid IN ('made_later'::regclass, 'latest'::regclass) AND attnum > 1 AND NOT attisdropped",
            &[],
        )
        .await?
        .get(0);
    let mut types: Vec<&str> = types.split(", ").collect();
    types.sort_unstable();
    assert_eq!(types, ["jsonb", "jsonb", "numeric(5,1)"], "SUPER, SUPER, DECIMAL(5,1)");
    Ok(())
}

const RULES: &str = r#"
    [source]
    exclude_columns = ["public.people.ssn", "*.*.secret"]
    hash_columns = ["*.people.email", "*.logins.person", "*.whole.email"]
    hash_key = "a key for tests, nothing else"
    [target.schemas]
    public = "Landing"
    [types]
    numeric_scale = 4
    inexact_numeric = "saturate"
    date = "saturate"
    long_text = "null"
    [[columns]]
    match = "*.values.exact"
    type = "VARCHAR(200)"
    [[columns]]
    match = "*.values.cut"
    type = "VARCHAR(5)"
    long_text = "truncate"
    [[columns]]
    match = "*.values.nothing"
    inexact_numeric = "null"
    date = "null"
"#;

/// Whether any file below holds the text.
fn is_stored(folder: &std::path::Path, text: &str) -> Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if is_stored(&path, text)? {
                return Ok(true);
            }
        } else if std::fs::read(&path)?.windows(text.len()).any(|part| part == text.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[tokio::test]
async fn columns_are_left_out_hashed_and_bent_by_rules() -> Result<()> {
    let mut sandbox = Sandbox::up_with(RULES)?;
    let source = sandbox.source().await?;
    source
        .batch_execute(
            "CREATE TABLE people (id int PRIMARY KEY, email text, ssn text, doc text, secret int);
             ALTER TABLE people ALTER doc SET STORAGE EXTERNAL, ALTER email SET STORAGE EXTERNAL;
             CREATE TABLE logins (person text PRIMARY KEY, at int, secret text);
             CREATE TABLE whole (email text, v int, secret text); ALTER TABLE whole REPLICA IDENTITY FULL;
             CREATE TABLE values (id int PRIMARY KEY, n numeric, exact numeric, cut text, long text, nothing numeric, d date,
                                  t timestamptz, i int);
             INSERT INTO people VALUES (1, 'a@example.org', 'SSN-NEVER-STORED', repeat('doc', 2000), 1), (2, NULL, NULL, NULL, 2);
             INSERT INTO people SELECT 3, repeat('long', 2000), 'SSN-NEVER-STORED';
             INSERT INTO logins VALUES ('a@example.org', 1, 'SSN-NEVER-STORED'), ('other', 2, 'x');
             INSERT INTO whole VALUES ('a@example.org', 1, 'x'), ('a@example.org', 1, 'SSN-NEVER-STORED'), (NULL, 2, 'z');
             INSERT INTO values VALUES (1, 1.00005, 1.00005, 'äöüß', repeat('x', 70000), 1.00005, 'infinity', '-infinity'),
                 (2, 1e40, 1e40, 'abc', 'short', 1.5, '0044-03-15 BC', '20000-01-01 00:00:00+00'),
                 (3, 'NaN', 'NaN', '', '', 'Infinity', '2024-02-29', '2024-02-29 00:00:00+00')",
        )
        .await?;
    sandbox.wait_and_compare()?;
    source
        .batch_execute(
            "UPDATE people SET doc = 'changed' WHERE id = 3; UPDATE people SET email = 'b@example.org' WHERE id = 1;
             UPDATE people SET ssn = 'SSN-NEVER-STORED again' WHERE id = 2;
             UPDATE logins SET person = 'c@example.org' WHERE person = 'other'; DELETE FROM logins WHERE at = 1;
             UPDATE whole SET secret = 'only this' WHERE v = 2; DELETE FROM whole WHERE secret = 'x';
             ALTER TABLE people ADD secret2 text; INSERT INTO people VALUES (4, 'b@example.org', 'SSN-NEVER-STORED', '', 7, 'y')",
        )
        .await?;
    sandbox.wait_and_compare()?;
    no_difference_is_found(&sandbox)?;
    let (equal, report) = sandbox.diff()?;
    ensure!(equal && report.contains("without ssn, secret"), "{report}");

    let warehouse = sandbox.warehouse().await?;
    let row = warehouse
        .query_one(
            "SELECT string_agg(attname::text, ' ' ORDER BY attnum), (SELECT email FROM landing.people WHERE id = 1),
                    (SELECT email FROM landing.people WHERE id = 4), (SELECT email FROM landing.people WHERE id = 2)
             FROM pg_attribute WHERE attrelid = 'landing.people'::regclass AND attnum > 0 AND NOT attisdropped",
            &[],
        )
        .await?;
    assert_eq!(row.get::<_, &str>(0), "id email doc secret2");
    let hash: &str = row.get(1);
    // HMAC-SHA-256 of b@example.org, computed with OpenSSL.
    assert_eq!(hash, "0050054e87992ef94fc9933b7659079bb6d61a71114013e5d803fec55f67f64c");
    assert_eq!(row.get::<_, &str>(2), hash, "equal values have equal hashes");
    assert_eq!(row.get::<_, Option<&str>>(3), None);
    let row = |id: i32| {
        let sql = "SELECT concat_ws('|', n, exact, cut, COALESCE(long, '-'), COALESCE(nothing::text, '-'), d, t AT TIME ZONE 'UTC')
                   FROM landing.values WHERE id = $1";
        let warehouse = &warehouse;
        async move { warehouse.query_one(sql, &[&id]).await.map(|row| row.get::<_, String>(0)) }
    };
    assert_eq!(row(1).await?, "1.0001|1.00005|äö|-|-|9999-12-31|0001-01-01 00:00:00");
    assert!(row(2).await?.starts_with("9999999999999999999999999999999999.9999|10000"), "{}", row(2).await?);
    assert_eq!(row(3).await?, "NaN|||-|2024-02-29|2024-02-29 00:00:00", "NaN in a DECIMAL is NULL");

    let aws = Aws::of(&sandbox).await?;
    let mut met = Vec::new();
    for key in aws.keys("/manifest.json").await? {
        let manifest = Manifest::from_json(&aws.object(&key).await?)?;
        for step in manifest.steps {
            if let Action::Load(load) = step.action {
                met.extend(load.altered.iter().map(|a| format!("{} {} {}", a.column, a.policy, a.values)));
            }
        }
    }
    met.sort_unstable();
    let expected = [
        "cut truncate 1",
        "d saturate 2",
        "long null 1",
        "n null 1",
        "n saturate 2",
        "nothing null 2",
        "t saturate 2",
    ];
    assert_eq!(met, expected);
    sandbox.kill_capture()?;
    let wal = sandbox.capture_data_dir()?.join("wal");
    ensure!(!is_stored(&wal, "SSN-NEVER")?, "a column that is left out is in the local WAL");
    ensure!(!is_stored(&wal, "example.org")?, "a hashed column is in the local WAL");

    // Names that would collide stop the start, all of them at once.
    source
        .batch_execute(
            "CREATE TABLE \"People\" (id int PRIMARY KEY, \"A\" int, a int); CREATE TABLE x (\"oid\" int, oid_ int)",
        )
        .await?;
    ensure!(sandbox.up_again().is_err(), "tables that collide are accepted");
    let log = sandbox.capture_log();
    for told in ["public.People and public.people", "public.People.A and a", "public.x.oid and oid_", "hint:"]
    {
        ensure!(log.contains(told), "{told} is not told:\n{log}");
    }
    Ok(())
}
