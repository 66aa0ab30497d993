//! Columns that are kept, changes that are held.

use re_dms_shared::manifest::{Fill, SchemaChange, TableChange};

use super::*;

/// Two columns that the source has no more; Redshift has one of them still.
fn keeping() -> (Table, Catalog) {
    let kept = vec![column("old", "VARCHAR(40)", false), column("re_dms_kept_4_paid", "BOOLEAN", false)];
    let table = Table { kept, ..orders() };
    let mut catalog = Catalog::default();
    catalog.assume(&table);
    catalog.target_mut(&table).unwrap().columns.remove("re_dms_kept_4_paid");
    (table, catalog)
}

fn loaded(table: Table, catalog: &Catalog, rows: RowCounts, sets: Vec<Vec<usize>>) -> String {
    text(&plan_with(&manifest(vec![(table, load(rows, sets))]), catalog).unwrap())
}

#[test]
fn replaced_rows_keep_what_they_had_in_columns_that_are_kept() {
    let (table, catalog) = keeping();
    let rows = RowCounts { inserts: 1, replaces: 2, deletes: 3, ..RowCounts::default() };
    insta::assert_snapshot!(loaded(table, &catalog, rows, Vec::new()));
}

#[test]
fn new_rows_have_null_there_whatever_the_default() {
    let (table, catalog) = keeping();
    let sql = loaded(table.clone(), &catalog, RowCounts { inserts: 1, ..RowCounts::default() }, Vec::new());
    assert!(sql.contains(r#"("id", "note", "paid", "old") SELECT "id", "note", "paid", NULL FROM"#), "{sql}");
    assert!(!sql.contains("\nUPDATE"), "there is nothing to keep: {sql}");
    let keyless = Table {
        columns: table.columns.iter().map(|column| Column { key: false, ..column.clone() }).collect(),
        ..table
    };
    let sql = loaded(keyless, &catalog, RowCounts { removes: 1, ..RowCounts::default() }, Vec::new());
    assert!(sql.contains(r#""paid", "old") SELECT"#) && sql.contains(r#""paid", NULL FROM"#), "{sql}");
}

/// A row comes, then a change that is held, then one of the new shape.
fn holding() -> Manifest {
    let mut after = orders();
    after.columns.push(column("more", "VARCHAR(65535)", false));
    let fill = Fill::Value("secret".into());
    let change = SchemaChange {
        before: Some(orders()),
        changes: vec![TableChange::AddColumn { column: "more".into(), fill }],
        unproven: Vec::new(),
        hold: true,
    };
    manifest(vec![(orders(), inserts(1)), (after.clone(), Action::Schema(change)), (after, inserts(1))])
}

#[test]
fn a_table_is_held_at_the_segment_of_its_change() {
    let manifest = holding();
    let mut catalog = Catalog::default();
    catalog.assume(&orders());
    let held = super::held(&manifest, &catalog, &TableLog::default());
    let blame = &held[&Target::new("public", "orders")];
    assert!(blame.held && blame.reason.contains(r#"ADD COLUMN "more" VARCHAR(65535)"#), "{blame:?}");
    assert!(!blame.reason.contains("secret"), "a default is a value: {blame:?}");
    let plan = plan_quarantining(&manifest, &catalog, &TableLog::default(), &held).unwrap();
    let sql = text(&plan);
    assert!(sql.contains("'held', 'public', 'orders'") && sql.contains("'skipped'"), "{sql}");
    assert!(!sql.contains("COPY"), "nothing of it is loaded: {sql}");
    // It is not held a second time.
    let mut log = TableLog::default();
    log.add(row("held", 1));
    assert!(super::held(&manifest, &catalog, &log).is_empty());
    assert!(log.told().tables[0].held);
    log.add(row("resumed", 2));
    assert!(!log.is_quarantined(&Target::new("public", "orders")));
}

fn row(event: &str, change: u64) -> table_log::LogRow {
    let target = Target::new("public", "orders");
    let (event, epoch) = (event.into(), "E".into());
    table_log::LogRow { change, event, target, epoch, seq: 42, blame: Blame::default() }
}

#[test]
fn what_is_held_is_replayed_only_if_it_is_approved() {
    let manifest = holding();
    let (mut catalog, copy) = (Catalog::default(), CopySettings::default());
    catalog.assume(&orders());
    let mut log = TableLog::default();
    log.add(row("held", 1));
    let replay = |approved| {
        let orders = Target::new("public", "orders");
        let replay = Replay {
            skipped: &[skipped(2, &orders, &manifest)],
            ends: &[orders],
            approved,
            copy: &copy,
            catalog: &catalog,
            log: &log,
        };
        super::replay("main", &replay)
    };
    let error = replay(false).unwrap_err();
    assert!(error.hint().contains("re_dms tables approve public.orders"), "{error}");
    let sql = text(&replay(true).unwrap());
    assert!(
        sql.contains("ADD COLUMN \"more\" VARCHAR(65535) DEFAULT 'secret'") && sql.contains("COPY"),
        "{sql}"
    );
}

#[test]
fn changes_are_shown_as_they_would_be_done() {
    let manifest = holding();
    let (table, change) = match &manifest.steps[1] {
        Step { table, action: Action::Schema(change), .. } => (table, change),
        other => panic!("{other:?}"),
    };
    let mut catalog = Catalog::default();
    catalog.assume(&orders());
    let expected = [r#"ALTER TABLE "public"."orders" ADD COLUMN "more" VARCHAR(65535) DEFAULT 'secret'"#];
    assert_eq!(change_sql(&mut catalog, table, change).unwrap(), expected);
    assert_eq!(change_sql(&mut catalog, table, change).unwrap(), [""; 0], "it is done by then");
}
