//! How segments become transactions: staged before, in a batch or a session, several in one.

use super::quarantine::log_with_quarantine;
use super::*;

#[test]
fn what_a_batch_does_not_hold_is_staged_before() {
    let tables =
        |count: usize| (1..=count).map(|n| (table(&format!("t{n}"), orders().columns), inserts(1))).collect();
    let plan_for = |count| {
        let manifest = manifest(tables(count));
        plan_with(&manifest, &complete_catalog(&manifest)).unwrap()
    };
    let nine = plan_for(9);
    assert!(nine.is_one_batch());
    assert_eq!(nine.statements.len(), 9 * 4 + 3);
    let ten = plan_for(10);
    assert_eq!((ten.transport, ten.staging.len(), ten.statements.len()), (Transport::Batch, 10, 10 + 4));
    let purposes: Vec<_> = ten.statements.iter().map(|statement| statement.purpose).collect();
    assert_eq!(purposes[..3], [Purpose::LockLedger, Purpose::Guard, Purpose::Insert]);
    assert_eq!(purposes[12..], [Purpose::DropStage, Purpose::RecordSegment]);
    let many = plan_for(60);
    assert_eq!((many.transport, many.staging.len(), many.statements.len()), (Transport::Session, 60, 60 + 6));
    let purposes: Vec<_> = many.statements.iter().map(|statement| statement.purpose).collect();
    assert_eq!(purposes[..3], [Purpose::Begin, Purpose::LockLedger, Purpose::Guard]);
    assert_eq!(purposes[63..], [Purpose::DropStage, Purpose::RecordSegment, Purpose::Commit]);
}

#[test]
fn a_batch_holds_forty_statements_and_no_more() {
    // Eight loads of four statements each, three around them, and deletes of all rows of one each.
    let statements = |truncates: usize| {
        let loads = (1..=8).map(|n| (table(&format!("t{n}"), orders().columns), inserts(1)));
        let truncated =
            (1..=truncates).map(|n| (table(&format!("e{n}"), orders().columns), Action::Truncate));
        let manifest = manifest(loads.chain(truncated).collect());
        let plan = plan_with(&manifest, &complete_catalog(&manifest)).unwrap();
        (plan.is_one_batch(), plan.statements.len())
    };
    assert_eq!(statements(5), (true, 40));
    assert!(!statements(6).0, "41 are too many");
}

#[test]
fn large_loads_are_staged_before() {
    let large = |bytes| {
        let mut action = load(RowCounts { replaces: 2, ..RowCounts::default() }, Vec::new());
        if let Action::Load(load) = &mut action {
            load.files[0].bytes = bytes;
        }
        action
    };
    let stock = table("stock", orders().columns);
    let two = manifest(vec![(orders(), large(20 << 20)), (stock.clone(), large(20 << 20))]);
    insta::assert_snapshot!(with_staging(&plan_with(&two, &complete_catalog(&two)).unwrap()));
    let one = manifest(vec![(orders(), large(99 << 20))]);
    assert!(plan_with(&one, &complete_catalog(&one)).unwrap().is_one_batch(), "there is nothing beside it");
    let small = manifest(vec![(orders(), large(9)), (stock, large(9))]);
    assert!(plan_with(&small, &complete_catalog(&small)).unwrap().is_one_batch());
}

pub(super) fn with_staging(plan: &Plan) -> String {
    let batch = |staging: &Staging| {
        let lines: Vec<_> = staging.statements.iter().map(|statement| statement.sql.as_str()).collect();
        format!("-- {}\n{}\n", staging.table, lines.join("\n"))
    };
    plan.staging.iter().map(batch).collect::<String>() + &text(plan)
}

#[test]
fn a_staging_tables_name_tells_stream_and_segment() {
    let first = manifest(vec![(orders(), inserts(1))]);
    let other = Manifest { epoch: "other".into(), ..first.clone() };
    let name = staging::name(&staged(&first), 3);
    assert!(name.starts_with("stage.main.") && name.ends_with(".42.3"), "{name}");
    assert_eq!(staging::seq_of(&name), Some(42));
    assert_ne!(name, staging::name(&staged(&other), 3));
}

#[test]
fn a_session_drops_all_that_a_step_made() {
    let removes = || load(RowCounts { removes: 1, ..RowCounts::default() }, Vec::new());
    let log = |n| table(&format!("log{n}"), vec![column("line", "VARCHAR(65535)", false)]);
    let manifest = manifest((1..=14).map(|n| (log(n), removes())).collect());
    let plan = plan_with(&manifest, &complete_catalog(&manifest)).unwrap();
    assert_eq!((plan.transport, plan.staging.len()), (Transport::Session, 14));
    let drops = plan.statements.iter().filter(|statement| statement.purpose == Purpose::DropStage);
    let drops: Vec<_> = drops.map(|statement| statement.sql.as_str()).collect();
    assert_eq!(drops.len(), 15);
    assert_eq!(drops[0], r#"DROP TABLE "re_dms_kept_0001""#);
    assert!(drops[14].starts_with(r#"DROP TABLE "re_dms"."stage.main."#), "{}", drops[14]);
}

#[test]
fn segments_that_go_together_share_a_transaction() {
    let first = manifest(vec![(orders(), inserts(1))]);
    let second = Manifest { seq: 43, ..manifest(vec![(orders(), Action::Truncate), (orders(), inserts(2))]) };
    let (log, copy, catalog) = (log_with_quarantine(), CopySettings::default(), complete_catalog(&first));
    let segments = [staged(&first), staged(&second)];
    let input = Input { segments: &segments, copy: &copy, catalog: &catalog, log: &log };
    insta::assert_snapshot!(text(&plan(&input, &BTreeMap::new()).unwrap()));
}

#[test]
fn a_checkpoint_goes_into_empty_tables_and_an_empty_ledger_as_the_segment_whose_end_it_is() {
    let restores = Some(Predecessor { seq: 42, sha256: "ef".repeat(32) });
    let steps = vec![(orders(), inserts(3)), (table("t", orders().columns), inserts(2))];
    let restoring = Manifest { predecessor: None, restores, ..manifest(steps) };
    let plan = plan_with(&restoring, &complete_catalog(&restoring)).unwrap();
    insta::assert_snapshot!(text(&plan));
}
