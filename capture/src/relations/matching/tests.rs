//! Columns of a Relation message and the catalog that may be ahead of it.

use super::*;

/// The transaction at hand.
const XID: u32 = 100;

fn described(names: &[&str]) -> Vec<SourceColumn> {
    let column = |name: &&str| SourceColumn {
        name: (*name).to_owned(),
        attribute_number: None,
        type_oid: 23,
        type_modifier: -1,
        key: false,
    };
    names.iter().map(column).collect()
}

fn known(columns: &[(i16, &str)]) -> Vec<Column> {
    let column = |(number, name): &(i16, &str)| Column {
        name: (*name).to_owned(),
        attribute_number: Some(*number),
        type_oid: 23,
        type_modifier: -1,
        target_name: (*name).to_owned(),
        redshift_type: "INTEGER".parse().unwrap(),
        key: false,
    };
    columns.iter().map(column).collect()
}

/// Names by attribute number, an empty one for a dropped column, with the transaction that changed it last.
fn catalog(columns: &[(&str, u32)]) -> TableNow {
    let column = |((name, xid), number): (&(&str, u32), i16)| ColumnNow {
        key: None,
        number,
        name: (!name.is_empty()).then(|| (*name).to_owned()),
        type_oid: if name.is_empty() { 0 } else { 23 },
        modifier: -1,
        published: !name.is_empty(),
        default: false,
        missing: false,
        value: None,
        xid: *xid,
    };
    let columns = columns.iter().zip(1..).map(column).collect();
    TableNow { oid: 1, schema: "public".into(), name: "t".into(), storage: 1, columns, leaves: None }
}

fn matched(names: &[&str], before: &[(i16, &str)], now: &[(&str, u32)]) -> (Vec<Option<i16>>, bool) {
    matched_with(names, before, now, Own::Earlier)
}

fn matched_with(
    names: &[&str],
    before: &[(i16, &str)],
    now: &[(&str, u32)],
    own: Own,
) -> (Vec<Option<i16>>, bool) {
    let columns = known(before);
    let highest = before.iter().map(|(number, _)| *number).max();
    let found = numbers(&described(names), Before { columns: &columns, highest }, &catalog(now), (XID, own));
    (found.numbers, found.doubtful)
}

fn certain(numbers: &[i16]) -> (Vec<Option<i16>>, bool) {
    (numbers.iter().copied().map(Some).collect(), false)
}

#[test]
fn a_catalog_that_is_as_described() {
    let before = [(1, "a"), (2, "b")];
    assert_eq!(matched(&["a", "b"], &[], &[("a", 1), ("b", 1)]), certain(&[1, 2]), "nothing known");
    assert_eq!(matched(&["a", "b"], &before, &[("a", 1), ("b", 1)]), certain(&[1, 2]));
    assert_eq!(matched(&["a", "c"], &before, &[("a", 1), ("c", 9)]), certain(&[1, 2]), "renamed");
    assert_eq!(matched(&["b", "a"], &before, &[("b", 9), ("a", 9)]), certain(&[1, 2]), "swapped");
    assert_eq!(
        matched(&["a", "c"], &before, &[("a", 1), ("", 9), ("c", 9)]),
        certain(&[1, 3]),
        "dropped, added"
    );
    assert_eq!(
        matched(&["a", "b"], &before, &[("a", 1), ("", 9), ("b", 9)]),
        certain(&[1, 3]),
        "of one name"
    );
    assert_eq!(
        matched(&["a", "b"], &before, &[("a", 1), ("", XID), ("b", XID)]),
        certain(&[1, 3]),
        "by itself"
    );
    assert_eq!(
        matched(&["b", "a"], &before, &[("", 9), ("b", 1), ("a", 9)]),
        certain(&[2, 3]),
        "its place tells, whatever its name was"
    );
    assert_eq!(matched(&["c", "b"], &before, &[("c", 9), ("", 9), ("b", 9)]), certain(&[1, 3]));
}

#[test]
fn a_catalog_that_is_ahead() {
    let before = [(1, "a"), (2, "b")];
    // Renamed, then added under the old name: both steps were taken when both are described, neither when one is.
    let now = [("a", 1), ("c", 200), ("b", 200)];
    assert_eq!(matched(&["a", "c", "b"], &before, &now), certain(&[1, 2, 3]));
    assert_eq!(matched(&["a", "b"], &before, &now), certain(&[1, 2]), "it was there in between");
    assert_eq!(matched(&["a", "x"], &before, &[("a", 1), ("c", 200)]), certain(&[1, 2]), "a name in between");
    assert_eq!(matched(&["a", "b", "x"], &before, &[("a", 1), ("b", 1), ("", 200)]), certain(&[1, 2, 3]));
    assert_eq!(
        matched(&["a", "b"], &before, &[("a", 1), ("b", 1), ("c", 200)]),
        certain(&[1, 2]),
        "added later"
    );
    assert_eq!(matched(&["a", "b"], &before, &[("a", 1), ("", 200)]), certain(&[1, 2]), "dropped later");
    assert_eq!(matched(&["a"], &before, &[("a", 1), ("", 50), ("c", 200)]), certain(&[1]));
}

#[test]
fn a_column_that_may_be_another_one_of_its_name_is_doubtful_and_taken_for_the_old_one() {
    let before = [(1, "a"), (2, "b")];
    let now = [("a", 1), ("", 200), ("b", 200)];
    assert_eq!(matched(&["a", "b"], &before, &now), (vec![Some(1), Some(2)], true));
    // Numbers of transactions go round.
    let early = u32::MAX - 5;
    assert_eq!(matched(&["a", "b"], &before, &[("a", 1), ("", early), ("b", early)]), certain(&[1, 3]));
}

#[test]
fn what_the_transaction_itself_changes_comes_before_its_last_description() {
    let before = [(1, "a"), (2, "b")];
    let now = [("a", 1), ("", XID), ("b", XID)];
    let found = |own| matched_with(&["a", "b"], &before, &now, own);
    assert_eq!(found(Own::Earlier), certain(&[1, 3]));
    assert_eq!(found(Own::Later).0, [Some(1), Some(2)]);
    assert!(found(Own::Unknown).1, "which of the two is not known");
}

#[test]
fn a_name_that_was_there_only_in_between_is_told() {
    let columns = known(&[(1, "a"), (2, "b")]);
    let before = Before { columns: &columns, highest: Some(2) };
    let found =
        |now| numbers(&described(&["a", "x"]), before, &catalog(now), (XID, Own::Earlier)).unexplained;
    assert_eq!(found(&[("a", 1), ("c", 9)]), [""; 0], "there is no other column that it could be");
    assert_eq!(found(&[("a", 1), ("", 9), ("c", 9)]), ["x"]);
}

#[test]
fn what_the_catalog_does_not_explain_has_no_number() {
    assert_eq!(matched(&["a", "b", "c"], &[(1, "a")], &[("a", 1)]), (vec![Some(1), None, None], false));
}
