//! Tables that are to be read anew: who wants it, what survives a restart, and what partitions have to do with it.

use std::collections::BTreeSet;

use super::schema::{Source, touch};
use super::*;
use crate::relations::look::LeafNow;
use re_dms_shared::manifest::KeyRange;

fn wish(oid: u32, id: &str) -> Wish {
    let table = NamedTable { oid, schema: "public".into(), name: format!("t{oid}") };
    Wish::new(table, id.into())
}

/// As the next process finds it.
fn restarted(source: &Source, relations: &mut Relations) -> Relations {
    let json = relations.take_news().unwrap().unwrap();
    source.relations(KnownTables::from_json("shapes.json", &json).unwrap())
}

#[test]
fn a_wish_lasts_until_it_is_fulfilled_and_only_a_newer_one_takes_its_place() {
    let source = Source::default();
    let mut relations = source.relations(KnownTables::default());
    relations.wish(wish(7, "a"));
    relations.wish(wish(8, "a"));
    let mut relations = restarted(&source, &mut relations);
    assert_eq!(relations.wishes(), [wish(7, "a"), wish(8, "a")]);
    relations.wish(wish(7, "b"));
    assert!(!relations.end_wish(7, "a"), "somebody wants it anew");
    assert!(relations.end_wish(7, "b") && !relations.end_wish(7, "b"));
    assert_eq!(restarted(&source, &mut relations).wishes(), [wish(8, "a")]);
}

#[test]
fn a_wish_for_some_keys_takes_nothing_from_an_older_one() {
    let source = Source::default();
    let mut relations = source.relations(KnownTables::default());
    let key = |text: &str| KeyRange::of_key(vec![text.into()]);
    let keys = |ranges: &[KeyRange]| KeyRanges { key: vec!["a".into()], ranges: ranges.to_vec() };
    let some = |id: &str, ranges: &[KeyRange]| Wish { only: Some(keys(ranges)), ..wish(7, id) };
    relations.wish(some("a", &[key("1")]));
    relations.wish(some("b", &[key("2"), key("1")]));
    assert_eq!(relations.wishes(), [some("b", &[key("1"), key("2")])]);
    relations.sweep(7, Some(keys(&[key("2")])));
    relations.wish(some("c", &[key("3")]));
    assert_eq!(
        relations.wishes(),
        [some("c", &[key("2"), key("3")])],
        "what is read already is not asked for"
    );
    let mut relations = restarted(&source, &mut relations);
    assert_eq!(relations.wishes(), [some("c", &[key("2"), key("3")])]);
    // Of one for the whole table, and of one that was begun as a whole, all is left.
    for whole in [wish(7, "d"), Wish { whole: true, ..wish(7, "d") }] {
        relations.wish(whole);
        relations.wish(some("e", &[key("3")]));
        assert_eq!(relations.wishes(), [wish(7, "e")]);
    }
    relations.wish(wish(7, "f"));
    relations.read_whole(7);
    assert!(relations.wishes()[0].whole);
}

#[test]
fn reading_anew_proves_what_was_unproven_and_takes_the_definition_of_the_snapshot() {
    let source = Source::default();
    source.set(1, "t", &["a"]);
    let mut relations = source.relations(KnownTables::default());
    touch(&mut relations, 1, "t", &["a"]);
    relations.known.tables.get_mut(&1).unwrap().needs_resync.push("doubt".into());
    assert_eq!(relations.due_for_resync().len(), 1);
    relations.wish(wish(1, "a"));
    assert!(relations.due_for_resync().is_empty(), "somebody has asked");
    let now = source.set(1, "t", &["a", "b"]);
    let (steps, shape) = relations.read_anew(now).unwrap().unwrap();
    assert_eq!((steps.len(), shape.columns().len()), (1, 2), "the column comes before");
    assert!(relations.needing_resync().is_empty());
    assert!(relations.end_wish(1, "a") && relations.due_for_resync().is_empty());
    // One that nobody knows.
    let (steps, shape) = relations.read_anew(source.set(2, "u", &["x"])).unwrap().unwrap();
    assert!(steps.is_empty() && relations.is_known(2));
    assert_eq!(shape.table().target_name, "u");
    assert!(relations.read_anew(source.set(3, "hidden", &["x"])).unwrap().is_none(), "not replicated");
    relations.forsake(2);
    assert!(!relations.is_known(2));
}

fn look(relations: &mut Relations, changed: Vec<TableNow>, with_rows: &[u32]) {
    let changed: HashMap<u32, TableNow> = changed.into_iter().map(|now| (now.oid, now)).collect();
    let with_rows = with_rows.iter().map(|oid| wish(*oid, "").table).collect();
    let present = BTreeSet::from([1, 2, 3, 9]);
    let found =
        LookedAround { id: "l".into(), from: Lsn(100), present, changed, has_trigger: true, with_rows };
    relations.looks.put(found);
    relations.looked(b"l").unwrap();
}

#[test]
fn a_look_finds_rows_that_never_came_and_partitions_that_moved() {
    let source = Source::default();
    let mut relations = source.relations(KnownTables::default());
    let root = |leaves: &[(u32, i64, bool)]| {
        let leaf = |&(oid, storage, joined): &(u32, i64, bool)| LeafNow { oid, storage, joined };
        TableNow { leaves: Some(leaves.iter().map(leaf).collect()), ..source.set(1, "t", &["a"]) }
    };
    // The first look says what there is.
    source.set(2, "u", &["a"]);
    touch(&mut relations, 2, "u", &["a"]);
    root(&[]);
    touch(&mut relations, 1, "t", &["a"]);
    relations.told_by_trigger(true);
    look(&mut relations, vec![root(&[(11, 1, false)])], &[1, 2, 3]);
    assert_eq!(relations.wishes().len(), 1, "{:?}", relations.wishes());
    assert_eq!(relations.wishes()[0].table.oid, 3, "nothing ever came of it");
    assert!(relations.due_for_resync().is_empty());
    look(&mut relations, vec![root(&[(11, 1, false), (12, 1, false)])], &[]);
    assert!(relations.due_for_resync().is_empty(), "a partition was made");
    // A table of its own becomes a partition.
    look(&mut relations, vec![root(&[(11, 1, false), (12, 1, false), (2, 5, true)])], &[]);
    assert_eq!(relations.due_for_resync()[0].oid, 1);
    assert!(!relations.is_known(2), "nothing more comes under its own name");
    let mut relations = restarted(&source, &mut relations);
    assert_eq!(relations.due_for_resync()[0].oid, 1, "after a restart, too");
    relations.read_anew(root(&[(11, 1, false), (12, 1, false), (2, 5, true)])).unwrap();
    assert!(relations.due_for_resync().is_empty());
    // And one of its own again, with rows.
    look(&mut relations, vec![root(&[(11, 1, false), (12, 1, false)])], &[2]);
    assert_eq!(relations.due_for_resync()[0].oid, 1);
    assert!(relations.wish_for(2).is_some());
}
