//! Tables that are left out, what is recorded of them, and how it is loaded later.

use super::*;

/// A log in which `shop.t2` is quarantined, up to row 7.
pub(super) fn log_with_quarantine() -> TableLog {
    let mut log = TableLog::default();
    log.add(table_log::LogRow {
        change: 7,
        event: "quarantined".into(),
        target: Target::new("shop", "T2"),
        epoch: "E".into(),
        seq: 40,
        blame: Blame::default(),
    });
    log
}

#[test]
fn quarantined_tables_are_left_out_and_recorded() {
    let mut shop = table("t2", orders().columns);
    shop.target_schema = "Shop".into();
    let steps = vec![
        (orders(), inserts(1)),
        (shop.clone(), inserts(2)),
        (shop, Action::Truncate),
        (table("bad", orders().columns), inserts(3)),
    ];
    let manifest = manifest(steps);
    let blame = Blame { reason: "it's bad".into(), hint: "mend it".into(), held: false };
    let bad = BTreeMap::from([(Target::new("public", "bad"), blame)]);
    let plan =
        plan_quarantining(&manifest, &complete_catalog(&manifest), &log_with_quarantine(), &bad).unwrap();
    insta::assert_snapshot!(text(&plan));
}

#[test]
fn what_was_skipped_is_replayed_in_order() {
    let mut shop = table("t2", orders().columns);
    shop.target_schema = "shop".into();
    let manifest = manifest(vec![(orders(), inserts(1)), (shop, inserts(2))]);
    let (log, copy) = (log_with_quarantine(), CopySettings::default());
    let t2 = Target::new("shop", "t2");
    let replay = Replay {
        skipped: &[skipped(8, &t2, &manifest), skipped(9, &t2, &manifest)],
        ends: &[t2],
        approved: false,
        copy: &copy,
        catalog: &complete_catalog(&manifest),
        log: &log,
    };
    insta::assert_snapshot!(text(&crate::replay("main", &replay).unwrap()));
}

#[test]
fn reasons_are_kept_short() {
    let blame = Blame { reason: "ü".repeat(2_000), hint: String::new(), held: false };
    let [_, insert] = table_log::note_failure("main", "E", 42, &Target::new("s", "t"), &blame, 0);
    assert!(insert.len() < 2_000, "{}", insert.len());
}

#[test]
fn the_logs_last_row_may_be_about_another_segment() {
    let row = |change, event: &str, epoch: &str, seq| table_log::LogRow {
        change,
        event: event.into(),
        target: Target::new("public", "orders"),
        epoch: epoch.into(),
        seq,
        blame: Blame::default(),
    };
    let orders = Target::new("public", "orders");
    let read = |last| {
        let mut log = TableLog::new(std::time::UNIX_EPOCH, "E", 42);
        log.add(last);
        (log.last_change(), log.failures(&orders), log.is_loaded(41, &orders) || log.is_loaded(42, &orders))
    };
    assert_eq!(read(row(7, "failed", "E", 42)), (7, 1, false));
    assert_eq!(read(row(7, "failed", "E", 41)), (7, 0, false));
    assert_eq!(read(row(7, "failed", "D", 42)), (7, 0, false));
    assert_eq!(read(row(7, "loaded", "E", 42)), (7, 0, true));
    assert_eq!(read(row(7, "loaded", "E", 41)), (7, 0, false));
    assert_eq!(read(row(7, "loaded", "D", 42)), (7, 0, false));
}

#[test]
fn what_is_long_over_is_removed() {
    let mut statements = vec![table_log::ended("main", "2026-01-02T03:04:05Z".parse().unwrap())];
    let ended = [(Target::new("Public", "o'k"), 7), (Target::new("shop", "t2"), 12)];
    statements.extend(table_log::prune("main", &ended));
    insta::assert_snapshot!(statements.join("\n"));
}
