//! Changes and what they mean for rows from before.

use re_dms_shared::manifest::Layout;
use re_dms_shared::types::{ColumnRules, map_type};

use super::*;
use crate::relations::look::ColumnNow;

fn column(number: i16, name: &str, type_oid: u32, type_modifier: i32) -> Column {
    Column {
        name: name.into(),
        attribute_number: Some(number),
        type_oid,
        type_modifier,
        target_name: name.to_ascii_lowercase(),
        redshift_type: map_type(type_oid, type_modifier).redshift,
        key: false,
    }
}

fn table(name: &str, columns: Vec<Column>) -> Table {
    Table {
        schema: "public".into(),
        name: name.into(),
        oid: 1,
        target_schema: "public".into(),
        target_name: name.into(),
        columns,
        kept: Vec::new(),
        layout: Layout::default(),
    }
}

fn new_column(default: bool, value: Option<&str>) -> TableNow {
    let column = ColumnNow {
        key: None,
        number: 2,
        name: Some("c".into()),
        type_oid: TEXT,
        modifier: -1,
        published: true,
        default,
        missing: value.is_some(),
        value: value.map(Into::into),
        xid: 1,
    };
    TableNow {
        oid: 1,
        schema: "public".into(),
        name: "t".into(),
        storage: 1,
        columns: vec![column],
        leaves: None,
    }
}

fn unwritten() -> Evidence<'static> {
    Evidence { now: None, rewritten: false, plain: false, constant: &constant }
}

fn constant(column: &Column, value: &str) -> Option<Constant> {
    let class = map_type(column.type_oid, column.type_modifier).class;
    crate::rows::constant(column, &class, ColumnRules::default(), value)
}

#[test]
fn renames_drops_and_adds_go_by_number() {
    let before = table("t", vec![column(1, "a", INT4, -1), column(2, "b", INT4, -1)]);
    let after = table("u", vec![column(1, "b", INT4, -1), column(3, "a", INT4, -1)]);
    let now = new_column(false, None);
    let mut found = difference(&before, &after, Evidence { now: Some(&now), ..unwritten() });
    assert_eq!(found.unproven.len(), 1, "nothing is known of column 3: {found:?}");
    found.unproven.clear();
    let changes = vec![
        TableChange::Move,
        TableChange::DropColumn { column: "b".into() },
        TableChange::RenameColumn { from: "a".into(), to: "b".into() },
        TableChange::AddColumn { column: "a".into(), fill: Fill::Null },
    ];
    assert_eq!(found, Difference { changes, unproven: vec![] });
    assert_eq!(difference(&before, &before, unwritten()), Difference::default());
    let capitals = table("t", vec![column(1, "A", INT4, -1), column(2, "b", INT4, -1)]);
    assert_eq!(
        difference(&before, &capitals, unwritten()),
        Difference::default(),
        "the same name in Redshift"
    );
}

#[test]
fn another_key_is_a_change_where_redshift_declares_it() {
    let keyed = |keys: [bool; 2], declared: bool| {
        let mut columns = vec![column(1, "a", INT4, -1), column(2, "b", INT4, -1)];
        columns.iter_mut().zip(keys).for_each(|(column, key)| column.key = key);
        Table { layout: Layout { primary_key: declared, ..Layout::default() }, ..table("t", columns) }
    };
    let changes = |before, after: [bool; 2], declared| {
        difference(&keyed(before, declared), &keyed(after, declared), unwritten()).changes
    };
    for after in [[false, true], [true, true], [false, false]] {
        assert_eq!(changes([true, false], after, true), [TableChange::ChangeKey], "{after:?}");
        assert_eq!(changes([true, false], after, false), [], "nothing is declared");
    }
    assert_eq!(changes([true, false], [true, false], true), []);
    assert_eq!(changes([false, false], [true, false], true), [], "a key that is new is not declared");
}

#[test]
fn old_rows_get_what_the_catalog_says() {
    let before = table("t", vec![column(1, "a", INT4, -1)]);
    let after = table("t", vec![column(1, "a", INT4, -1), column(2, "c", TEXT, -1)]);
    let cases = [
        (false, None, true, Fill::Null, true),
        (true, Some("x"), true, Fill::Value("x".into()), true),
        (true, None, false, Fill::Null, true),
        (true, None, true, Fill::Null, false),
    ];
    for (default, value, rewritten, fill, proven) in cases {
        let now = new_column(default, value);
        let found = difference(&before, &after, Evidence { now: Some(&now), rewritten, ..unwritten() });
        assert_eq!(found.changes, [TableChange::AddColumn { column: "c".into(), fill }]);
        assert_eq!(found.unproven.is_empty(), proven, "{default} {value:?} {rewritten}");
    }
}

#[test]
fn a_new_type_keeps_values_where_redshift_makes_the_same_of_them() {
    use OldValues::{Converted, Unknown};
    let varchar = |length| (VARCHAR, length + 4);
    let numeric = |precision: i32, scale: i32| (NUMERIC, ((precision << 16) | scale) + 4);
    let plain = |oid| (oid, -1);
    // From, to, what becomes of the values, and whether that is proven: if nothing was written anew, if it was without
    // USING, if it was and nobody knows how.
    let cases = [
        (plain(INT4), plain(INT8), Some(Converted), [true, true, false]),
        (plain(INT8), plain(INT2), Some(Converted), [true, true, false]),
        (plain(INT4), plain(TEXT), Some(Converted), [true, true, false]),
        (varchar(10), varchar(20), Some(Converted), [true, true, false]),
        (varchar(10), plain(TEXT), Some(Converted), [true, true, false]),
        (numeric(10, 2), numeric(12, 4), Some(Converted), [true, true, false]),
        (numeric(10, 2), plain(NUMERIC), Some(Converted), [true, true, false]),
        (plain(NUMERIC), numeric(10, 2), Some(Unknown), [false, false, false]),
        (plain(TIMESTAMP), plain(TIMESTAMPTZ), Some(Converted), [true, false, false]),
        (plain(TIMESTAMP), (TIMESTAMP, 3), None, [true, false, false]),
        (plain(BOOL), plain(TEXT), Some(Converted), [true, true, false]),
        (plain(2950), plain(TEXT), Some(Converted), [true, true, false]),
        (plain(TEXT), plain(INT4), Some(Unknown), [false, false, false]),
        (plain(TEXT), plain(3802), Some(Unknown), [false, false, false]),
        (plain(TEXT), plain(TEXT), None, [true, true, true]),
    ];
    for ((from, modifier), (to, new_modifier), values, proven) in cases {
        let before = table("t", vec![column(1, "a", from, modifier)]);
        let after = table("t", vec![column(1, "a", to, new_modifier)]);
        let found = [(false, false), (true, true), (true, false)].map(|(rewritten, plain)| {
            difference(&before, &after, Evidence { rewritten, plain, ..unwritten() })
        });
        let shown = format!("{from} to {to}: {found:?}");
        assert_eq!(found.each_ref().map(|found| found.unproven.is_empty()), proven, "{shown}");
        let kept = |change: &TableChange| match change {
            TableChange::ChangeType { values, .. } => Some(*values),
            _ => panic!("{change:?}"),
        };
        for found in &found {
            assert_eq!(found.changes.first().and_then(kept), values, "{shown}");
        }
    }
}
