//! Tables that are committed one by one.

use re_dms_shared::manifest::{SchemaChange, TableChange};

use super::quarantine::log_with_quarantine;
use super::*;
use crate::table_log::LogRow;

fn plans(manifests: &[&Manifest], log: &TableLog, bad: &BTreeMap<Target, Blame>) -> Vec<Plan> {
    let mut catalog = Catalog::default();
    for manifest in manifests {
        manifest.steps.iter().for_each(|step| catalog.assume(before(step)));
    }
    let segments: Vec<_> = manifests.iter().map(|manifest| staged(manifest)).collect();
    let copy = CopySettings::default();
    plan_by_table(&Input { segments: &segments, copy: &copy, catalog: &catalog, log }, bad).unwrap()
}

/// The step's table as Redshift has it.
fn before(step: &Step) -> &Table {
    match &step.action {
        Action::Schema(SchemaChange { before: Some(before), .. }) => before,
        _ => &step.table,
    }
}

fn all(plans: &[Plan]) -> String {
    plans.iter().map(text).collect::<Vec<_>>().join("\n\n")
}

/// The targets that each plan is about, in order.
fn about(plans: &[Plan]) -> Vec<Vec<String>> {
    let of_plan = |plan: &Plan| {
        let mut targets: Vec<String> = Vec::new();
        for step in plan.statements.iter().filter_map(|statement| statement.of.as_ref()) {
            let (target, seq) = (&step.target, step.seq);
            let label = format!("{target} {seq}");
            if targets.last() != Some(&label) {
                targets.push(label);
            }
        }
        targets
    };
    plans.iter().map(of_plan).collect()
}

fn loaded(log: &mut TableLog, change: u64, seq: u64, name: &str) {
    log.add(LogRow {
        change,
        event: "loaded".into(),
        target: Target::new("public", name),
        epoch: "7-1-re_dms_main-0000000000000010".into(),
        seq,
        blame: Blame::default(),
    });
}

fn log_of_segment() -> TableLog {
    TableLog::new(std::time::UNIX_EPOCH, "7-1-re_dms_main-0000000000000010", 42)
}

fn stock() -> Table {
    table("stock", orders().columns)
}

#[test]
fn each_table_is_a_transaction_and_the_last_one_ends_the_segment() {
    let manifest = manifest(vec![
        (orders(), inserts(1)),
        (stock(), Action::Truncate),
        (orders(), Action::Truncate),
        (table("third", orders().columns), inserts(2)),
        (stock(), inserts(3)),
    ]);
    insta::assert_snapshot!(all(&plans(&[&manifest], &log_of_segment(), &BTreeMap::new())));
}

#[test]
fn what_is_done_is_left_out_by_whoever_goes_on() {
    let third = table("third", orders().columns);
    let manifest = manifest(vec![(orders(), inserts(1)), (stock(), inserts(2)), (third, inserts(3))]);
    let mut log = log_of_segment();
    let first = plans(&[&manifest], &log, &BTreeMap::new());
    loaded(&mut log, 1, 42, "orders");
    let then = plans(&[&manifest], &log, &BTreeMap::new());
    assert_eq!(then, first[1..], "the very same statements, so that those under way are found");
    let whole = plan(
        &Input {
            segments: &[staged(&manifest)],
            copy: &CopySettings::default(),
            catalog: &complete_catalog(&manifest),
            log: &log,
        },
        &BTreeMap::new(),
    )
    .unwrap();
    assert_eq!(about(std::slice::from_ref(&whole)), [["public.stock 42", "public.third 42"]]);
    assert!(text(&whole).contains("DELETE FROM \"re_dms\".\"tables_main\""), "{}", text(&whole));
    loaded(&mut log, 2, 42, "stock");
    assert_eq!(plans(&[&manifest], &log, &BTreeMap::new()), first[2..]);
    loaded(&mut log, 3, 42, "third");
    assert_eq!(about(&plans(&[&manifest], &log, &BTreeMap::new())), [Vec::<String>::new()]);
}

#[test]
fn one_table_is_one_transaction_as_ever() {
    let manifest =
        manifest(vec![(orders(), inserts(1)), (orders(), Action::Truncate), (orders(), inserts(2))]);
    let whole = plan_with(&manifest, &complete_catalog(&manifest)).unwrap();
    assert_eq!(plans(&[&manifest], &TableLog::default(), &BTreeMap::new()), [whole]);
}

#[test]
fn tables_that_take_names_from_each_other_go_together() {
    let renamed = |from: &str, to: &str| {
        let before = Some(table(from, orders().columns));
        let change =
            SchemaChange { before, changes: vec![TableChange::Move], unproven: Vec::new(), hold: false };
        (table(to, orders().columns), Action::Schema(change))
    };
    let manifest = manifest(vec![
        (stock(), inserts(1)),
        (orders(), inserts(1)),
        renamed("orders", "old_orders"),
        renamed("new_orders", "orders"),
        (orders(), inserts(1)),
    ]);
    let plans = plans(&[&manifest], &log_of_segment(), &BTreeMap::new());
    let together = ["public.orders 42", "public.old_orders 42", "public.orders 42"];
    assert_eq!(about(&plans), [vec!["public.stock 42"], together.to_vec()]);
}

#[test]
fn quarantined_tables_are_recorded_with_the_last_and_held_names_with_their_own() {
    let mut shop = table("t2", orders().columns);
    shop.target_schema = "shop".into();
    let manifest = manifest(vec![
        (shop, inserts(1)),
        (orders(), inserts(2)),
        (table("bad", orders().columns), inserts(3)),
        (stock(), inserts(4)),
    ]);
    let blame = Blame { reason: "it's bad".into(), hint: "mend it".into(), held: false };
    let bad = BTreeMap::from([(Target::new("public", "bad"), blame)]);
    insta::assert_snapshot!(all(&plans(&[&manifest], &log_with_quarantine(), &bad)));
}

#[test]
fn segments_that_go_together_are_a_transaction_a_table_too() {
    let first = manifest(vec![(orders(), inserts(1)), (stock(), inserts(1))]);
    let second = Manifest { seq: 43, ..manifest(vec![(stock(), inserts(2)), (orders(), inserts(2))]) };
    let mut log = log_of_segment();
    let plans = |log: &TableLog| plans(&[&first, &second], log, &BTreeMap::new());
    let both = plans(&log);
    assert_eq!(
        about(&both),
        [["public.orders 42", "public.orders 43"], ["public.stock 42", "public.stock 43"]]
    );
    insta::assert_snapshot!(text(&both[0]).lines().last().unwrap());
    // Somebody else went on with the first one alone, and died.
    loaded(&mut log, 1, 42, "orders");
    assert_eq!(about(&plans(&log)), [vec!["public.orders 43"], vec!["public.stock 42", "public.stock 43"]]);
}

#[test]
fn large_tables_are_staged_side_by_side_before_the_first_also_in_the_middle() {
    let tables = (1..=12).map(|n| (table(&format!("t{n}"), orders().columns), inserts(1))).collect();
    let manifest = manifest(tables);
    let mut log = log_of_segment();
    let plans_of = |log: &TableLog| plans(&[&manifest], log, &BTreeMap::new());
    let all = plans_of(&log);
    assert_eq!(all.len(), 2, "all that one call holds, and the last one, which ends the segment");
    assert!(all.iter().all(|plan| plan.transport == Transport::Batch));
    assert_eq!(all.iter().map(|plan| plan.staging.len()).collect::<Vec<_>>(), [11, 1]);
    for n in 1..12 {
        loaded(&mut log, n, 42, &format!("t{n}"));
    }
    assert_eq!(plans_of(&log), all[1..]);
}

/// Each takes a DELETE and an INSERT.
#[test]
fn tables_that_are_staged_before_share_transactions_and_who_failed_is_alone() {
    let upserts = || {
        let rows = RowCounts { replaces: 1, ..RowCounts::default() };
        load(rows, Vec::new())
    };
    let names: Vec<_> = (1..=60).map(|n| format!("t{n}")).collect();
    let mut steps: Vec<_> = names.iter().map(|name| (table(name, orders().columns), upserts())).collect();
    let added = vec![column("added", "DATE", false)];
    let wider = table("t5", [orders().columns, added].concat());
    let changes =
        vec![TableChange::AddColumn { column: "added".into(), fill: re_dms_shared::manifest::Fill::Null }];
    let before = Some(table("t5", orders().columns));
    let change = SchemaChange { before, changes, unproven: Vec::new(), hold: false };
    steps.insert(4, (wider, Action::Schema(change)));
    let manifest = manifest(steps);
    let mut log = log_of_segment();
    let plans_of = |log: &TableLog| plans(&[&manifest], log, &BTreeMap::new());
    let all = plans_of(&log);
    let tables = |plans: &[Plan]| about(plans).iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(tables(&all), [4, 1, 17, 17, 17, 3, 1], "who is changed is alone");
    assert!(
        all.iter().all(|plan| plan.statements.len() <= BATCH_STATEMENTS
            && plan.is_one_batch() == plan.staging.is_empty())
    );
    // What was under way is found by whoever goes on.
    for n in 1..=5 {
        loaded(&mut log, n, 42, &format!("t{n}"));
    }
    assert_eq!(plans_of(&log), all[2..]);
    log.add(LogRow {
        change: 6,
        event: "failed".into(),
        target: Target::new("public", "t10"),
        epoch: "7-1-re_dms_main-0000000000000010".into(),
        seq: 42,
        blame: Blame::default(),
    });
    assert_eq!(tables(&plans_of(&log)), [4, 1, 17, 17, 15, 1]);
}
