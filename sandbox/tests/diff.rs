//! The comparison against real databases: what the policies allow is equal, and everything else is found.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use re_dms_sandbox::diff::{Report, Rules, TableGlobs, Verdict, compare};
use re_dms_sandbox::error::Part;
use re_dms_sandbox::places;
use re_dms_sandbox::postgres::{PostgresBinaries, PostgresOptions, PostgresServer, Wanted};
use re_dms_sandbox::processes::StopOnDrop;
use rustix::process::Signal;
use tokio_postgres::{Client, NoTls};

/// A server with the databases `app` (the source) and `warehouse`.
struct TwoSides {
    source: Client,
    warehouse: Client,
    source_url: String,
    warehouse_url: String,
    _server: StopOnDrop,
    _folder: Remove,
}

/// Removes a folder at the end of a test, also of one that failed.
struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        // The server, which was told to stop just before, may still write.
        for _ in 0..100 {
            let _ = std::fs::remove_dir_all(&self.0);
            if !self.0.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn two_sides() -> TwoSides {
    let binaries = PostgresBinaries::find(Wanted::Source, None, places::venv().as_deref()).unwrap();
    let own = tempfile::tempdir().unwrap();
    let folder = binaries.account().data_folder(own.path()).unwrap();
    let remove = Remove(folder.clone());
    if folder == own.path() {
        let _ = own.keep();
    }
    let log = std::env::temp_dir().join(format!("re_dms-diff-{}.log", std::process::id()));
    let options = PostgresOptions {
        part: Part::Source,
        folder: folder.join("server"),
        port: None,
        database: "app".into(),
        settings: vec![("fsync".into(), "off".into())],
        log: log.clone(),
    };
    let server = PostgresServer::init_and_start(&binaries, &options).await.unwrap();
    let _ = std::fs::remove_file(log);
    let source_url = server.url();
    let guard = server.process.stop_on_drop(Signal::QUIT);
    let source = connect(&source_url).await;
    source.batch_execute("CREATE DATABASE warehouse").await.unwrap();
    let warehouse_url = source_url.replace("/app", "/warehouse");
    let warehouse = connect(&warehouse_url).await;
    TwoSides { source, warehouse, source_url, warehouse_url, _server: guard, _folder: remove }
}

impl TwoSides {
    async fn on_source(&self, sql: &str) {
        self.source.batch_execute(sql).await.unwrap();
    }

    async fn in_warehouse(&self, sql: &str) {
        self.warehouse.batch_execute(sql).await.unwrap();
    }

    async fn compare(&self) -> Report {
        let globs = TableGlobs::new(None, None);
        compare(&self.source_url, &self.warehouse_url, &globs, &Rules::default()).await.unwrap()
    }

    /// The verdict on the only table.
    async fn verdict(&self) -> Verdict {
        let report = self.compare().await;
        assert_eq!(report.tables.len(), 1, "{}", report.to_table());
        report.tables[0].verdict.clone()
    }
}

const EQUAL: Verdict = Verdict::Equal { remark: None };

fn how(verdict: Verdict) -> String {
    match verdict {
        Verdict::Different { how } => how,
        Verdict::Equal { .. } => panic!("equal"),
    }
}

/// Source type, a value on the source, the stand-in's type, the value that arrives.
const VALUES: &[(&str, &str, &str, &str)] = &[
    ("boolean", "true", "boolean", "true"),
    ("smallint", "-7", "smallint", "-7"),
    ("bigint", "9223372036854775807", "bigint", "9223372036854775807"),
    ("oid", "4294967295", "bigint", "4294967295"),
    ("real", "0.1", "real", "0.1"),
    ("double precision", "1e300 / 3", "double precision", "1e300 / 3"),
    ("double precision", "'NaN'", "double precision", "NULL"),
    ("numeric(12,4)", "12.5", "numeric(12,4)", "12.5000"),
    ("numeric(12,4)", "'NaN'", "numeric(12,4)", "NULL"),
    ("numeric", "1.500", "text", "'1.500'"),
    ("numeric", "'NaN'", "text", "'NaN'"),
    ("money", "'-1234.50'", "numeric(19,2)", "-1234.50"),
    ("text", "''", "text", "''"),
    ("text", "'größe, \"x\"\n'", "text", "'größe, \"x\"\n'"),
    ("text", "repeat('ä', 40000)", "text", "repeat('ä', 32767)"),
    ("text", "repeat('a', 65533) || '€uro'", "text", "repeat('a', 65533)"),
    ("text", "repeat('a', 65535)", "text", "repeat('a', 65535)"),
    ("char(5)", "'ab'", "text", "'ab   '"),
    ("char(5)", "'ab'", "text", "'ab'"),
    ("varchar(5)", "'ab '", "text", "'ab '"),
    ("\"char\"", "'x'", "text", "'x'"),
    ("name", "'n'", "text", "'n'"),
    ("bytea", "'\\x00ff'", "bytea", "'\\x00ff'"),
    ("bytea", "''", "bytea", "NULL"),
    ("date", "'2024-02-29'", "date", "'2024-02-29'"),
    ("date", "'infinity'", "date", "NULL"),
    ("date", "'0044-03-15 BC'", "date", "NULL"),
    ("timestamp", "'9999-12-31 23:59:59.999999'", "timestamp", "'9999-12-31 23:59:59.999999'"),
    ("timestamp", "'10000-01-01'", "timestamp", "NULL"),
    ("timestamptz", "'2024-01-01 00:00+05'", "timestamptz", "'2023-12-31 19:00+00'"),
    ("timestamptz", "'-infinity'", "timestamptz", "NULL"),
    ("time", "'23:59:59.5'", "time", "'23:59:59.5'"),
    ("timetz", "'10:00+02'", "timetz", "'08:00+00'"),
    ("interval", "'1 year 2 days 3.5 seconds'", "text", "'1 year 2 days 00:00:03.5'"),
    ("uuid", "'00000000-0000-0000-0000-00000000000A'", "text", "'00000000-0000-0000-0000-00000000000a'"),
    ("inet", "'10.0.0.1'", "text", "'10.0.0.1'"),
    ("cidr", "'10.0.0.0/8'", "text", "'10.0.0.0/8'"),
    ("json", "'{\"b\": 1,  \"a\": [1.0]}'", "jsonb", "'{\"a\":[1.0],\"b\":1}'"),
    ("jsonb", "'null'", "jsonb", "'null'"),
    ("jsonb", "jsonb_build_array(repeat('x', 65536))", "jsonb", "NULL"),
    (
        "jsonb",
        "jsonb_build_array(repeat('x', 65535), 1)",
        "jsonb",
        "jsonb_build_array(repeat('x', 65535), 1)",
    ),
    ("integer[]", "'{{1,2},{3,NULL}}'", "jsonb", "'[[1,2],[3,null]]'"),
    ("integer[]", "'[0:1]={1,2}'", "jsonb", "'[1,2]'"),
    ("double precision[]", "'{1.5,NaN,-Infinity,1e20}'", "jsonb", "'[1.5,\"NaN\",\"-Infinity\",1e20]'"),
    ("oid[]", "'{1}'", "jsonb", "'[\"1\"]'"),
    ("boolean[]", "'{t,f,NULL}'", "jsonb", "'[true,false,null]'"),
    ("text[]", "ARRAY['a \"b\"', NULL, '', 'NULL']", "jsonb", "'[\"a \\\"b\\\"\",null,\"\",\"NULL\"]'"),
    ("inet[]", "'{10.0.0.1}'", "jsonb", "'[\"10.0.0.1\"]'"),
    ("timestamp[]", "'{2024-01-01 10:00}'", "jsonb", "'[\"2024-01-01T10:00:00\"]'"),
    ("jsonb[]", "ARRAY['{\"a\": 1}'::jsonb]", "jsonb", "'[{\"a\":1}]'"),
    ("int4range", "'[1,5)'", "text", "'[1,5)'"),
    ("point", "'(1,2)'", "text", "'(1,2)'"),
    ("mood", "'sad'", "text", "'sad'"),
    ("pair", "ROW(1, NULL)", "jsonb", "'{\"a\":1,\"b\":null}'"),
];

#[tokio::test]
async fn every_type_has_a_common_form() {
    let sides = two_sides().await;
    sides.on_source("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text)").await;
    for (number, (source_type, value, target_type, arrived)) in VALUES.iter().enumerate() {
        let table = |ty: &str, value: &str| {
            format!(
                "CREATE TABLE v{number:03} (id int PRIMARY KEY, \"V\" {ty}); \
                 INSERT INTO v{number:03} VALUES (1, {value}), (2, NULL)"
            )
        };
        sides.on_source(&table(source_type, value)).await;
        sides.in_warehouse(&table(target_type, arrived).replace("\"V\"", "v")).await;
    }
    let report = sides.compare().await;
    assert_eq!(report.tables.len(), VALUES.len());
    let wrong: Vec<_> = report
        .tables
        .iter()
        .zip(VALUES)
        .filter(|(table, _)| table.verdict != EQUAL)
        .map(|(table, value)| (value, &table.verdict))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Each of those comparisons sees that NULL is not the value.
    let has_value = |number: &usize| VALUES[*number].3 != "NULL";
    for number in (0..VALUES.len()).filter(has_value) {
        sides.in_warehouse(&format!("UPDATE v{number:03} SET v = NULL")).await;
    }
    let report = sides.compare().await;
    let blind: Vec<_> = (0..VALUES.len())
        .filter(has_value)
        .filter(|&number| report.tables[number].verdict == EQUAL)
        .map(|number| VALUES[number])
        .collect();
    assert!(blind.is_empty(), "{blind:#?}");
}

#[tokio::test]
async fn differences_are_found_and_counted() {
    let sides = two_sides().await;
    let create = "CREATE TABLE t (id int, note text)";
    sides.on_source(create).await;
    assert_eq!(
        sides.verdict().await,
        Verdict::Equal { remark: Some("no rows yet, and no table in the warehouse".into()) }
    );
    sides.on_source("INSERT INTO t SELECT g, g::text FROM generate_series(1, 1000) g").await;
    assert_eq!(how(sides.verdict().await), "no such table in the warehouse");

    sides.in_warehouse(create).await;
    sides.in_warehouse("INSERT INTO t SELECT g, g::text FROM generate_series(1000, 1, -1) g").await;
    assert_eq!(sides.verdict().await, EQUAL, "the order of rows does not matter");

    sides.in_warehouse("UPDATE t SET note = note || 'x' WHERE id IN (5, 6)").await;
    assert_eq!(how(sides.verdict().await), "2 only on the source; 2 only in the warehouse; columns note");
    sides.in_warehouse("UPDATE t SET note = id WHERE id IN (5, 6)").await;

    // The counts are the same, and so are the sets of rows.
    sides.in_warehouse("DELETE FROM t WHERE id = 7; INSERT INTO t VALUES (8, '8')").await;
    assert_eq!(how(sides.verdict().await), "1 only on the source; 1 only in the warehouse; columns id, note");
    sides.in_warehouse("INSERT INTO t VALUES (7, '7')").await;
    assert_eq!(how(sides.verdict().await), "1 only in the warehouse", "a row that is there twice");

    sides.in_warehouse("ALTER TABLE t DROP COLUMN note").await;
    assert_eq!(how(sides.verdict().await), "column note is missing");
    sides.in_warehouse("ALTER TABLE t ADD note int").await;
    assert_eq!(how(sides.verdict().await), "column note is of type int4");
}

#[tokio::test]
async fn partitions_count_once_and_names_are_folded() {
    let sides = two_sides().await;
    sides
        .on_source(
            "CREATE SCHEMA \"Sales\";
             CREATE TABLE \"Sales\".\"Orders\" (\"Id\" int, xmin_ int, g int GENERATED ALWAYS AS (\"Id\" + 1) STORED)
                 PARTITION BY RANGE (\"Id\");
             CREATE TABLE \"Sales\".p1 PARTITION OF \"Sales\".\"Orders\" FOR VALUES FROM (0) TO (10);
             CREATE TABLE \"Sales\".p2 PARTITION OF \"Sales\".\"Orders\" FOR VALUES FROM (10) TO (20);
             CREATE UNLOGGED TABLE not_replicated (id int);
             INSERT INTO not_replicated VALUES (1);
             INSERT INTO \"Sales\".\"Orders\" SELECT i, i FROM generate_series(0, 19) i",
        )
        .await;
    sides
        .in_warehouse(
            "CREATE SCHEMA sales; CREATE TABLE sales.orders (id int, xmin_ int);
             INSERT INTO sales.orders SELECT i, i FROM generate_series(0, 19) i",
        )
        .await;
    assert_eq!(sides.verdict().await, EQUAL);
}
