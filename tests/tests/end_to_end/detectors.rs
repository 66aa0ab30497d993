//! What the event trigger and the catalog see of tables in a publication that lists them, each by itself; and that no row of
//! the table in `docs/schema-changes.md` is without a test of both.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use re_dms_tests::Sandbox;
use tokio_postgres::Client;

use super::resync::{said, wait_for_rows, wait_until_healed};
use super::schema_changes::{CHANGES, Detector, WHILE_DOWN, install};

const CONFIG: &str =
    "[batch]\ninterval = \"300ms\"\n[source]\nlook_interval = \"300ms\"\n[slot]\nidle_interval = \"1s\"\n";

/// The page's rows that this file goes through.
const HERE: &[&str] = &[
    "volatile default, identity or serial",
    "NOT NULL, defaults, constraints, indexes",
    "there only between two looks",
    "ATTACH, DETACH, DROP, TRUNCATE of a partition",
];

/// Those that are elsewhere: `exact.rs` narrows types, with USING and without.
const ELSEWHERE: &[&str] = &["a type with USING"];

#[test]
fn every_row_of_the_page_is_gone_through_with_both_detectors() {
    let page = include_str!("../../../docs/schema-changes.md");
    let rows =
        page.lines().skip_while(|line| !line.starts_with("| change | catalog | event trigger |")).skip(2);
    let rows =
        rows.take_while(|line| line.starts_with('|')).map(|row| row.split('|').nth(1).unwrap_or_default());
    let rows: Vec<_> = rows.collect();
    let changes = CHANGES.iter().chain(WHILE_DOWN).map(|(row, _)| *row).filter(|row| !row.is_empty());
    let mut gone_through: BTreeSet<&&str> = BTreeSet::new();
    for label in changes.chain(HERE.iter().copied()).chain(ELSEWHERE.iter().copied()) {
        let of: Vec<_> = rows.iter().filter(|row| row.contains(label)).collect();
        assert!(!of.is_empty(), "the page has no row {label}");
        gone_through.extend(of);
    }
    let left: Vec<_> = rows.iter().filter(|row| !gone_through.contains(row)).collect();
    assert!(left.is_empty(), "no test goes through {left:?}");
}

/// One detector's tables.
struct Scene<'a> {
    sandbox: &'a Sandbox,
    source: &'a Client,
    detector: Detector,
    /// The table that everything but partitions is tried with.
    table: String,
}

impl Scene<'_> {
    /// In one request each; `{t}` is the table.
    async fn run(&self, statements: &[&str]) -> Result<()> {
        for statement in statements {
            self.source.batch_execute(&statement.replace("{t}", &self.table)).await?;
        }
        Ok(())
    }

    fn readings(&self) -> Result<usize> {
        said(self.sandbox, "is read anew from here on")
    }

    /// Everything is as on the source, and whether tables had to be read anew for that is as expected.
    async fn settles(&self, before: usize, anew: bool) -> Result<()> {
        self.sandbox.wait(120)?;
        wait_until_healed(self.sandbox).await?;
        self.sandbox.wait_and_compare()?;
        let after = self.readings()?;
        ensure!((after > before) == anew, "{before} readings, then {after}:\n{}", self.sandbox.capture_log());
        Ok(())
    }

    /// A table appears by itself, with the rows that it had before it was listed.
    async fn joins(&self) -> Result<()> {
        self.run(&[
            "CREATE TABLE {t} (id int PRIMARY KEY, v text NOT NULL); INSERT INTO {t} SELECT g, 'v' || g FROM generate_series(1, 100) g",
            "ALTER PUBLICATION re_dms_main ADD TABLE {t}",
            "INSERT INTO {t} VALUES (0, 'later')",
        ])
        .await?;
        wait_for_rows(self.sandbox, &self.table, 101).await?;
        wait_until_healed(self.sandbox).await?;
        self.sandbox.wait_and_compare()
    }

    /// What Redshift need not know of, and columns in another order.
    async fn changes_nothing(&self) -> Result<()> {
        let before = self.readings()?;
        self.run(&[
            "ALTER TABLE {t} ADD CONSTRAINT few CHECK (id < 1000000), ALTER v DROP NOT NULL, ALTER v SET DEFAULT 'd', ADD UNIQUE (v, id);
             CREATE INDEX ON {t} (v); ALTER TABLE {t} ALTER v SET STATISTICS 10; INSERT INTO {t} (id) VALUES (200);
             INSERT INTO {t} VALUES (201, NULL); ALTER TABLE {t} DROP CONSTRAINT few; UPDATE {t} SET v = 'w' WHERE id < 5",
            "ALTER TABLE {t} ADD w text",
            "UPDATE {t} SET w = v",
        ])
        .await?;
        self.sandbox.wait(120)?;
        self.run(&[
            "ALTER TABLE {t} DROP v; ALTER TABLE {t} RENAME w TO v; INSERT INTO {t} VALUES (202, 'behind')",
        ])
        .await?;
        self.settles(before, false).await
    }

    /// A name that neither of two looks finds.
    async fn name_in_between(&self) -> Result<()> {
        let before = self.readings()?;
        self.run(&["BEGIN; ALTER TABLE {t} ADD x int; INSERT INTO {t} (id, v, x) VALUES (300, 'x', 3);
             ALTER TABLE {t} RENAME x TO y; INSERT INTO {t} (id, v, y) VALUES (301, 'y', 4); COMMIT"])
            .await?;
        self.settles(before, self.detector == Detector::Catalog).await
    }

    /// Values that rows from before were given one by one.
    async fn numbers(&self) -> Result<()> {
        let before = self.readings()?;
        self.run(&[
            "ALTER TABLE {t} ADD s bigserial, ADD i int GENERATED BY DEFAULT AS IDENTITY",
            "INSERT INTO {t} (id) VALUES (400)",
        ])
        .await?;
        self.settles(before, true).await?;
        let numbered = format!(
            "SELECT count(DISTINCT s) = count(*) AND count(DISTINCT i) = count(*) FROM {}",
            self.table
        );
        let row = self.sandbox.warehouse().await?.query_one(&numbered, &[]).await?;
        ensure!(row.get::<_, bool>(0), "rows from before are not numbered");
        Ok(())
    }

    /// Partitions that come and go with rows.
    async fn partitions(&self) -> Result<()> {
        let root = format!("{}_parts", self.table);
        let run = async |sql: &str| self.run(&[&sql.replace("{p}", "{t}_parts")]).await;
        run("CREATE TABLE {p} (id int, p int, v text, PRIMARY KEY (id, p)) PARTITION BY LIST (p);
             CREATE TABLE {p}_1 PARTITION OF {p} FOR VALUES IN (1); CREATE TABLE {p}_2 PARTITION OF {p} FOR VALUES IN (2);
             CREATE TABLE {p}_3 PARTITION OF {p} FOR VALUES IN (3); CREATE TABLE {p}_4 PARTITION OF {p} FOR VALUES IN (4);
             ALTER PUBLICATION re_dms_main ADD TABLE {p}; INSERT INTO {p} SELECT g, 1 + g % 4, 'p' FROM generate_series(1, 40) g")
        .await?;
        self.sandbox.wait_and_compare()?;
        run("CREATE TABLE {p}_5 (LIKE {p}); INSERT INTO {p}_5 SELECT g, 5, 'brought' FROM generate_series(1, 5) g;
             ALTER TABLE {p} ATTACH PARTITION {p}_5 FOR VALUES IN (5)")
        .await?;
        wait_for_rows(self.sandbox, &root, 45).await?;
        run("TRUNCATE {p}_2").await?;
        wait_for_rows(self.sandbox, &root, 35).await?;
        run("ALTER TABLE {p} DETACH PARTITION {p}_3; DROP TABLE {p}_4; ALTER PUBLICATION re_dms_main ADD TABLE {p}_3").await?;
        wait_for_rows(self.sandbox, &root, 15).await?;
        wait_for_rows(self.sandbox, &format!("{root}_3"), 10).await?;
        wait_until_healed(self.sandbox).await?;
        self.sandbox.wait_and_compare()
    }
}

async fn go_through(sandbox: &Sandbox, source: &Client, detector: Detector) -> Result<()> {
    let table = format!("shop.by_{detector:?}").to_lowercase();
    let scene = Scene { sandbox, source, detector, table };
    scene.joins().await?;
    scene.changes_nothing().await?;
    scene.name_in_between().await?;
    scene.numbers().await?;
    // By the catalog: `resync.rs`.
    if detector == Detector::Trigger { scene.partitions().await } else { Ok(()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_lists_its_tables_is_followed_by_both_detectors() -> Result<()> {
    let mut sandbox = Sandbox::up_with(CONFIG)?;
    sandbox
        .source()
        .await?
        .batch_execute(
            "CREATE SCHEMA shop; CREATE TABLE shop.first (id int PRIMARY KEY);
             BEGIN; DROP PUBLICATION re_dms_main;
             CREATE PUBLICATION re_dms_main FOR TABLE shop.first WITH (publish_via_partition_root = true); COMMIT;
             INSERT INTO shop.first VALUES (1)",
        )
        .await?;
    sandbox.wait_and_compare()?;
    // All of it: what asks the queue for a capture that was killed would take the next one's acknowledgements.
    sandbox.stop()?;
    sandbox.up_again()?;
    let source = sandbox.source().await?;
    go_through(&sandbox, &source, Detector::Catalog).await?;
    install(&sandbox, "--ddl-trigger")?;
    go_through(&sandbox, &source, Detector::Trigger).await?;
    sandbox.down()
}
