//! The SQL of every change of a table's definition.

use re_dms_shared::manifest::{Fill, OldValues, SchemaChange, TableChange};

use super::*;

fn shape(name: &str, columns: &[(&str, &str)]) -> Table {
    table(name, columns.iter().map(|(name, ty)| column(name, ty, *name == "id")).collect())
}

fn change(before: &Table, after: &Table, changes: Vec<TableChange>) -> (Table, Action) {
    let change = SchemaChange { before: Some(before.clone()), changes, unproven: Vec::new(), hold: false };
    (after.clone(), Action::Schema(change))
}

fn add(column: &str, fill: Fill) -> TableChange {
    TableChange::AddColumn { column: column.into(), fill }
}

fn value(text: &str) -> Fill {
    Fill::Value(text.into())
}

fn drop(column: &str) -> TableChange {
    TableChange::DropColumn { column: column.into() }
}

fn rename(from: &str, to: &str) -> TableChange {
    TableChange::RenameColumn { from: from.into(), to: to.into() }
}

fn retype(column: &str, from: &str, to: &str, values: OldValues) -> TableChange {
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    TableChange::ChangeType { column: column.into(), from, to, values }
}

/// As Redshift would show these tables.
fn catalog_of(tables: &[&Table]) -> Catalog {
    let mut catalog = Catalog::default();
    for table in tables {
        for column in &table.columns {
            let text = column.redshift_type.to_string();
            let (name, numbers) = text.split_once('(').unwrap_or((&text, ""));
            let numbers: Vec<i64> =
                numbers.trim_end_matches(')').split(',').filter_map(|number| number.parse().ok()).collect();
            let data_type = if name == "VARCHAR" { "character varying" } else { name };
            let sizes = match (name, numbers.as_slice()) {
                (_, [length]) => [Some(*length), None, None],
                (_, [precision, scale]) => [None, Some(*precision), Some(*scale)],
                _ => [None; 3],
            };
            catalog.add_row(
                &table.target_schema,
                &table.target_name,
                &column.target_name,
                data_type,
                sizes,
                false,
            );
        }
    }
    catalog
}

/// Only what the steps themselves come to, and what is done before.
fn changes_only(steps: Vec<(Table, Action)>, catalog: &Catalog) -> String {
    let plan = match plan_with(&manifest(steps), catalog) {
        Ok(plan) => plan,
        Err(error) => return format!("refused: {error}\nhint: {}", error.hint()),
    };
    let before = plan.before.iter().map(|statement| format!("{}\n-- in the transaction:", statement.sql));
    let of_steps = plan.statements.iter().filter(|statement| statement.of.is_some());
    let lines: Vec<_> = before.chain(of_steps.map(|statement| statement.sql.clone())).collect();
    if lines.is_empty() { "-- nothing".into() } else { lines.join("\n") }
}

/// What each change comes to, under a heading of its own.
pub(super) fn golden() -> String {
    let t = shape("t", &[("id", "BIGINT"), ("a", "VARCHAR(40)"), ("b", "INTEGER")]);
    let with = |more: &[(&str, &str)]| {
        let kept = [("id", "BIGINT"), ("a", "VARCHAR(40)"), ("b", "INTEGER")];
        shape("t", &[&kept, more].concat())
    };
    let a_as = |ty| shape("t", &[("id", "BIGINT"), ("a", ty), ("b", "INTEGER")]);
    let b_as = |ty| shape("t", &[("id", "BIGINT"), ("a", "VARCHAR(40)"), ("b", ty)]);
    let columns = |names: &[&'static str]| {
        let kept = [("id", "BIGINT")];
        let more: Vec<_> = names.iter().map(|name| (*name, "INTEGER")).collect();
        shape("t", &[&kept[..], &more].concat())
    };
    let converted = OldValues::Converted;
    let renamed = Table { target_name: "u".into(), ..t.clone() };
    let moved = Table { target_schema: "sales".into(), ..t.clone() };
    let (xyz, only_x, only_y) =
        (columns(&["x", "y", "z"]), shape("t", &[("x", "INTEGER")]), shape("t", &[("y", "INTEGER")]));
    let cases = [
        ("create", &t, vec![TableChange::Create], t.clone()),
        ("drop", &t, vec![TableChange::Drop], t.clone()),
        ("rename table", &t, vec![TableChange::Move], renamed.clone()),
        (
            "rename table and add",
            &t,
            vec![TableChange::Move, add("c", Fill::Null)],
            Table { target_name: "u".into(), ..with(&[("c", "DATE")]) },
        ),
        ("move schema", &t, vec![TableChange::Move], moved),
        ("add, NULL", &t, vec![add("c", Fill::Null)], with(&[("c", "DATE")])),
        (
            "add, constants",
            &t,
            vec![
                add("c1", value("7")),
                add("c2", value("f")),
                add("c3", value("1.50")),
                add("c4", value("2026-01-02")),
                add("c5", value("it's \\ new")),
                add("c6", value("long")),
                add("c7", value("{\"a\":1}")),
                add("c8", value("00ff")),
            ],
            with(&[
                ("c1", "SMALLINT"),
                ("c2", "BOOLEAN"),
                ("c3", "DECIMAL(10,2)"),
                ("c4", "DATE"),
                ("c5", "VARCHAR(40)"),
                ("c6", "VARCHAR(65535)"),
                ("c7", "SUPER"),
                ("c8", "VARBYTE(1024000)"),
            ]),
        ),
        ("drop column", &t, vec![drop("b")], shape("t", &[("id", "BIGINT"), ("a", "VARCHAR(40)")])),
        ("drop and add of one name", &t, vec![drop("b"), add("b", value("5"))], t.clone()),
        (
            "rename column",
            &t,
            vec![rename("b", "c")],
            shape("t", &[("id", "BIGINT"), ("a", "VARCHAR(40)"), ("c", "INTEGER")]),
        ),
        ("rename to a name just dropped", &t, vec![drop("a"), rename("b", "a")], columns(&["a"])),
        ("two columns swap names", &xyz, vec![rename("x", "y"), rename("y", "x")], columns(&["y", "x", "z"])),
        (
            "three in a circle and a chain",
            &xyz,
            vec![rename("x", "y"), rename("y", "z"), rename("z", "x")],
            columns(&["y", "z", "x"]),
        ),
        ("all columns go", &only_x, vec![drop("x"), add("y", Fill::Null)], only_y),
        (
            "a longer VARCHAR",
            &t,
            vec![retype("a", "VARCHAR(40)", "VARCHAR(80)", converted)],
            a_as("VARCHAR(80)"),
        ),
        (
            "a shorter VARCHAR",
            &t,
            vec![retype("a", "VARCHAR(40)", "VARCHAR(20)", converted)],
            a_as("VARCHAR(20)"),
        ),
        (
            "a longer VARCHAR under a new name",
            &t,
            vec![rename("a", "c"), retype("c", "VARCHAR(40)", "VARCHAR(80)", converted)],
            shape("t", &[("id", "BIGINT"), ("c", "VARCHAR(80)"), ("b", "INTEGER")]),
        ),
        ("another type", &t, vec![retype("b", "INTEGER", "BIGINT", converted)], b_as("BIGINT")),
        (
            "a boolean as text",
            &shape("t", &[("id", "BIGINT"), ("b", "BOOLEAN")]),
            vec![retype("b", "BOOLEAN", "VARCHAR(65535)", converted)],
            shape("t", &[("id", "BIGINT"), ("b", "VARCHAR(65535)")]),
        ),
        (
            "values that nothing tells",
            &t,
            vec![retype("b", "INTEGER", "DATE", OldValues::Unknown)],
            b_as("DATE"),
        ),
        (
            "values that nothing tells, of the same type",
            &t,
            vec![retype("a", "VARCHAR(40)", "VARCHAR(40)", OldValues::Unknown)],
            t.clone(),
        ),
    ];
    let golden = cases.iter().map(|(title, before, changes, after)| {
        let created = changes.contains(&TableChange::Create);
        let step = if created {
            let change =
                SchemaChange { before: None, changes: changes.clone(), unproven: Vec::new(), hold: false };
            (after.clone(), Action::Schema(change))
        } else {
            change(before, after, changes.clone())
        };
        let catalog = if created { Catalog::default() } else { catalog_of(&[before]) };
        format!("-- {title}\n{}\n", changes_only(vec![step], &catalog))
    });
    golden.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_change() {
    insta::assert_snapshot!(golden());
}

#[test]
fn what_is_done_already_is_not_done_again() {
    let t = shape("t", &[("id", "BIGINT"), ("a", "VARCHAR(40)"), ("b", "INTEGER")]);
    let after = shape("u", &[("id", "BIGINT"), ("c", "VARCHAR(80)"), ("d", "DATE")]);
    let changes = vec![
        TableChange::Move,
        drop("b"),
        rename("a", "c"),
        retype("c", "VARCHAR(40)", "VARCHAR(80)", OldValues::Converted),
        add("d", Fill::Null),
    ];
    let steps = || vec![change(&t, &after, changes.clone())];
    assert_eq!(changes_only(steps(), &catalog_of(&[&after])), "-- nothing");
    // The process died between the widening and the transaction.
    let widened = shape("t", &[("id", "BIGINT"), ("a", "VARCHAR(80)")]);
    let again = changes_only(steps(), &catalog_of(&[&widened]));
    assert!(!again.contains("TYPE ") && again.contains("RENAME TO \"u\""), "{again}");
    // Nothing was ever loaded.
    assert!(changes_only(steps(), &Catalog::default()).contains("CREATE TABLE"));
    assert_eq!(
        changes_only(vec![change(&t, &t, vec![TableChange::Drop])], &Catalog::default()),
        "-- nothing"
    );
}

#[test]
fn steps_in_a_row_find_what_those_before_them_leave() {
    let t = shape("t", &[("id", "BIGINT"), ("a", "VARCHAR(40)")]);
    let renamed = shape("t", &[("id", "BIGINT"), ("b", "VARCHAR(40)")]);
    let wider = shape("t", &[("id", "BIGINT"), ("b", "VARCHAR(80)")]);
    let two = shape("t", &[("id", "BIGINT"), ("b", "VARCHAR(80)"), ("c", "VARCHAR(4)")]);
    let longer = shape("t", &[("id", "BIGINT"), ("b", "VARCHAR(80)"), ("c", "VARCHAR(8)")]);
    let elsewhere = Table { target_name: "u".into(), ..longer.clone() };
    let steps = vec![
        (t.clone(), inserts(1)),
        change(&t, &renamed, vec![rename("a", "b")]),
        change(&renamed, &wider, vec![retype("b", "VARCHAR(40)", "VARCHAR(80)", OldValues::Converted)]),
        change(&wider, &two, vec![add("c", Fill::Null)]),
        change(&two, &longer, vec![retype("c", "VARCHAR(4)", "VARCHAR(8)", OldValues::Converted)]),
        change(&longer, &elsewhere, vec![TableChange::Move]),
        (elsewhere.clone(), inserts(1)),
        change(&elsewhere, &elsewhere, vec![TableChange::Drop]),
        (t.clone(), inserts(1)),
    ];
    insta::assert_snapshot!(changes_only(steps, &catalog_of(&[&t])));
}

#[test]
fn a_varchar_that_is_too_short_for_a_load_is_widened() {
    let short = shape("t", &[("id", "BIGINT"), ("a", "VARCHAR(40)")]);
    let long = shape("t", &[("id", "BIGINT"), ("a", "VARCHAR(80)")]);
    let sql = changes_only(vec![(long, inserts(1))], &catalog_of(&[&short]));
    assert!(
        sql.starts_with("ALTER TABLE \"public\".\"t\" ALTER COLUMN \"a\" TYPE VARCHAR(80)\n-- in the"),
        "{sql}"
    );
}

#[test]
fn what_would_be_refused_is_told_with_names() {
    let t = shape("t", &[("id", "BIGINT"), ("a", "VARCHAR(40)"), ("b", "INTEGER")]);
    let mut catalog = catalog_of(&[&t]);
    catalog.add_dependent("public", "t", Some("b"), "reports.totals".into());
    let retyped = retype("b", "INTEGER", "BIGINT", OldValues::Converted);
    let bigger = shape("t", &[("id", "BIGINT"), ("a", "VARCHAR(40)"), ("b", "BIGINT")]);
    let without = shape("t", &[("id", "BIGINT"), ("b", "INTEGER")]);
    let moved = Table { target_schema: "sales".into(), ..t.clone() };
    let refused = [
        vec![change(&t, &t, vec![TableChange::Drop])],
        vec![change(&t, &without, vec![drop("b")])],
        vec![change(&t, &bigger, vec![retyped])],
        vec![change(&t, &moved, vec![TableChange::Move])],
    ];
    for steps in refused {
        let text = changes_only(steps, &catalog);
        assert!(text.contains("reports.totals") && text.contains("hint: drop these views"), "{text}");
    }
    // What the view does not read may go, and names may change.
    let renamed = shape("t", &[("id", "BIGINT"), ("c", "INTEGER")]);
    let text = changes_only(vec![change(&t, &renamed, vec![drop("a"), rename("b", "c")])], &catalog);
    assert!(text.contains("DROP COLUMN \"a\"") && text.contains("RENAME COLUMN"), "{text}");

    let text = changes_only(vec![change(&t, &t, vec![rename("b", "a")])], &catalog);
    assert!(text.contains("column b is to be called a"), "{text}");
    let u = shape("u", &[("id", "BIGINT")]);
    let text = changes_only(vec![change(&t, &u, vec![TableChange::Move])], &catalog_of(&[&t, &u]));
    assert!(text.contains("is to be called public.u"), "{text}");
}

#[test]
fn contradictions_are_refused() {
    let t = shape("t", &[("id", "BIGINT"), ("a", "VARCHAR(40)")]);
    let wrong = [
        add("missing", Fill::Null),
        drop("missing"),
        rename("missing", "a"),
        rename("a", "missing"),
        retype("a", "VARCHAR(40)", "DATE", OldValues::Converted),
        TableChange::Create,
    ];
    for change_ in wrong {
        let text = changes_only(vec![change(&t, &t, vec![change_])], &catalog_of(&[&t]));
        assert!(text.contains("neither shape"), "{text}");
    }
}

#[test]
fn questions_about_changes() {
    let t = shape("t", &[("id", "BIGINT")]);
    let u = shape("u", &[("id", "BIGINT")]);
    let steps = vec![(shape("v", &[("id", "BIGINT")]), inserts(1)), change(&t, &u, vec![TableChange::Move])];
    let manifest = manifest(steps);
    let questions = [queries::columns(&manifest), queries::dependents(&manifest)].concat();
    insta::assert_snapshot!(questions.join("\n"));
    let added = change(&t, &shape("t", &[("id", "BIGINT"), ("a", "DATE")]), vec![add("a", Fill::Null)]);
    assert_eq!(queries::dependents(&super::manifest(vec![added])), Vec::<String>::new(), "nothing is lost");
}
