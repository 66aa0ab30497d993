//! What is written to the source arrives.

use anyhow::{Context, Result, ensure};
use re_dms_shared::manifest::{Action, Altered, Compression, Manifest, sha256_hex};
use re_dms_tests::workload::Workload;
use re_dms_tests::{Aws, Sandbox, peak_memory};

#[tokio::test]
async fn a_mixed_workload_is_equal_on_both_sides() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let mut workload = Workload::start(sandbox.source().await?, 1).await?;
    for _ in 0..5 {
        workload.transactions(100).await?;
        sandbox.wait_and_compare()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_reader_of_the_warehouse_never_sees_half_a_transaction() -> Result<()> {
    let sandbox = Sandbox::up_with("[batch]\ninterval = \"200ms\"\n")?;
    let source = sandbox.source().await?;
    source
        .batch_execute(
            "CREATE TABLE here (id int PRIMARY KEY, amount bigint); CREATE TABLE there (id int PRIMARY KEY, amount bigint);
             INSERT INTO here SELECT g, 1000 FROM generate_series(1, 20) g; INSERT INTO there SELECT g, 1000 FROM generate_series(1, 20) g",
        )
        .await?;
    sandbox.wait_and_compare()?;
    let warehouse = sandbox.warehouse().await?;
    let mut totals = std::collections::HashSet::new();
    for round in 0..400 {
        // Money moves between the tables; the sum never changes.
        source
            .batch_execute(&format!(
                "BEGIN; UPDATE here SET amount = amount - {round} WHERE id = {0}; UPDATE there SET amount = amount + {round} WHERE id = {0}; COMMIT",
                round % 20 + 1
            ))
            .await?;
        let seen = warehouse
            .query_one(
                "SELECT (SELECT sum(amount) FROM here)::bigint, (SELECT sum(amount) FROM there)::bigint",
                &[],
            )
            .await?;
        let (here, there): (i64, i64) = (seen.get(0), seen.get(1));
        assert_eq!(here + there, 40_000, "half a transaction is seen");
        totals.insert(here);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(totals.len() > 3, "the reader saw too few states to prove anything: {}", totals.len());
    sandbox.wait_and_compare()
}

#[tokio::test]
async fn every_common_type_arrives_exact() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let source = sandbox.source().await?;
    source
        .batch_execute(
            r#"
            CREATE TYPE mood AS ENUM ('sad', 'happy');
            CREATE TABLE everything (
                id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
                b boolean, i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision,
                n numeric(20,5), n38 numeric(38,10), nx numeric, n19 numeric(19,0), neg numeric(6,-2), cash money,
                c char(5), v varchar(40), t text, mood mood, x bytea,
                d date, tm time, ttz timetz, ts timestamp, tstz timestamptz, iv interval,
                j json, jb jsonb, ip inet, net cidr, mac macaddr, bits bit(4), lsn pg_lsn, o oid,
                ia int[], ta text[], na numeric[][], ba boolean[], ja jsonb[], r int4range
            );
            INSERT INTO everything VALUES (DEFAULT,
                true, -32768, 2147483647, -9223372036854775808, 1.5e-7, 0.1,
                123456789012345.54321, 1234567890123456789012345678.0123456789, 3.14159265358979323846264338327950288419716939937510,
                9999999999999999999, 123400, '-$1,234,567.89',
                'ab', 'Straße "quoted", comma', E'line\nline\ttab \\ back \\N', 'happy', '\x00ff10',
                '1999-12-31', '23:59:59.999999', '12:00:00+05:30', '2024-02-29 12:34:56.789012', '2024-02-29 12:34:56.789012+02', '1 year 2 mons 3 days 04:05:06',
                '{"a": [1, 2.50, null]}', '{"k": "v \" q", "n": 12345678901234567890.123}', '10.1.2.3/8', '10.0.0.0/8', '08:00:2b:01:02:03', '1010', '16/B374D848', 4294967295,
                '{1,NULL,-3}', '{"a b","c\"d",NULL,"","NULL"}', '{{1.10,2},{3,4}}', '{t,f,NULL}', ARRAY['{"a":1}'::jsonb], '[1,10)');
            INSERT INTO everything (t, v, jb, ta, x) VALUES ('', '', '""', '{}', '');
            INSERT INTO everything (t) VALUES (' leading and trailing '), (E'\t'), ('NULL'), ('\N'), ('"'), ('😀 emoji'), (repeat('é', 30000));
            INSERT INTO everything DEFAULT VALUES;
            "#,
        )
        .await?;
    sandbox.wait_and_compare()?;
    // The comparison above is our own; a few values are looked at as they are.
    let warehouse = sandbox.warehouse().await?;
    let row = warehouse
        .query_one("SELECT n38::text, t, jb::text, ta::text, encode(x, 'hex'), cash::text FROM public.everything WHERE b", &[])
        .await?;
    assert_eq!(row.get::<_, &str>(0), "1234567890123456789012345678.0123456789");
    assert_eq!(row.get::<_, &str>(1), "line\nline\ttab \\ back \\N");
    assert_eq!(row.get::<_, &str>(2), r#"{"k": "v \" q", "n": 12345678901234567890.123}"#);
    assert_eq!(row.get::<_, &str>(3), r#"["a b", "c\"d", null, "", "NULL"]"#);
    assert_eq!(row.get::<_, &str>(4), "00ff10");
    assert_eq!(row.get::<_, &str>(5), "-1234567.89");
    let empty =
        warehouse.query_one("SELECT count(*) FROM public.everything WHERE t = '' AND v = ''", &[]).await?;
    assert_eq!(empty.get::<_, i64>(0), 1, "empty text stays empty and is not NULL");
    // An empty bytea is the one value here that COPY has no form for: NULL by policy, and counted.
    let manifests = Aws::of(&sandbox).await?.keys("/manifest.json").await?;
    let manifest = Manifest::from_json(&Aws::of(&sandbox).await?.object(&manifests[0]).await?)?;
    let Action::Load(load) = &manifest.steps[0].action else { anyhow::bail!("expected a load") };
    assert_eq!(load.altered, [Altered { column: "x".into(), policy: "null".into(), values: 1 }]);
    Ok(())
}

#[tokio::test]
async fn truncate_key_added_later_and_a_transaction_larger_than_memory() -> Result<()> {
    // Loads of several files each, in the compression that is not the default.
    let sandbox =
        Sandbox::up_with("[batch]\nmax_bytes = \"1MiB\"\nmax_memory = \"8MiB\"\ncompression = \"zstd\"\n")?;
    let mut source = sandbox.source().await?;
    // as pgbench -i does: rows first, the key afterwards
    source
        .batch_execute(
            "CREATE TABLE a (id int, v text); INSERT INTO a SELECT g, 'before' FROM generate_series(1, 1000) g;
             ALTER TABLE a ADD PRIMARY KEY (id); UPDATE a SET v = 'after' WHERE id % 2 = 0; DELETE FROM a WHERE id % 5 = 0;
             CREATE TABLE b (id int PRIMARY KEY, v text)",
        )
        .await?;
    let transaction = source.transaction().await?;
    transaction
        .batch_execute(
            "INSERT INTO b SELECT g, 'old ' || g FROM generate_series(1, 100) g; TRUNCATE b;
             INSERT INTO b SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 300000) g;
             UPDATE b SET v = 'changed' WHERE id % 3 = 0; DELETE FROM b WHERE id % 7 = 0",
        )
        .await?;
    transaction.commit().await?;
    sandbox.wait_and_compare()?;
    // Invariant 7: 130 MB came in one transaction, and the program needs some memory of its own.
    let peak = peak_memory(sandbox.pid("capture")?).context("the capture runs")?;
    ensure!(peak * 10 <= ((8 + 64) << 20) * 13, "peak memory: {peak} bytes");
    source.batch_execute("TRUNCATE a, b; INSERT INTO a VALUES (1, 'again')").await?;
    sandbox.wait_and_compare()?;
    all_files_are_zstd(&Aws::of(&sandbox).await?).await
}

/// As their names, their manifests and they themselves say.
async fn all_files_are_zstd(aws: &Aws) -> Result<()> {
    const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let mut most_files = 0;
    for key in aws.keys("/manifest.json").await? {
        let manifest = Manifest::from_json(&aws.object(&key).await?)?;
        let is_load = |action: &Action| matches!(action, Action::Load(_));
        let has_loads = manifest.steps.iter().any(|step| is_load(&step.action));
        assert_eq!(manifest.format, if has_loads { 3 } else { 2 });
        for step in manifest.steps {
            let Action::Load(load) = step.action else { continue };
            assert_eq!(load.compression, Compression::Zstd);
            most_files = most_files.max(load.files.len());
            for file in load.files {
                assert!(file.key.ends_with(".csv.zst"), "{}", file.key);
                let bytes = aws.object(&file.key).await?;
                assert_eq!((bytes.len() as u64, sha256_hex(&bytes)), (file.bytes, file.sha256));
                assert!(bytes.starts_with(&ZSTD_MAGIC));
            }
        }
    }
    assert!(most_files > 1, "a load of several files");
    Ok(())
}

#[tokio::test]
async fn transactions_in_progress_are_streamed_and_survive_a_crash() -> Result<()> {
    let mut sandbox = Sandbox::up_with("[source]\ndecoding_work_mem = \"64KiB\"\n")?;
    let (mut first, mut second) = (sandbox.source().await?, sandbox.source().await?);
    first
        .batch_execute(
            "CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text);
             ALTER TABLE a ALTER v SET STORAGE EXTERNAL; INSERT INTO a SELECT g, repeat('toast', 1000) FROM generate_series(1, 50) g",
        )
        .await?;
    let rows = |table: &str, from: i32| {
        format!(
            "INSERT INTO {table} SELECT g, repeat(md5(g::text), 20) FROM generate_series({from}, {from} + 999) g;"
        )
    };
    // Two transactions in turn, with parts rolled back, the second of them altogether; and small ones between.
    let one = first.transaction().await?;
    let two = second.transaction().await?;
    one.batch_execute(&rows("a", 1_000)).await?;
    two.batch_execute(&rows("b", 1_000)).await?;
    one.batch_execute(&format!("SAVEPOINT s; {} UPDATE a SET v = 'lost'; ROLLBACK TO s", rows("a", 2_000)))
        .await?;
    one.batch_execute(&format!(
        "SAVEPOINT s; {} SAVEPOINT t; DELETE FROM a WHERE id > 1500; ROLLBACK TO t; RELEASE s",
        rows("a", 3_000)
    ))
    .await?;
    let small = sandbox.source().await?;
    small.batch_execute("INSERT INTO b VALUES (1, 'small')").await?;
    sandbox.kill_capture()?;
    sandbox.up_again()?;
    one.batch_execute("UPDATE a SET id = id + 100000 WHERE id <= 50; DELETE FROM a WHERE id % 7 = 0").await?;
    small.batch_execute("UPDATE b SET v = 'still small'").await?;
    two.rollback().await?;
    one.commit().await?;
    let three = second.transaction().await?;
    three.batch_execute(&format!("TRUNCATE b; {} DELETE FROM b WHERE id % 2 = 0", rows("b", 5_000))).await?;
    three.commit().await?;
    sandbox.wait_and_compare()?;
    let streamed =
        small.query_one("SELECT sum(stream_count)::bigint FROM pg_stat_replication_slots", &[]).await?;
    assert!(streamed.get::<_, i64>(0) > 0, "nothing was streamed, so nothing was tested");
    Ok(())
}
