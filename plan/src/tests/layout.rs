//! Tables that are distributed, sorted and compressed as somebody wants it, with a declared key, and what that costs later.

use std::collections::BTreeMap;

use re_dms_shared::manifest::{Distribution, Encoding, Layout, OldValues, SchemaChange, TableChange};

use super::*;

fn orders() -> Table {
    let columns = vec![
        column("region", "VARCHAR(1024)", true),
        column("id", "BIGINT", true),
        column("at", "TIMESTAMP", false),
        column("note", "VARCHAR(40)", false),
    ];
    let layout = Layout {
        distribution: Distribution::Key("id".into()),
        sort_key: vec!["at".into(), "id".into()],
        encodings: BTreeMap::from([("note".into(), Encoding::Zstd), ("at".into(), Encoding::Raw)]),
        primary_key: true,
    };
    Table { layout, ..table("orders", columns) }
}

/// As Redshift shows it once it is made.
fn made(table: &Table) -> Catalog {
    let mut catalog = Catalog::default();
    let Table { target_schema: schema, target_name: name, layout, .. } = table;
    for column in &table.columns {
        let (data_type, length) = match column.redshift_type.to_string().as_str() {
            "VARCHAR(1024)" => ("character varying", Some(1024)),
            "VARCHAR(40)" => ("character varying", Some(40)),
            "BIGINT" => ("bigint", None),
            _ => ("timestamp without time zone", None),
        };
        let target = &column.target_name;
        catalog.add_row(
            schema,
            name,
            target,
            data_type,
            [length, None, None],
            column.key && layout.primary_key,
        );
        let distributes = layout.distribution == Distribution::Key(target.clone());
        catalog.add_layout(schema, name, target, distributes, layout.sort_key.contains(target));
    }
    catalog.add_primary_key(schema, name, "re_dms_key_16400_orders");
    catalog
}

fn steps_of(manifest: &Manifest, catalog: &Catalog) -> String {
    let plan = plan_with(manifest, catalog).unwrap();
    let before = plan.before.iter().map(|statement| format!("{}\n-- in the transaction:", statement.sql));
    let of_steps = plan.statements.iter().filter(|statement| statement.of.is_some());
    before.chain(of_steps.map(|statement| statement.sql.clone())).collect::<Vec<_>>().join("\n")
}

fn changed(after: impl Fn(&mut Table), changes: Vec<TableChange>) -> String {
    let before = orders();
    let mut table = before.clone();
    after(&mut table);
    let change = SchemaChange { before: Some(before.clone()), changes, unproven: Vec::new(), hold: false };
    steps_of(&manifest(vec![(table, Action::Schema(change))]), &made(&before))
}

#[test]
fn tables_are_made_as_wanted() {
    let plain = |layout| Table { layout, ..super::orders() };
    let cases = [
        orders(),
        plain(Layout { distribution: Distribution::Even, primary_key: true, ..Layout::default() }),
        plain(Layout { distribution: Distribution::All, sort_key: vec!["paid".into()], ..Layout::default() }),
        // Columns that are gone by now.
        plain(Layout {
            distribution: Distribution::Key("gone".into()),
            sort_key: vec!["id".into(), "gone".into()],
            ..Layout::default()
        }),
    ];
    let made = cases.map(|table| steps_of(&manifest(vec![(table, Action::Truncate)]), &Catalog::default()));
    insta::assert_snapshot!(made.join("\n\n"));
}

#[test]
fn what_is_in_the_way_of_a_change_goes_first() {
    let without =
        |name: &'static str| move |table: &mut Table| table.columns.retain(|column| column.name != name);
    let drop = |name: &str| TableChange::DropColumn { column: name.into() };
    let typed = |name: &'static str, ty: &'static str| {
        move |table: &mut Table| {
            let column = table.columns.iter_mut().find(|column| column.name == name);
            column.unwrap().redshift_type = ty.parse().unwrap();
        }
    };
    let retype = |name: &str, from: &str, to: &str| TableChange::ChangeType {
        column: name.into(),
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        values: OldValues::Converted,
    };
    let cases = [
        ("a column that sorts is dropped", changed(without("at"), vec![drop("at")])),
        (
            "one that distributes, sorts and is the key's is dropped",
            changed(without("id"), vec![drop("id"), TableChange::ChangeKey]),
        ),
        (
            "a key's VARCHAR is widened",
            changed(
                typed("region", "VARCHAR(2000)"),
                vec![retype("region", "VARCHAR(1024)", "VARCHAR(2000)")],
            ),
        ),
        (
            "a compressed VARCHAR is widened",
            changed(typed("note", "VARCHAR(80)"), vec![retype("note", "VARCHAR(40)", "VARCHAR(80)")]),
        ),
        (
            "a compressed column is converted",
            changed(typed("at", "VARCHAR(65535)"), vec![retype("at", "TIMESTAMP", "VARCHAR(65535)")]),
        ),
        (
            "another key",
            changed(
                |table| {
                    table.columns[0].target_name = "area".into();
                    table.columns[0].key = false;
                    table.columns[2].key = true;
                },
                vec![
                    TableChange::RenameColumn { from: "region".into(), to: "area".into() },
                    TableChange::ChangeKey,
                ],
            ),
        ),
    ];
    let told: Vec<_> = cases.iter().map(|(name, sql)| format!("-- {name}\n{sql}")).collect();
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn a_table_of_the_same_transaction_is_altered_within_it() {
    let before = orders();
    let mut after = before.clone();
    after.columns.retain(|column| column.name != "id");
    let change = SchemaChange {
        before: Some(before.clone()),
        changes: vec![TableChange::DropColumn { column: "id".into() }, TableChange::ChangeKey],
        unproven: Vec::new(),
        hold: false,
    };
    let steps = vec![(before, Action::Truncate), (after, Action::Schema(change))];
    insta::assert_snapshot!(steps_of(&manifest(steps), &Catalog::default()));
}
