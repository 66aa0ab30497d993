//! What passes and what doesn't, statement by statement.

use super::*;

fn translate(sql: &str) -> Result<Command, SqlError> {
    parse(&tokens(sql)?, "x")
}

fn shown(sql: &str) -> String {
    match translate(sql) {
        Ok(
            Command::Query { sql, .. }
            | Command::Utility { sql, .. }
            | Command::Change { sql, .. }
            | Command::Lock(sql)
            | Command::Set(sql),
        ) => sql,
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("ERROR: {error}"),
    }
}

/// Compares statements and their translations with a golden file.
fn golden(name: &str, statements: &[&str]) {
    let transcript: String = statements.iter().map(|sql| format!("{sql}\n  -> {}\n", shown(sql))).collect();
    insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!(name, transcript) });
}

#[test]
fn what_a_loader_sends() {
    golden(
        "what_a_loader_sends",
        &[
            r#"LOCK "re_dms"."ledger_main""#,
            r#"SELECT 1 / COUNT(*) FROM (SELECT COALESCE(MAX("seq"), 0) AS "last" FROM "re_dms"."ledger_main" WHERE "epoch" = '7-1-s-00') AS "g" WHERE "g"."last" = 41"#,
            r#"CREATE SCHEMA IF NOT EXISTS "App""#,
            r#"CREATE TABLE IF NOT EXISTS "app"."t" ("id" BIGINT, "name" VARCHAR(40), "doc" SUPER, "raw" VARBYTE(16), "at" TIMESTAMP NOT NULL, PRIMARY KEY ("id"))"#,
            r#"CREATE TEMP TABLE "re_dms_stage_0001" ("re_dms_op" VARCHAR(1), "re_dms_set" INTEGER, "id" BIGINT, "price" DECIMAL(20,4))"#,
            r#"COPY "re_dms_stage_0001" ("re_dms_op","re_dms_set","id") FROM 's3://b/p/0001-t.copy.json' IAM_ROLE 'arn:aws:iam::123456789012:role/copy' FORMAT AS CSV GZIP MANIFEST NULL AS '\0' TIMEFORMAT 'auto' DATEFORMAT 'auto' MAXERROR 0 COMPUPDATE OFF STATUPDATE OFF"#,
            r#"DELETE FROM "app"."t" USING "re_dms_stage_0001" AS "s" WHERE "app"."t"."id" = "s"."id" AND LEN("app"."t"."k") = LEN("s"."k") AND "s"."re_dms_op" IN ('d', 'r')"#,
            r#"UPDATE "app"."t" SET "a" = "s"."a" FROM "re_dms_stage_0001" AS "s" WHERE "app"."t"."id" = "s"."id" AND "s"."re_dms_set" = 0"#,
            r#"INSERT INTO "app"."t" ("id", "name") SELECT "id", "name" FROM "re_dms_stage_0001" WHERE "re_dms_op" = 'i'"#,
            r#"INSERT INTO "re_dms"."ledger_main" ("epoch", "seq", "loaded_at") VALUES ('E', 42, GETDATE())"#,
            r#"ALTER TABLE "app"."t" ADD COLUMN "extra" VARCHAR(100) DEFAULT 'it''s'"#,
            r#"ALTER TABLE "app"."t" ALTER COLUMN "name" TYPE VARCHAR(80)"#,
            r#"SELECT "column_name", "data_type" FROM "svv_columns" WHERE "table_schema" = 'app'"#,
            r#"SELECT table_name FROM information_schema.tables"#,
        ],
    );
}

#[test]
fn what_redshift_refuses() {
    golden(
        "what_redshift_refuses",
        &[
            "ALTER TABLE t ADD COLUMN a INT, ADD COLUMN b INT",
            "ALTER TABLE t ADD COLUMN a INT NOT NULL",
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS a INT",
            "ALTER TABLE t ADD COLUMN a INT PRIMARY KEY",
            "ALTER TABLE t DROP COLUMN IF EXISTS a",
            "ALTER TABLE t ALTER COLUMN a TYPE BIGINT",
            "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
            "ALTER TABLE t SET SCHEMA s",
            "CREATE TABLE t (a JSONB)",
            "CREATE TABLE t (a TIMESTAMP(3))",
            "CREATE TABLE t (a INT CHECK (a > 0))",
            "CREATE TABLE t (tag INT)",
            "CREATE TABLE t (\"oid\" INT)",
            "CREATE TEMP TABLE s.t (a INT)",
            "CREATE TABLE t (a INT) PARTITION BY RANGE (a)",
            "CREATE INDEX i ON t (a)",
            "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
            "INSERT INTO t VALUES (1) RETURNING a",
            "SELECT a IS DISTINCT FROM b FROM t",
            "SELECT * FROM (VALUES (1)) AS v",
            "SELECT ARRAY[1]",
            "SELECT a->>'b' FROM t",
            "SELECT count(*) FILTER (WHERE a) FROM t",
            "SELECT * FROM t FOR UPDATE",
            "SAVEPOINT s",
            "ROLLBACK TO SAVEPOINT s",
            "DELETE FROM t AS x WHERE x.a = 1",
            "DELETE FROM t x USING s WHERE x.a = s.a",
            "UPDATE t SET t.a = 1",
            "UPDATE t SET a = 1 FROM t x LEFT JOIN s ON s.a = x.a",
            "MERGE INTO t x USING s ON x.a = s.a WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1)",
            "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE",
            "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED AND s.b THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1)",
            "SELECT 1; SELECT 2",
            "SELECT 1 FROM",
            "SELECT * FROM re_dms_standin_data.load_error",
        ],
    );
}

#[test]
fn what_the_stand_in_does_not_know() {
    for sql in [
        "UNLOAD ('select 1') TO 's3://b/p' IAM_ROLE default",
        "GRANT SELECT ON t TO u",
        "SELECT pg_sleep(1)",
        "SELECT string_agg(a, ',') FROM t",
        "SELECT * FROM pg_stat_activity",
        "SELECT * FROM generate_series(1, 2)",
        "CREATE TABLE t (id BIGINT IDENTITY(1,1))",
        "SET datestyle TO 'ISO'",
    ] {
        assert!(matches!(translate(sql), Err(SqlError::Unsupported(_))), "{sql}: {}", shown(sql));
    }
}

#[test]
fn literals_arrive_exact() {
    assert_eq!(shown(r"SELECT 'a\\b\'c''''d'"), r"SELECT 'a\b''c''''d'");
    assert_eq!(shown(r#"SELECT "a""""b" FROM t"#), r#"SELECT "a""""b" FROM t"#);
    assert_eq!(shown(r"SELECT '\\''\\'"), r"SELECT '\''\'");
}

fn copy(options: &str) -> Result<Command, SqlError> {
    translate(&format!("COPY t FROM 's3://b/k' IAM_ROLE default {options}"))
}

#[test]
fn copy_options_are_checked() {
    for (options, error) in [
        ("CSV ESCAPE", "CSV is not compatible with ESCAPE"),
        ("CSV GZIP ZSTD", "only one compression option can be specified"),
        ("CSV BZIP2", "COPY with BZIP2 is not supported by the stand-in"),
        ("CSV MAXERROR 100001", "MAXERROR value must be between 0 and 100000"),
        (r"CSV NULL AS '\n'", r"NULL AS '\n' is not allowed"),
        ("CSV TIMEFORMAT 'AUTO'", "invalid date or time format 'AUTO': keywords are lower case"),
        ("CSV CSV", "conflicting or redundant options"),
        ("CSV FROBNICATE", "syntax error at or near \"frobnicate\""),
        ("CSV FILLRECORD", "COPY with FILLRECORD is not supported by the stand-in"),
        ("DELIMITER '|'", "COPY of anything but CSV is not supported by the stand-in"),
    ] {
        assert_eq!(copy(options).map_err(|error| error.to_string()), Err(error.to_owned()), "{options}");
    }
    let Ok(Command::Copy(parsed)) = copy(r"FORMAT CSV DELIMITER '\t' NULL '\000' REGION 'eu-west-1'") else {
        panic!("refused")
    };
    for (option, compression) in
        [("", FileCompression::None), ("GZIP", FileCompression::Gzip), ("ZSTD", FileCompression::Zstd)]
    {
        let Ok(Command::Copy(parsed)) = copy(&format!("CSV {option}")) else { panic!("{option} is refused") };
        assert_eq!(parsed.options.compression, compression);
    }
    assert_eq!((parsed.options.delimiter, parsed.options.null_as.as_slice()), (b'\t', [0].as_slice()));
}

#[test]
fn copy_needs_a_role_and_an_s3_path() {
    assert!(translate("COPY t FROM 's3://b/k' CSV").is_err());
    assert!(translate("COPY t FROM 's3://b' IAM_ROLE default CSV").is_err());
    assert!(translate("COPY t FROM 's3://b/k' IAM_ROLE 'arn:aws:iam::1:role/x' CSV").is_err());
    assert!(translate("COPY t FROM STDIN").is_err());
}

#[test]
fn a_loader_quotes_names_and_literals_so_that_they_come_back() {
    use re_dms_shared::sql;
    proptest::proptest!(|(name in "[a-zA-Zäß\"\\\\ ']{1,20}", value in "[^\u{0}]{0,40}")| {
        let sql = format!("SELECT {} AS {}", sql::literal(&value), sql::ident(&name));
        proptest::prop_assert_eq!(
            shown(&sql),
            format!("SELECT {} AS {}", literal(&value), quoted(&name.to_ascii_lowercase()))
        );
    });
}

/// The loader's own golden files: whatever it sends must pass.
#[test]
fn every_statement_of_the_loader_passes() {
    let plans = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../plan/src");
    let files = ["snapshots", "tests/snapshots"].map(|folder| std::fs::read_dir(plans.join(folder)).unwrap());
    let mut statements = 0;
    for file in files.into_iter().flatten() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let starts = [
            "LOCK ", "SELECT ", "CREATE ", "ALTER ", "COPY ", "DELETE ", "UPDATE ", "INSERT ", "BEGIN",
            "COMMIT", "DROP ",
        ];
        for sql in text.lines().filter(|line| starts.iter().any(|start| line.starts_with(start))) {
            // An account number has twelve digits; that of the golden files is an example's.
            let sql = &sql.replace("arn:aws:iam::1:", "arn:aws:iam::123456789012:");
            assert!(translate(sql).is_ok(), "{sql}\n  -> {}", shown(sql));
            statements += 1;
        }
    }
    assert!(statements > 100, "only {statements} statements in {}", plans.display());
}
