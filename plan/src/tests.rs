//! The SQL that Redshift gets, as golden files.

mod by_table;
mod chunk;
mod layout;
mod links;
mod older_formats;
mod policies;
mod quarantine;
mod resync;
mod schema;
mod schema_page;
mod transactions;

use re_dms_shared::Lsn;
use re_dms_shared::manifest::{
    Column, Compression, CopiedTable, DataFile, FORMAT, Layout, Load, Predecessor, RowCounts, Step,
};

use super::*;

fn column(name: &str, ty: &str, key: bool) -> Column {
    Column {
        name: name.into(),
        attribute_number: None,
        type_oid: 0,
        type_modifier: -1,
        target_name: name.into(),
        redshift_type: ty.parse().unwrap(),
        key,
    }
}

fn table(name: &str, columns: Vec<Column>) -> Table {
    Table {
        schema: "public".into(),
        name: name.into(),
        oid: 16_400,
        target_schema: "public".into(),
        target_name: name.into(),
        columns,
        kept: Vec::new(),
        layout: Layout::default(),
    }
}

fn orders() -> Table {
    let columns = vec![
        column("id", "BIGINT", true),
        column("note", "VARCHAR(65535)", false),
        column("paid", "BOOLEAN", false),
    ];
    table("orders", columns)
}

fn load(rows: RowCounts, present_sets: Vec<Vec<usize>>) -> Action {
    let file = DataFile { key: "f".into(), rows: rows.total(), bytes: 1, sha256: String::new() };
    let copy_manifest = "re_dms/main/E/segments/000000000042/0001-public.t-a1.copy.json".into();
    Action::Load(Load {
        copy_manifest,
        files: vec![file],
        compression: Compression::Gzip,
        tagged_keys: false,
        rows,
        present_sets,
        altered: Vec::new(),
    })
}

fn inserts(rows: u64) -> Action {
    load(RowCounts { inserts: rows, ..RowCounts::default() }, Vec::new())
}

fn manifest(steps: Vec<(Table, Action)>) -> Manifest {
    let steps = steps.into_iter().zip(1..);
    Manifest {
        format: FORMAT,
        stream: "main".into(),
        epoch: "7-1-re_dms_main-0000000000000010".into(),
        seq: 42,
        predecessor: Some(Predecessor { seq: 41, sha256: "cd".repeat(32) }),
        start_lsn: Lsn(0x10),
        end_lsn: Lsn(0x1_0000_0020),
        first_commit_time: "2026-01-02T03:04:05.000006Z".parse().unwrap(),
        last_commit_time: "2026-01-02T03:04:06.1234569Z".parse().unwrap(),
        transactions: 2,
        captured_by: "re_dms 0.1.0".into(),
        shapes: None,
        copy: None,
        after_copy: None,
        restores: None,
        steps: steps.map(|((table, action), number)| Step { number, table, action }).collect(),
    }
}

/// Redshift has the tables of all steps, with all columns.
fn complete_catalog(manifest: &Manifest) -> Catalog {
    let mut catalog = Catalog::default();
    for step in &manifest.steps {
        catalog.learn(&step.table);
    }
    catalog
}

fn plan_with(manifest: &Manifest, catalog: &Catalog) -> Result<Plan, PlanError> {
    plan_quarantining(manifest, catalog, &TableLog::default(), &BTreeMap::new())
}

fn plan_quarantining(
    manifest: &Manifest,
    catalog: &Catalog,
    log: &TableLog,
    bad: &BTreeMap<Target, Blame>,
) -> Result<Plan, PlanError> {
    let copy = CopySettings::default();
    plan(&Input { segments: &[staged(manifest)], copy: &copy, catalog, log }, bad)
}

fn staged(manifest: &Manifest) -> StagedSegment<'_> {
    let manifest_key = "re_dms/main/E/segments/000000000042/manifest.json";
    StagedSegment { manifest, manifest_sha256: "ab", bucket: "bucket", manifest_key }
}

/// A segment in which one target was skipped.
fn skipped<'a>(change: u64, target: &Target, manifest: &'a Manifest) -> SkippedSegment<'a> {
    SkippedSegment { segment: staged(manifest), targets: BTreeMap::from([(target.clone(), change)]) }
}

fn text(plan: &Plan) -> String {
    let lines = plan.statements.iter().map(|statement| statement.sql.as_str());
    format!("-- {:?}\n{}", plan.transport, lines.collect::<Vec<_>>().join("\n"))
}

/// The SQL for one step on an existing table.
fn sql(table: Table, action: Action) -> String {
    let manifest = manifest(vec![(table, action)]);
    text(&plan_with(&manifest, &complete_catalog(&manifest)).unwrap())
}

fn problem(table: Table, action: Action) -> String {
    let manifest = manifest(vec![(table, action)]);
    plan_with(&manifest, &complete_catalog(&manifest)).unwrap_err().to_string()
}

#[test]
fn inserts_only() {
    insta::assert_snapshot!(sql(orders(), inserts(3)));
}

#[test]
fn zstd_files_are_copied_as_such() {
    let zstd = |mut action| {
        let Action::Load(load) = &mut action else { panic!("a load") };
        load.compression = Compression::Zstd;
        action
    };
    let gzip = sql(orders(), inserts(3));
    let copy = "FORMAT AS CSV GZIP MANIFEST";
    assert_eq!(gzip.matches(copy).count(), 1, "{gzip}");
    assert_eq!(sql(orders(), zstd(inserts(3))), gzip.replace(copy, "FORMAT AS CSV ZSTD MANIFEST"));
}

#[test]
fn upserts_with_a_composite_key_of_text() {
    let columns = vec![
        column("region", "VARCHAR(40)", true),
        column("id", "INTEGER", true),
        column("doc", "SUPER", false),
    ];
    let rows = RowCounts { inserts: 1, replaces: 2, deletes: 3, ..RowCounts::default() };
    insta::assert_snapshot!(sql(table("stock", columns), load(rows, Vec::new())));
}

#[test]
fn updates_of_parts_of_rows() {
    let rows = RowCounts { updates: 5, ..RowCounts::default() };
    insta::assert_snapshot!(sql(orders(), load(rows, vec![vec![0, 1], vec![2]])));
}

#[test]
fn updates_of_nothing_but_the_key_change_nothing() {
    let rows = RowCounts { updates: 1, ..RowCounts::default() };
    let sql = sql(orders(), load(rows, vec![vec![0], vec![]]));
    assert!(!sql.contains("\nUPDATE "), "{sql}");
}

#[test]
fn many_sets_share_one_update() {
    let columns = (0..10).map(|n| column(&format!("c{n}"), "INTEGER", n == 0)).collect();
    let sets = (1..10).map(|n| vec![n, 9]).map(|mut set| {
        set.dedup();
        set
    });
    let rows = RowCounts { updates: 9, ..RowCounts::default() };
    insta::assert_snapshot!(sql(table("wide", columns), load(rows, sets.collect())));
}

#[test]
fn deletes_only() {
    let rows = RowCounts { deletes: 2, ..RowCounts::default() };
    insta::assert_snapshot!(sql(orders(), load(rows, Vec::new())));
}

#[test]
fn moves_find_the_old_key() {
    let columns =
        vec![column("a", "VARCHAR(8)", true), column("b", "INTEGER", true), column("c", "REAL", false)];
    let rows = RowCounts { moves: 2, ..RowCounts::default() };
    insta::assert_snapshot!(sql(table("t", columns), load(rows, vec![vec![0, 1], vec![0, 2]])));
}

#[test]
fn many_sets_of_moves_share_one_update() {
    let columns = (0..11).map(|n| column(&format!("c{n}"), "INTEGER", n == 0)).collect();
    let rows = RowCounts { moves: 9, ..RowCounts::default() };
    let sql = sql(table("wide", columns), load(rows, (1..10).map(|n| vec![0, n]).collect()));
    assert_eq!(sql.matches("\nUPDATE ").count(), 1, "{sql}");
    assert!(sql.contains(r#"SET "c0" = "re_dms_stage_0001"."c0", "c1" = CASE"#), "{sql}");
    assert!(!sql.contains(r#""c10" ="#), "no set has it: {sql}");
}

#[test]
fn append_only_tables_have_no_key() {
    let log = || table("log", vec![column("line", "VARCHAR(65535)", false)]);
    let sql = sql(log(), inserts(2));
    assert!(sql.contains("INSERT INTO") && !sql.contains("DELETE"), "{sql}");
    let deletes = load(RowCounts { deletes: 1, ..RowCounts::default() }, Vec::new());
    assert!(problem(log(), deletes).contains("without a key"));
    let removes = load(RowCounts { removes: 1, ..RowCounts::default() }, Vec::new());
    assert!(problem(orders(), removes).contains("with a key"));
}

/// A table without a key that has a column of each type.
fn all_types() -> Table {
    let types = [
        "BOOLEAN",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "REAL",
        "DOUBLE PRECISION",
        "DECIMAL(20,4)",
        "VARCHAR(40)",
        "DATE",
        "TIME",
        "TIMETZ",
        "TIMESTAMP",
        "TIMESTAMPTZ",
        "SUPER",
        "VARBYTE(1024000)",
    ];
    let columns = types.iter().map(|ty| {
        let name = ty.split('(').next().unwrap().to_lowercase().replace(' ', "_");
        column(&name, ty, false)
    });
    table("log", columns.collect())
}

#[test]
fn rows_without_a_key_go_by_what_they_hold() {
    let rows = RowCounts { inserts: 2, removes: 1, ..RowCounts::default() };
    let columns = vec![column("n", "INTEGER", false), column("line", "VARCHAR(65535)", false)];
    insta::assert_snapshot!(sql(table("log", columns), load(rows, Vec::new())));
}

#[test]
fn values_of_every_type_are_compared_exactly() {
    let rows = RowCounts { removes: 1, ..RowCounts::default() };
    let sql = sql(all_types(), load(rows, Vec::new()));
    assert_eq!(sql.matches("INSERT INTO \"public\".\"log\"").count(), 1, "only what stays comes back: {sql}");
    insta::assert_snapshot!(sql);
}

#[test]
fn keys_of_bytes_and_arrays() {
    let columns = vec![
        column("digest", "VARBYTE(1024000)", true),
        column("path", "SUPER", true),
        column("at", "DATE", true),
    ];
    let rows = RowCounts { deletes: 1, ..RowCounts::default() };
    insta::assert_snapshot!(sql(table("t", columns), load(rows, Vec::new())));
}

#[test]
fn a_table_without_a_key_may_be_too_wide_to_compare() {
    let rows = RowCounts { removes: 1, ..RowCounts::default() };
    let columns = (0..1_000).map(|n| column(&format!("column_{n}"), "INTEGER", false)).collect();
    let manifest = manifest(vec![(table("wide", columns), load(rows, Vec::new()))]);
    let error = plan_with(&manifest, &complete_catalog(&manifest)).unwrap_err();
    assert!(error.to_string().contains("counting the copies of rows that go"), "{error}");
    assert!(error.hint().contains("primary key"), "{}", error.hint());
}

#[test]
fn a_truncate_between_loads() {
    let manifest =
        manifest(vec![(orders(), inserts(1)), (orders(), Action::Truncate), (orders(), inserts(2))]);
    insta::assert_snapshot!(text(&plan_with(&manifest, &complete_catalog(&manifest)).unwrap()));
}

#[test]
fn missing_tables_are_made_once() {
    let mut shop = orders();
    shop.target_schema = "shop".into();
    let manifest = manifest(vec![(shop.clone(), inserts(1)), (shop, inserts(1)), (orders(), inserts(0))]);
    insta::assert_snapshot!(text(&plan_with(&manifest, &Catalog::default()).unwrap()));
}

#[test]
fn missing_columns_are_added_and_others_left_alone() {
    let manifest = manifest(vec![(orders(), inserts(1))]);
    let mut catalog = Catalog::default();
    catalog.add_row("public", "orders", "id", "bigint", [None, Some(64), Some(0)], false);
    catalog.add_row("public", "orders", "theirs", "geometry", [None; 3], false);
    insta::assert_snapshot!(text(&plan_with(&manifest, &catalog).unwrap()));
}

#[test]
fn columns_that_cannot_hold_the_values_are_told() {
    let manifest = manifest(vec![(orders(), inserts(1))]);
    let mut catalog = complete_catalog(&manifest);
    catalog.add_row("public", "orders", "note", "character", [Some(256), None, None], false);
    let error = plan_with(&manifest, &catalog).unwrap_err();
    assert_eq!(
        error.to_string(),
        "public.orders: column note is character in Redshift and VARCHAR(65535) in the segment"
    );
    assert!(error.hint().contains("VARCHAR(65535)"));
}

#[test]
fn names_are_quoted() {
    let columns = vec![column("the \"id\"", "INTEGER", true), column("größe; DROP TABLE x", "DATE", false)];
    let mut order = table("Order's", columns);
    order.target_schema = "my schema".into();
    let rows = RowCounts { replaces: 1, ..RowCounts::default() };
    let manifest = manifest(vec![(order, load(rows, Vec::new()))]);
    insta::assert_snapshot!(text(&plan_with(&manifest, &Catalog::default()).unwrap()));
}

#[test]
fn copy_takes_a_role_and_a_region() {
    let manifest = manifest(vec![(orders(), inserts(1))]);
    let copy =
        CopySettings { role: Some("arn:aws:iam::1:role/copy".into()), region: Some("eu-central-1".into()) };
    let catalog = complete_catalog(&manifest);
    let input =
        Input { segments: &[staged(&manifest)], copy: &copy, catalog: &catalog, log: &TableLog::default() };
    let plan = plan(&input, &BTreeMap::new());
    let statement = plan.unwrap().statements.into_iter().find(|statement| statement.purpose == Purpose::Copy);
    insta::assert_snapshot!(statement.unwrap().sql);
}

#[test]
fn tagged_keys() {
    let tagged = |rows, sets| {
        let mut action = load(rows, sets);
        let Action::Load(load) = &mut action else { panic!("a load") };
        load.tagged_keys = true;
        action
    };
    let columns = vec![
        column("id", "BIGINT", true),
        column("region", "VARCHAR(1024)", true),
        column("note", "DATE", false),
    ];
    let moves = RowCounts { moves: 2, ..RowCounts::default() };
    insta::assert_snapshot!(
        "tagged_moves",
        sql(table("t", columns.clone()), tagged(moves, vec![vec![0, 1]]))
    );
    let others = RowCounts { replaces: 1, updates: 1, deletes: 1, ..RowCounts::default() };
    insta::assert_snapshot!("tagged_keys", sql(table("t", columns), tagged(others, vec![vec![0, 1, 2]])));
    let keyless = table("log", vec![column("line", "DATE", false)]);
    let error = problem(keyless, tagged(RowCounts { inserts: 1, ..RowCounts::default() }, Vec::new()));
    assert!(error.contains("can't be"), "{error}");
}

#[test]
fn statements_that_the_data_api_refuses_are_not_sent() {
    let columns = (0..1_600)
        .map(|n| column(&format!("column_with_a_long_name_of_its_own_{n}"), "DATE", n == 0))
        .collect();
    let rows = RowCounts { updates: 1, ..RowCounts::default() };
    let error = problem(table("wide", columns), load(rows, vec![(1..1_600).collect()]));
    assert!(error.starts_with("public.wide: ") && error.contains("100000"), "{error}");
}

#[test]
fn manifests_that_contradict_themselves_are_refused() {
    let rows = |rows| load(rows, Vec::new());
    let update = RowCounts { updates: 1, ..RowCounts::default() };
    assert!(problem(orders(), rows(update)).contains("no sets"));
    assert!(problem(orders(), load(update, vec![vec![3]])).contains("wrong positions"));
    assert!(problem(orders(), load(update, vec![vec![1, 1]])).contains("wrong positions"));
    let mixed = RowCounts { moves: 1, inserts: 1, ..RowCounts::default() };
    assert!(problem(orders(), rows(mixed)).contains("moves beside"));
    let mut lost = inserts(2);
    if let Action::Load(load) = &mut lost {
        load.files[0].rows = 1;
    }
    assert!(problem(orders(), lost).contains("hold 1 rows"));
    let twins = vec![column("a", "DATE", true), column("A", "DATE", false)];
    assert!(problem(table("t", twins), inserts(1)).contains("two columns"));
    assert!(problem(table("", orders().columns), inserts(1)).contains("can't be a name"));
    let mut swapped = manifest(vec![(orders(), inserts(1)), (orders(), inserts(1))]);
    swapped.steps.swap(0, 1);
    assert!(plan_with(&swapped, &Catalog::default()).unwrap_err().to_string().contains("step 1"));
    let mut quoted = inserts(1);
    if let Action::Load(load) = &mut quoted {
        load.copy_manifest = "x' CREDENTIALS '".into();
    }
    assert!(problem(orders(), quoted).contains("quote"));
}

/// A segment that is a table's initial copy.
fn copied(table: Table, rows: Action) -> Manifest {
    let copy = CopiedTable { oid: table.oid, schema: "s".into(), name: "t".into(), snapshot: Lsn(0x20) };
    Manifest { copy: Some(copy), ..manifest(vec![(table, rows)]) }
}

#[test]
fn a_copy_goes_straight_into_a_table_that_must_be_empty() {
    let manifest = copied(orders(), inserts(3));
    let there = text(&plan_with(&manifest, &complete_catalog(&manifest)).unwrap());
    let missing = text(&plan_with(&manifest, &Catalog::default()).unwrap());
    let nothing = load(RowCounts::default(), Vec::new());
    let nothing = text(&plan_with(&copied(orders(), nothing), &Catalog::default()).unwrap());
    insta::assert_snapshot!([there, missing, nothing].join("\n\n"));
    let update = load(RowCounts { inserts: 2, deletes: 1, ..RowCounts::default() }, Vec::new());
    let error = plan_with(&copied(orders(), update), &Catalog::default()).unwrap_err().to_string();
    assert!(error.contains("more than inserts"), "{error}");
}

#[test]
fn questions_outside_of_the_transaction() {
    let mut shop = orders();
    shop.target_schema = "Shop".into();
    let manifest = manifest(vec![
        (orders(), inserts(1)),
        (shop, inserts(2)),
        (table("o'k", orders().columns), inserts(3)),
    ]);
    let mut all = queries::columns(&manifest);
    all.push(queries::load_error("bucket", "re_dms/main/E/segments/000000000042/"));
    all.push(ledger::last_row("main", "E"));
    all.extend(ledger::ensure("main"));
    all.push(table_log::ensure("main"));
    all.push(table_log::read("main", "E", 42));
    let target = Target::new("Public", "orders");
    all.push(table_log::skipped("main", &target, 7, 10));
    let blame = Blame { reason: "it's".into(), hint: "drop \\ it".into(), held: false };
    all.push(staging::list("main"));
    all.extend(table_log::note_failure("main", "E", 42, &target, &blame, 2));
    insta::assert_snapshot!(all.join("\n"));
    assert_eq!(queries::rows(&manifest), 6);
}
