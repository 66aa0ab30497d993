//! Whatever tells rows apart – whole rows, keys of any type, an index, a key that comes and goes – updates and deletes find
//! exactly theirs.

use anyhow::{Result, ensure};
use re_dms_shared::manifest::{Action, Manifest};
use re_dms_tests::{Aws, Sandbox};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::verify::no_difference_is_found;

/// A table without a key that has most types, TOASTed text, and values that are easily taken for each other.
const LOOSE: &str = r#"
    CREATE TABLE loose (
        i int, n numeric(12,3), nx numeric, f double precision, r real, b boolean, t text, c char(4), d date,
        ts timestamptz, tm time, tz timetz, u uuid, j json, jb jsonb, ia int[], x bytea, big text
    );
    ALTER TABLE loose REPLICA IDENTITY FULL;
    ALTER TABLE loose ALTER big SET STORAGE EXTERNAL;
    CREATE VIEW one AS SELECT 1 i, 1.5::numeric(12,3) n, 1.50 nx, 0.1::float8 f, 0.1::real r, true b, 'a' t, 'ab'::char(4) c,
        date '2020-02-29' d, timestamptz '2020-02-29 12:00:00.123456+02' ts, time '23:59:59.5' tm, timetz '12:00:00+02' tz,
        '6f1c0c5e-0f0c-4f0f-8f0f-6f1c0c5e0f0c'::uuid u, '{"a": 1, "a": [null, "x"]}'::json j, '{"k": 1.50}'::jsonb jb,
        '{1,NULL,3}'::int[] ia, '\x00ff'::bytea x, repeat('big', 2000) big;
    INSERT INTO loose SELECT one.* FROM one, generate_series(1, 3);
    INSERT INTO loose SELECT FROM generate_series(1, 3);
    INSERT INTO loose (i, t) VALUES (2, ''), (2, NULL), (2, 'a'), (2, 'a '), (2, 'a  '), (2, 'A'), (2, 'a ');
    INSERT INTO loose (i, f, r) VALUES (3, 0, 0), (3, '-0', '-0'), (3, 0, 0), (3, 'NaN', NULL), (3, NULL, NULL), (3, 'Infinity', NULL);
    INSERT INTO loose (i, j) VALUES (4, '{"a":1}'), (4, '{"a": 1}'), (4, '{"a":  1}'), (4, 'null'), (4, NULL), (4, '"null"');
    INSERT INTO loose (i, jb) VALUES (5, '1'), (5, '1.0'), (5, '1.00'), (5, 'null'), (5, NULL), (5, '[]'), (5, '{}');
    INSERT INTO loose (i, x) VALUES (6, '\x00'), (6, '\x0000'), (6, ''), (6, NULL);
    INSERT INTO loose (i, ia) VALUES (7, '{}'), (7, '[0:1]={1,2}'), (7, '{1,2}'), (7, NULL);
    INSERT INTO loose (i, big) SELECT 8, repeat('w', 65535) || n FROM generate_series(1, 4) n;
    INSERT INTO loose (i, b, d) VALUES (9, true, '2020-01-01'), (9, false, '2020-01-01'), (9, NULL, '2000-01-01'), (9, NULL, NULL), (9, NULL, 'infinity');
    INSERT INTO loose (i, n, nx) VALUES (10, 0, 0), (10, NULL, 0), (10, 0, NULL), (10, 0, 0.0), (10, 'NaN', 0);
    INSERT INTO loose (i, tz, tm, ts) VALUES (11, '12:00+02', '00:00', 'epoch'), (11, '10:00+00', '00:00', 'epoch'), (11, NULL, NULL, '2000-01-01 00:00+00'), (11, '00:00+00', NULL, NULL);
"#;

/// Deletes or changes one row of all that fit.
fn one_of(change: &str, condition: &str) -> String {
    format!("{change} WHERE ctid = (SELECT ctid FROM loose WHERE {condition} LIMIT 1);")
}

#[tokio::test]
async fn rows_without_a_key_are_matched_as_a_whole() -> Result<()> {
    let sandbox = Sandbox::up_with("[batch]\nmax_bytes = \"1MiB\"\nmax_memory = \"8MiB\"\n")?;
    let mut source = sandbox.source().await?;
    source.batch_execute(LOOSE).await?;
    sandbox.wait_and_compare()?;

    let delete = |condition: &str| one_of("DELETE FROM loose", condition);
    // One of several that are equal; one that only looks like others; several at once that are equal in Redshift alone.
    let changes = [
        delete("i = 1"),
        delete("i IS NULL"),
        delete("i = 2 AND t = 'a '"),
        delete("i = 3 AND f::text = '-0'"),
        delete("i = 3 AND f = 'NaN'"),
        delete("i = 4 AND j::text = '{\"a\":1}'"),
        delete("i = 4 AND j::text = '{\"a\": 1}'"),
        delete("i = 4 AND j::text = 'null'"),
        delete("i = 5 AND jb::text = '1.0'"),
        delete("i = 5 AND jb IS NULL"),
        delete("i = 6 AND x = '\\x00'"),
        delete("i = 6 AND x = ''"),
        delete("i = 7 AND ia::text = '{1,2}'"),
        "DELETE FROM loose WHERE i = 8 AND right(big, 1) IN ('1', '2', '3');".to_owned(),
        delete("i = 9 AND NOT b"),
        delete("i = 9 AND d = 'infinity'"),
        delete("i = 10 AND nx::text = '0.0'"),
        delete("i = 10 AND n = 'NaN'"),
        delete("i = 11 AND tz = '10:00+00'"),
        delete("i = 11 AND ts = '2000-01-01 00:00+00'"),
    ];
    transaction_of_effects(&mut source, &changes).await?;
    sandbox.wait_and_compare()?;

    // TOASTed values that stay, rows that become equal, a TRUNCATE between.
    let update = |set: &str, condition: &str| one_of(&format!("UPDATE loose SET {set}"), condition);
    let changes = [
        update("t = 'changed'", "i = 1"),
        "UPDATE loose SET t = 'x' WHERE i = 2".to_owned(),
        "UPDATE loose SET f = '-0' WHERE i = 3".to_owned(),
        delete("i = 2"),
        update("t = 'y'", "i = 2"),
        update("i = NULL", "i = 8"),
        "INSERT INTO loose SELECT * FROM loose WHERE i < 3;".to_owned(),
        delete("t = 'changed'"),
    ];
    transaction_of_effects(&mut source, &changes).await?;
    sandbox.wait_and_compare()?;

    random_changes(&source).await?;
    sandbox.wait_and_compare()?;
    larger_than_memory(&source).await?;
    sandbox.wait_and_compare()?;
    no_difference_is_found(&sandbox)?;
    let removes = loads_with_removes(&sandbox).await?;
    ensure!(removes.iter().any(|steps| *steps > 2), "no segment had several loads with removes: {removes:?}");
    Ok(())
}

/// Runs statements in one transaction, each of which must change something: else it would prove nothing.
async fn transaction_of_effects(source: &mut Client, statements: &[String]) -> Result<()> {
    let transaction = source.transaction().await?;
    for sql in statements {
        ensure!(transaction.execute(sql, &[]).await? > 0, "no rows: {sql}");
    }
    Ok(transaction.commit().await?)
}

/// Inserts copies, deletes and changes single rows, in transactions of several statements each.
async fn random_changes(source: &Client) -> Result<()> {
    source
        .batch_execute(
            "CREATE TABLE dice (a int, b text); ALTER TABLE dice REPLICA IDENTITY FULL; SELECT setseed(0.4711);
             CREATE PROCEDURE roll() LANGUAGE plpgsql AS $$
             BEGIN
                 FOR transaction IN 1..60 LOOP
                     FOR change IN 1..(1 + random() * 10)::int LOOP
                         IF random() < 0.5 THEN
                             INSERT INTO dice VALUES (random() * 3, NULLIF(repeat(' ', (random() * 3)::int), '  '));
                         ELSIF random() < 0.5 THEN
                             DELETE FROM dice WHERE ctid = (SELECT ctid FROM dice ORDER BY random() LIMIT 1);
                         ELSIF random() < 0.97 THEN
                             UPDATE dice SET a = random() * 3 WHERE ctid = (SELECT ctid FROM dice ORDER BY random() LIMIT 1);
                         ELSE
                             TRUNCATE dice;
                         END IF;
                     END LOOP;
                     IF random() < 0.1 THEN ROLLBACK; ELSE COMMIT; END IF;
                     PERFORM pg_sleep(0.01);
                 END LOOP;
             END $$",
        )
        .await?;
    source.batch_execute("CALL roll()").await?;
    Ok(())
}

/// Several loads of one segment, each of which takes away what the one before brought.
async fn larger_than_memory(source: &Client) -> Result<()> {
    source
        .batch_execute(
            "CREATE TABLE many (a int, b text); ALTER TABLE many REPLICA IDENTITY FULL;
             BEGIN; INSERT INTO many SELECT g % 20000, repeat('many', 25) FROM generate_series(1, 40000) g;
             UPDATE many SET b = repeat('more', 25) WHERE a % 2 = 0;
             DELETE FROM many WHERE a % 3 = 0 AND ctid IN (SELECT min(ctid) FROM many GROUP BY a);
             UPDATE many SET a = a / 10; COMMIT",
        )
        .await?;
    Ok(())
}

/// By segment, how many of its loads remove rows of tables without a key.
async fn loads_with_removes(sandbox: &Sandbox) -> Result<Vec<usize>> {
    let aws = Aws::of(sandbox).await?;
    let mut counts = Vec::new();
    for key in aws.keys("/manifest.json").await? {
        let manifest = Manifest::from_json(&aws.object(&key).await?)?;
        let removes = |action: &Action| matches!(action, Action::Load(load) if load.rows.removes > 0);
        counts.push(manifest.steps.iter().filter(|step| removes(&step.action)).count());
    }
    Ok(counts)
}

/// A table with a key (its columns), and five keys of that type, some of which are easily taken for each other.
struct Keys {
    table: &'static str,
    columns: &'static str,
    definition: &'static str,
    keys: [&'static str; 5],
}

const KEYS: [Keys; 11] = [
    Keys {
        table: "composite",
        columns: "a, b",
        definition: "a int, b text, PRIMARY KEY (a, b)",
        keys: ["1, 'x'", "1, 'x '", "11, 'x'", "1, '1x'", "2, ''"],
    },
    Keys {
        table: "k_text",
        columns: "a",
        definition: "a text PRIMARY KEY",
        keys: ["'k'", "'k '", "'K'", "'k  '", "'ｋ'"],
    },
    Keys {
        table: "k_char",
        columns: "a",
        definition: "a char(3) PRIMARY KEY",
        keys: ["'k'", "'K'", "'kk'", "'  k'", "''"],
    },
    Keys {
        table: "k_uuid",
        columns: "a",
        definition: "a uuid PRIMARY KEY",
        keys: [
            "md5('1')::uuid",
            "upper(md5('2'))::uuid",
            "md5('3')::uuid",
            "md5('4')::uuid",
            "md5('5')::uuid",
        ],
    },
    Keys {
        table: "k_numeric",
        columns: "a",
        definition: "a numeric PRIMARY KEY",
        keys: ["1.0", "10", "0.1", "'NaN'", "1e-20"],
    },
    Keys {
        table: "k_decimal",
        columns: "a",
        definition: "a numeric(9,2) PRIMARY KEY",
        keys: ["1.0", "10", "0.1", "-1", "0"],
    },
    Keys {
        table: "k_timestamp",
        columns: "a, b",
        definition: "a timestamptz, b timestamp, PRIMARY KEY (a, b)",
        keys: [
            "'2020-01-01 00:00+00', '2020-01-01 00:00'",
            "'2020-01-01 00:00+01', '2020-01-01 00:00'",
            "'2020-01-01 00:00:00.000001+00', '2020-01-01 00:00'",
            "'2020-01-01 00:00+00', '2020-01-01 00:00:00.1'",
            "'1970-01-01 00:00+00', '9999-12-31 23:59:59.999999'",
        ],
    },
    Keys {
        table: "k_float",
        columns: "a, b",
        definition: "a double precision, b real, PRIMARY KEY (a, b)",
        keys: ["'0', '0'", "'0.1', '0.1'", "'0.1', '0.10000001'", "'1e300', '1e30'", "'-1e-300', '0.1'"],
    },
    Keys {
        table: "k_bytes",
        columns: "a",
        definition: "a bytea PRIMARY KEY",
        keys: [r"'\x00'", r"'\x0000'", r"'\x20'", r"'\x2020'", r"'\xff'"],
    },
    Keys {
        table: "k_array",
        columns: "a, b",
        definition: "a int[], b text[], PRIMARY KEY (a, b)",
        keys: [
            "'{1,2}', '{}'",
            "'{1}', '{}'",
            "'{}', '{NULL}'",
            "'{}', '{\"NULL\"}'",
            "'{{1,2}}', '{\" \"}'",
        ],
    },
    Keys {
        table: "by_index",
        columns: "a, b",
        definition: "id serial PRIMARY KEY, a int NOT NULL, b text NOT NULL, UNIQUE (a, b)",
        keys: ["1, 'x'", "1, 'x '", "11, 'x'", "1, '1x'", "2, ''"],
    },
];

impl Keys {
    fn create(&self) -> String {
        let Keys { table, definition, .. } = self;
        let identity = match *table {
            "by_index" => "ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_a_b_key;",
            _ => "",
        };
        let rows: Vec<_> = (0..4).map(|key| self.insert(key)).collect();
        format!(
            "CREATE TABLE {table} ({definition}, n int, big text); ALTER TABLE {table} ALTER big SET STORAGE EXTERNAL; {identity} {}",
            rows.concat()
        )
    }

    fn insert(&self, key: usize) -> String {
        let Keys { table, columns, keys, .. } = self;
        format!(
            "INSERT INTO {table} ({columns}, n, big) VALUES ({}, {key}, repeat('{key}', 4000));",
            keys[key]
        )
    }

    /// Changes the row of one key to have another one.
    fn rekey(&self, from: usize, to: usize) -> String {
        let Keys { table, columns, keys, .. } = self;
        format!("UPDATE {table} SET ({columns}) = ROW({}) WHERE ({columns}) = ({});", keys[to], keys[from])
    }

    fn update(&self, set: &str, key: usize) -> String {
        let Keys { table, columns, keys, .. } = self;
        format!("UPDATE {table} SET {set} WHERE ({columns}) = ({});", keys[key])
    }

    fn delete(&self, key: usize) -> String {
        let Keys { table, columns, keys, .. } = self;
        format!("DELETE FROM {table} WHERE ({columns}) = ({});", keys[key])
    }

    /// A swap over a spare key and a chain, while the TOASTed column stays; and changes after them.
    fn swap_and_chain(&self) -> Vec<String> {
        let swap = [self.rekey(0, 4), self.rekey(1, 0), self.rekey(4, 1)];
        let chain = [self.delete(3), self.rekey(2, 3), self.rekey(3, 4), self.insert(2), self.rekey(4, 3)];
        let after =
            [self.update("n = n + 100", 0), self.update("n = -1", 3), self.update("big = 'short'", 2)];
        swap.into_iter().chain(chain).chain(after).collect()
    }

    /// Keys that go and come within one segment.
    fn anew(&self) -> Vec<String> {
        vec![self.delete(1), self.insert(1), self.rekey(1, 4), self.update("n = 7", 4), self.insert(1)]
    }
}

#[tokio::test]
async fn keys_of_every_type_through_swaps_and_chains() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let mut source = sandbox.source().await?;
    for keys in &KEYS {
        source.batch_execute(&keys.create()).await?;
    }
    sandbox.wait_and_compare()?;
    for keys in &KEYS {
        transaction_of_effects(&mut source, &keys.swap_and_chain()).await?;
    }
    sandbox.wait_and_compare()?;
    for keys in &KEYS {
        transaction_of_effects(&mut source, &keys.anew()).await?;
    }
    // The same key for PostgreSQL, but another text.
    source
        .batch_execute(
            "BEGIN; UPDATE k_numeric SET a = 1.00 WHERE a = 1; COMMIT;
             BEGIN; DELETE FROM k_numeric WHERE a = 1; INSERT INTO k_numeric VALUES (1.000, 1, 'x'); COMMIT",
        )
        .await?;
    sandbox.wait_and_compare()?;
    no_difference_is_found(&sandbox)
}

#[tokio::test]
async fn identities_that_come_and_go() -> Result<()> {
    let mut sandbox = Sandbox::up()?;
    let source = sandbox.source().await?;
    source
        .batch_execute(
            "CREATE TABLE full_key (id int, v text, PRIMARY KEY (id) INCLUDE (v)); ALTER TABLE full_key REPLICA IDENTITY FULL;
             INSERT INTO full_key SELECT g, 'v' FROM generate_series(1, 9) g;
             CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE, v text); ALTER TABLE deferred REPLICA IDENTITY FULL;
             INSERT INTO deferred SELECT g, 'v' FROM generate_series(1, 9) g;
             CREATE TABLE nothing (v text); ALTER TABLE nothing REPLICA IDENTITY NOTHING; INSERT INTO nothing VALUES ('a'), ('a'), ('b');
             CREATE TABLE parts (id int, v text) PARTITION BY LIST (id); CREATE TABLE part1 PARTITION OF parts FOR VALUES IN (1);
             CREATE TABLE part2 PARTITION OF parts FOR VALUES IN (2); ALTER TABLE parts REPLICA IDENTITY FULL;
             ALTER TABLE part1 REPLICA IDENTITY FULL; ALTER TABLE part2 REPLICA IDENTITY FULL; INSERT INTO parts VALUES (1, 'a'), (1, 'a'), (2, 'a');
             CREATE TABLE keyed_parts (id int PRIMARY KEY, v text, big text) PARTITION BY LIST (id);
             ALTER TABLE keyed_parts ALTER big SET STORAGE EXTERNAL; ALTER TABLE keyed_parts REPLICA IDENTITY FULL;
             CREATE TABLE keyed_part1 PARTITION OF keyed_parts DEFAULT; INSERT INTO keyed_parts VALUES (1, 'a', repeat('1', 4000)), (2, 'a', repeat('2', 4000))",
        )
        .await?;
    sandbox.wait_and_compare()?;
    let refused = source.batch_execute("DELETE FROM nothing").await.err();
    let code = refused.as_ref().and_then(tokio_postgres::Error::code);
    ensure!(code == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE), "{refused:?}");
    source
        .batch_execute(
            "UPDATE full_key SET v = 'w' WHERE id < 5; UPDATE full_key SET id = id + 10 WHERE id > 7; DELETE FROM full_key WHERE id = 6;
             UPDATE deferred SET id = id + 1; DELETE FROM deferred WHERE id = 5; UPDATE deferred SET id = 11 - id;
             ALTER TABLE nothing REPLICA IDENTITY FULL; DELETE FROM nothing WHERE ctid = (SELECT min(ctid) FROM nothing);
             DELETE FROM parts WHERE ctid = (SELECT min(ctid) FROM part1); UPDATE parts SET id = 1, v = 'b' WHERE id = 2;
             UPDATE keyed_parts SET v = 'b' WHERE id = 1; UPDATE keyed_parts SET id = 3 WHERE id = 2",
        )
        .await?;
    sandbox.wait_and_compare()?;

    // What the catalog says once the capture asks is not what was when the changes were made.
    sandbox.kill_capture()?;
    source
        .batch_execute(
            "CREATE TABLE gone (id int PRIMARY KEY, v text); ALTER TABLE gone REPLICA IDENTITY FULL; INSERT INTO gone VALUES (1, 'a'), (2, 'a');
             UPDATE gone SET v = 'b'; DROP TABLE gone;
             CREATE TABLE late (id int, v text); ALTER TABLE late REPLICA IDENTITY FULL; INSERT INTO late VALUES (1, 'a'), (1, 'b'), (1, 'b'), (2, 'c');
             UPDATE late SET id = 3 WHERE v = 'b' AND ctid = (SELECT min(ctid) FROM late WHERE v = 'b'); DELETE FROM late WHERE v = 'b' AND id = 1;
             ALTER TABLE late ADD PRIMARY KEY (id); UPDATE late SET v = 'd' WHERE id = 3;
             ALTER TABLE full_key DROP CONSTRAINT full_key_pkey; INSERT INTO full_key SELECT * FROM full_key;
             DELETE FROM full_key WHERE ctid IN (SELECT min(ctid) FROM full_key GROUP BY id HAVING id % 2 = 0)",
        )
        .await?;
    sandbox.up_again()?;
    sandbox.wait_and_compare()?;
    source
        .batch_execute(
            "UPDATE late SET id = id + 10; INSERT INTO late VALUES (1, 'new'); UPDATE late SET v = 'e' WHERE id = 11;
             UPDATE full_key SET v = 'x' WHERE id = 1",
        )
        .await?;
    sandbox.wait_and_compare()
}
