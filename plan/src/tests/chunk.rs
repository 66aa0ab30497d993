//! A range of keys that was read anew.

use re_dms_shared::manifest::{Chunk, KeyBound, KeyRange};

use super::*;

fn chunk(key: &[&str], range: KeyRange, rows: u64) -> Action {
    chunk_of(key, vec![range], rows)
}

fn chunk_of(key: &[&str], ranges: Vec<KeyRange>, rows: u64) -> Action {
    let Action::Load(load) = load(RowCounts { replaces: rows, ..RowCounts::default() }, Vec::new()) else {
        unreachable!()
    };
    Action::Chunk(Chunk { key: key.iter().map(|name| (*name).to_owned()).collect(), ranges, load })
}

fn range(from: Option<(&[&str], bool)>, to: Option<&[&str]>) -> KeyRange {
    let texts = |key: &[&str]| key.iter().map(|text| (*text).to_owned()).collect();
    let from = from.map(|(key, included)| KeyBound { key: texts(key), included });
    KeyRange { from, to: to.map(texts) }
}

#[test]
fn a_ranges_rows_take_the_place_of_what_it_holds() {
    let some = range(Some((&["-7"], false)), Some(&["12"]));
    let manifest =
        manifest(vec![(orders(), inserts(3)), (orders(), chunk(&["id"], some, 2)), (orders(), inserts(1))]);
    insta::assert_snapshot!(text(&plan_with(&manifest, &complete_catalog(&manifest)).unwrap()));
}

#[test]
fn each_end_of_the_keys_and_keys_of_several_columns() {
    let columns = vec![
        column("day", "DATE", true),
        column("note", "VARCHAR(100)", false),
        column("id", "VARCHAR(36)", true),
        column("n", "DECIMAL(10,2)", true),
    ];
    let table = table("t", columns);
    let key = ["n", "id", "day"];
    let (low, high) = (["1.50", "a'b", "2020-01-01"], ["2.50", "c", "2021-01-01"]);
    let ranges = [
        range(None, None),
        range(None, Some(&high)),
        range(Some((&low, true)), None),
        range(Some((&low, false)), Some(&high)),
        range(Some((&low, true)), Some(&low)),
    ];
    let mut steps: Vec<_> =
        ranges.iter().map(|range| (table.clone(), chunk(&key, range.clone(), 0))).collect();
    steps.push((table.clone(), chunk_of(&key, vec![ranges[4].clone(), ranges[1].clone()], 0)));
    let manifest = manifest(steps);
    let sql = text(&plan_with(&manifest, &complete_catalog(&manifest)).unwrap());
    assert!(!sql.contains("COPY"), "a range without rows has no files");
    insta::assert_snapshot!(sql);
}

#[test]
fn columns_that_only_redshift_has_stay_where_the_row_stays() {
    let mut kept = orders();
    kept.kept.push(column("old", "INTEGER", false));
    let mut manifest = manifest(vec![(kept, chunk(&["id"], range(None, Some(&["5"])), 2))]);
    let mut catalog = complete_catalog(&manifest);
    let mut there = orders();
    there.columns.push(column("old", "INTEGER", false));
    catalog.learn(&there);
    insta::assert_snapshot!(text(&plan_with(&manifest, &catalog).unwrap()));
    // A table that is not there is made.
    manifest.steps[0].table = orders();
    assert!(text(&plan_with(&manifest, &Catalog::default()).unwrap()).contains("CREATE TABLE IF NOT EXISTS"));
}

#[test]
fn a_chunk_that_contradicts_itself_is_refused() {
    let refused = |action: Action| {
        let manifest = manifest(vec![(orders(), action)]);
        plan_with(&manifest, &complete_catalog(&manifest)).unwrap_err().to_string()
    };
    assert!(refused(chunk(&["note"], range(None, None), 1)).contains("its key is not the table's"));
    assert!(refused(chunk(&[], range(None, None), 1)).contains("its key is not the table's"));
    assert!(refused(chunk_of(&["id"], Vec::new(), 1)).contains("its ranges are not"));
    let wide = range(None, Some(&["1", "2"]));
    assert!(refused(chunk(&["id"], wide, 1)).contains("its ranges are not those of its key"));
    let Action::Chunk(mut wrong) = chunk(&["id"], range(None, None), 2) else { unreachable!() };
    (wrong.load.rows.replaces, wrong.load.rows.inserts) = (1, 1);
    assert!(refused(Action::Chunk(wrong)).contains("more than replaces"));
}
