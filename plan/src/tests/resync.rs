//! Tables that are read anew.

use super::transactions::with_staging;
use super::*;
use crate::table_log::{LogRow, ReadAnew};

fn row(change: u64, event: &str, seq: u64) -> LogRow {
    let target = Target::new("public", "orders");
    LogRow { change, event: event.into(), target, epoch: "E".into(), seq, blame: Blame::default() }
}

fn log(events: &[&str]) -> TableLog {
    let mut log = TableLog::default();
    for (event, change) in events.iter().zip(1..) {
        log.add(row(change, event, change));
    }
    log
}

fn replace(rows: u64) -> Action {
    let Action::Load(load) = inserts(rows) else { unreachable!() };
    Action::Replace(load)
}

#[test]
fn from_its_step_on_a_table_waits_whatever_it_waited_for_before() {
    let first = manifest(vec![
        (orders(), inserts(1)),
        (orders(), Action::Resync),
        (orders(), inserts(2)),
        (table("other", orders().columns), inserts(3)),
    ]);
    let second = Manifest { seq: 43, ..manifest(vec![(orders(), Action::Truncate), (orders(), replace(5))]) };
    let (copy, catalog) = (CopySettings::default(), complete_catalog(&first));
    let segments = [staged(&first), staged(&second)];
    let all = |log: &TableLog, bad: &BTreeMap<Target, Blame>| {
        let input = Input { segments: &segments, copy: &copy, catalog: &catalog, log };
        text(&plan(&input, bad).unwrap())
    };
    insta::assert_snapshot!(all(&TableLog::default(), &BTreeMap::new()));
    // Skipped in the first segment for another reason, then for this one.
    let quarantined = all(&log(&["quarantined"]), &BTreeMap::new());
    let skipped = "'skipped', 'public', 'orders', '7-1-re_dms_main-0000000000000010', 42";
    assert_eq!(quarantined.matches(skipped).count(), 2, "{quarantined}");
    // A failure in the same segment does not take its place.
    let blame = Blame { reason: "bad".into(), ..Blame::default() };
    let bad = BTreeMap::from([(Target::new("public", "orders"), blame)]);
    let nothing = TableLog::default();
    let input = Input { segments: &segments[..1], copy: &copy, catalog: &catalog, log: &nothing };
    let failed = text(&plan(&input, &bad).unwrap());
    assert!(failed.find("'quarantined'").unwrap() < failed.find("'resync'").unwrap(), "{failed}");
    // Rows that nobody waits for are nobody's.
    let log = log(&["quarantined"]);
    let input = Input { segments: &segments[1..], copy: &copy, catalog: &catalog, log: &log };
    assert!(!text(&plan(&input, &BTreeMap::new()).unwrap()).contains("'copied'"));
}

#[test]
fn the_log_says_how_far_it_is() {
    let read = |events: &[&str]| log(events).waiting("public.orders").unwrap().read_anew;
    assert_eq!(read(&["resync", "copied"]), Some(ReadAnew { copied: Some(2), replaced: false }));
    assert_eq!(read(&["resync", "copied", "replaced"]), Some(ReadAnew { copied: Some(2), replaced: true }));
    assert_eq!(read(&["resync", "copied", "resync"]), Some(ReadAnew::default()), "begun anew");
    assert_eq!(read(&["quarantined", "copied"]), None);
    assert_eq!(log(&["quarantined", "resync"]).waiting("public.orders").unwrap().since, 2);
    assert_eq!(log(&["resync", "copied", "replaced", "resumed"]).waiting("public.orders"), None);
    assert!(log(&["paused"]).told().tables[0].paused);
    let told = |events: &[&str]| log(events).told().tables[0].resync;
    assert_eq!(told(&["resync"]), Some(re_dms_shared::table_log::Resync::Reading));
    assert_eq!(told(&["resync", "copied"]), Some(re_dms_shared::table_log::Resync::Loading));
}

#[test]
fn rows_take_the_place_of_all_that_was_with_what_waited_behind_them() {
    let mut was = orders();
    was.columns[1] = column("note", "DATE", false);
    was.columns.pop();
    let mut catalog = Catalog::default();
    catalog.learn(&was);
    let begun = manifest(vec![(orders(), inserts(7)), (orders(), Action::Resync), (orders(), inserts(2))]);
    let rows = manifest(vec![(orders(), Action::Truncate), (orders(), replace(5))]);
    let (copy, log) = (CopySettings::default(), log(&["resync", "skipped", "copied"]));
    let target = Target::new("public", "orders");
    let replacement = |catalog| Replacement {
        target: &target,
        rows: staged(&rows),
        begun: Some((2, staged(&begun))),
        copy: &copy,
        catalog,
        log: &log,
    };
    insta::assert_snapshot!(with_staging(&crate::replace("main", &replacement(&catalog)).unwrap()));
    let as_it_is = complete_catalog(&rows);
    insta::assert_snapshot!(text(&crate::replace("main", &replacement(&as_it_is)).unwrap()));
    // A table that Redshift lacks is made.
    let nothing = Catalog::default();
    let made = text(&crate::replace("main", &replacement(&nothing)).unwrap());
    assert!(
        made.contains("CREATE TABLE IF NOT EXISTS") && made.contains("\nDELETE FROM \"public\".\"orders\"\n")
    );
    // Rows that hold more than inserts would not be all.
    let Action::Load(load) = load(RowCounts { inserts: 1, deletes: 1, ..RowCounts::default() }, Vec::new())
    else {
        unreachable!()
    };
    let wrong = manifest(vec![(orders(), Action::Replace(load))]);
    let input = Replacement { rows: staged(&wrong), ..replacement(&catalog) };
    assert!(crate::replace("main", &input).unwrap_err().to_string().contains("more than inserts"));
}

#[test]
fn large_rows_are_staged_before() {
    let Action::Replace(mut load) = replace(5) else { unreachable!() };
    load.files[0].bytes = staging::LARGE_BYTES + 1;
    let rows = manifest(vec![(orders(), Action::Replace(load))]);
    let (copy, log, catalog) = (CopySettings::default(), log(&["resync", "copied"]), complete_catalog(&rows));
    let target = Target::new("public", "orders");
    let input = Replacement {
        target: &target,
        rows: staged(&rows),
        begun: None,
        copy: &copy,
        catalog: &catalog,
        log: &log,
    };
    insta::assert_snapshot!(with_staging(&crate::replace("main", &input).unwrap()));
}

#[test]
fn a_replay_passes_over_what_lies_before_and_over_the_rows() {
    let begun = manifest(vec![(orders(), inserts(7)), (orders(), Action::Resync), (orders(), inserts(2))]);
    let rows = Manifest { seq: 43, ..manifest(vec![(orders(), replace(5)), (orders(), inserts(3))]) };
    let (target, catalog) = (Target::new("public", "orders"), complete_catalog(&begun));
    let (copy, log) = (CopySettings::default(), log(&["resync", "skipped", "skipped", "copied", "replaced"]));
    let replay = Replay {
        skipped: &[skipped(2, &target, &begun), skipped(3, &target, &rows)],
        ends: &[],
        approved: false,
        copy: &copy,
        catalog: &catalog,
        log: &log,
    };
    let sql = text(&super::super::replay("main", &replay).unwrap());
    assert_eq!(sql.matches("\nCOPY ").count(), 2, "{sql}");
    assert!(!sql.contains("\"n\" = 7") && !sql.contains("\"n\" = 5"), "{sql}");
}
