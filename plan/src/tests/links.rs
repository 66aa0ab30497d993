//! Tables that exchange names while one of them stands still.

use re_dms_shared::manifest::{SchemaChange, TableChange};

use super::quarantine::log_with_quarantine;
use super::*;

fn named(name: &str) -> Table {
    let columns = vec![column("id", "BIGINT", true)];
    Table { target_schema: "shop".into(), ..table(name, columns) }
}

fn renamed(from: &str, to: &str) -> (Table, Action) {
    let changes = vec![TableChange::Move];
    let change = SchemaChange { before: Some(named(from)), changes, unproven: Vec::new(), hold: false };
    (named(to), Action::Schema(change))
}

fn created(name: &str) -> (Table, Action) {
    let changes = vec![TableChange::Create];
    (named(name), Action::Schema(SchemaChange { before: None, changes, unproven: Vec::new(), hold: false }))
}

fn target(name: &str) -> Target {
    Target::new("shop", name)
}

/// What waits in a segment because `shop.t2` does.
fn waiting(steps: Vec<(Table, Action)>) -> Vec<String> {
    let waiting = super::super::renamed(&manifest(steps), &log_with_quarantine(), &BTreeMap::new());
    waiting.keys().map(ToString::to_string).collect()
}

/// The SQL that changes tables.
fn replayed(skipped: &[SkippedSegment<'_>], catalog: &Catalog) -> String {
    let (log, copy) = (log_with_quarantine(), CopySettings::default());
    let replay = Replay { skipped, ends: &[], approved: false, copy: &copy, catalog, log: &log };
    let plan = super::super::replay("main", &replay).unwrap();
    let verbs = ["ALTER", "CREATE TABLE", "DROP", "INSERT"];
    let sql: Vec<_> = plan
        .statements
        .iter()
        .map(|statement| statement.sql.as_str())
        .filter(|sql| verbs.iter().any(|verb| sql.starts_with(verb)) && !sql.contains("tables_main"))
        .collect();
    sql.join("\n")
}

#[test]
fn whoever_takes_or_leaves_the_name_of_a_quarantined_table_waits_with_it() {
    let chain = vec![renamed("t2", "t3"), renamed("t3", "t4"), renamed("other", "another")];
    assert_eq!(waiting(chain), ["shop.t3", "shop.t4"]);
    // Its place is taken: what it was called before is another table's by then.
    assert_eq!(waiting(vec![renamed("t0", "t1"), renamed("t1", "t2")]), ["shop.t0", "shop.t1"]);
    assert_eq!(waiting(vec![(named("t2"), inserts(1)), (named("t3"), inserts(1))]), [""; 0]);

    // Both rows are in the log, also of who has no other step in the segment.
    let manifest = manifest(vec![renamed("t2", "t3")]);
    let log = log_with_quarantine();
    let bad = super::super::renamed(&manifest, &log, &BTreeMap::new());
    let sql = text(&plan_quarantining(&manifest, &catalog_with(&["t2"]), &log, &bad).unwrap());
    assert!(sql.contains("'skipped', 'shop', 't2'") && sql.contains("'skipped', 'shop', 't3'"), "{sql}");
    assert!(!sql.contains("RENAME"), "{sql}");
}

/// Tables of these names, as Redshift has them.
fn catalog_with(names: &[&str]) -> Catalog {
    let steps = names.iter().map(|name| (named(name), inserts(1))).collect();
    complete_catalog(&manifest(steps))
}

#[test]
fn they_come_back_together_in_the_order_of_the_stream() {
    let steps =
        vec![renamed("t2", "t3"), created("t2"), (named("t2"), inserts(2)), (named("t3"), inserts(3))];
    let manifest = manifest(steps);
    let alone = [skipped(8, &target("t2"), &manifest)];
    let mut log = log_with_quarantine();
    let linked = |log: &TableLog| super::super::linked(&alone, &BTreeSet::from([target("t2")]), log);
    assert_eq!(linked(&log), BTreeSet::new(), "what does not wait is not waited for");
    log.add(table_log::LogRow {
        change: 8,
        event: "quarantined".into(),
        target: target("t3"),
        epoch: "E".into(),
        seq: 42,
        blame: Blame::default(),
    });
    assert_eq!(linked(&log), BTreeSet::from([target("t3")]));
    let other_way = [skipped(8, &target("t3"), &manifest)];
    let found = super::super::linked(&other_way, &BTreeSet::from([target("t3")]), &log);
    assert_eq!(found, BTreeSet::from([target("t2")]));

    let targets = BTreeMap::from([(target("t2"), 8), (target("t3"), 9)]);
    let together = [SkippedSegment { segment: staged(&manifest), targets }];
    insta::assert_snapshot!(replayed(&together, &catalog_with(&["t2"])));
}

#[test]
fn what_is_left_under_a_name_whose_table_was_read_anew_elsewhere_goes() {
    let manifest = manifest(vec![renamed("t2", "t3"), created("t2"), (named("t2"), inserts(2))]);
    let sql = replayed(&[skipped(8, &target("t2"), &manifest)], &catalog_with(&["t2", "t3"]));
    insta::assert_snapshot!(sql);
    // Not what came before it was read anew itself.
    let manifest = super::manifest(vec![renamed("t2", "t3"), (named("t2"), Action::Resync)]);
    let sql = replayed(&[skipped(8, &target("t2"), &manifest)], &catalog_with(&["t2", "t3"]));
    assert_eq!(sql, "");
}
