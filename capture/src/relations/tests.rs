//! What is learnt from Relation messages, and when a key may be trusted.

mod policy;
mod schema;
mod wishes;

use super::*;
use crate::config::Config;
use crate::pgoutput::{RelationColumn, ReplicaIdentity};

fn relations() -> Relations {
    relations_with(|_| None)
}

/// With a catalog that answers as told.
fn relations_with(mut catalog: impl FnMut(u32) -> Option<CatalogTable> + Send + 'static) -> Relations {
    let config = r#"
        stream = "t"
        data_dir = "/d"
        source = { url = "postgres://u@h/d", exclude = ["*.hidden"] }
        s3.bucket = "bucket"
        queues = { segments_url = "http://q/s.fifo", acks_url = "http://q/a" }
    "#;
    let patterns = Config::parse(config, vec![]).unwrap().source.tables;
    let look = Box::new(|_| Ok(None));
    Relations::new(patterns, "p".into(), KnownTables::default(), Box::new(move |oid| Ok(catalog(oid))), look)
}

fn relation(oid: u32, name: &str, replica_identity: ReplicaIdentity) -> Relation<'_> {
    let column = |name, key| RelationColumn { key, name, type_oid: 23, type_modifier: -1 };
    let all = replica_identity == ReplicaIdentity::Full;
    let columns = vec![column("a", true), column("b", all)];
    Relation { xid: None, oid, schema: "public", name, replica_identity, columns }
}

/// A catalog's answer at a position: a table with the columns a and b, and b its primary key if `index` is there.
fn with_key(index: Option<u32>, seen_at: u64) -> CatalogTable {
    CatalogTable {
        partitioned: false,
        partitions_differ: false,
        columns: vec!["a".to_owned(), "b".to_owned()],
        primary_key: index.map(|index| PrimaryKey { index, columns: vec!["b".to_owned()] }),
        seen_at: Lsn(seen_at),
    }
}

/// The positions of the key's columns as of a transaction; `again` if it describes the table once more.
fn keys_at(relations: &mut Relations, commit_lsn: u64, again: bool) -> Vec<usize> {
    relations.begin(7, Lsn(commit_lsn), None).unwrap();
    if again {
        relations.learn(&relation(1, "t", ReplicaIdentity::Full)).unwrap();
    }
    relations.shape(1).unwrap().unwrap().key_positions().to_vec()
}

#[test]
fn keys_are_those_that_the_stream_flags() {
    let mut relations = relations_with(|_| panic!("nothing to ask"));
    relations.learn(&relation(1, "t", ReplicaIdentity::Default)).unwrap();
    assert_eq!(relations.shape(1).unwrap().unwrap().key_positions(), [0]);
}

#[test]
fn under_full_a_primary_key_counts_once_it_is_older_than_the_transaction() {
    let mut relations = relations_with(|_| Some(with_key(Some(10), 100)));
    assert_eq!(keys_at(&mut relations, 50, true), [0_usize; 0], "it may be younger than the change");
    assert_eq!(keys_at(&mut relations, 99, false), [0_usize; 0]);
    assert_eq!(keys_at(&mut relations, 100, false), [1]);
    assert_eq!(keys_at(&mut relations, 120, true), [1], "the same index again: it was there all the time");
}

#[test]
fn under_full_another_index_is_another_key() {
    let mut answers = vec![with_key(Some(11), 300), with_key(None, 200), with_key(Some(10), 100)];
    let mut relations = relations_with(move |_| answers.pop());
    assert_eq!(keys_at(&mut relations, 50, true), [0_usize; 0]);
    assert_eq!(keys_at(&mut relations, 150, false), [1]);
    assert_eq!(keys_at(&mut relations, 160, true), [0_usize; 0], "dropped");
    assert_eq!(keys_at(&mut relations, 250, false), [0_usize; 0], "what was pending is not any more");
    assert_eq!(keys_at(&mut relations, 260, true), [0_usize; 0], "made anew");
    assert_eq!(keys_at(&mut relations, 300, false), [1]);
}

#[test]
fn a_key_that_is_pending_is_forgotten_with_the_description_that_it_belongs_to() {
    let mut answers = vec![with_key(None, 110), with_key(Some(10), 100)];
    let mut relations = relations_with(move |_| answers.pop());
    assert_eq!(keys_at(&mut relations, 50, true), [0_usize; 0]);
    assert_eq!(keys_at(&mut relations, 60, true), [0_usize; 0]);
    assert_eq!(keys_at(&mut relations, 200, false), [0_usize; 0]);
}

#[test]
fn under_full_without_a_fitting_answer_rows_are_matched_as_a_whole() {
    let swapped = CatalogTable { columns: vec!["b".to_owned(), "a".to_owned()], ..with_key(Some(10), 0) };
    for answer in [None, Some(with_key(None, 0)), Some(swapped)] {
        let shown = format!("{answer:?}");
        let mut relations = relations_with(move |_| answer.clone());
        assert_eq!(keys_at(&mut relations, 50, true), [0_usize; 0], "{shown}");
        assert_eq!(keys_at(&mut relations, 60, false), [0_usize; 0], "{shown}");
    }
}

#[test]
fn under_full_partitions_have_the_roots_key_at_once() {
    let root = CatalogTable { partitioned: true, ..with_key(Some(10), 100) };
    let mut relations = relations_with(move |_| Some(root.clone()));
    assert_eq!(keys_at(&mut relations, 50, true), [1]);
}

#[test]
fn under_full_partitions_that_send_other_keys_are_refused() {
    let root = CatalogTable { partitioned: true, partitions_differ: true, ..with_key(None, 100) };
    let mut relations = relations_with(move |_| Some(root.clone()));
    let error = relations.learn(&relation(1, "t", ReplicaIdentity::Full)).unwrap_err();
    assert!(error.hint.contains("on each partition"), "{error}");
}

#[test]
fn keys_that_would_not_be_told_apart_are_refused_or_matched_as_a_whole() {
    const JSONB: u32 = 3802;
    let column = |name, key| RelationColumn { key, name, type_oid: JSONB, type_modifier: -1 };
    let relation = |replica_identity, all| Relation {
        columns: vec![column("a", all), column("b", true)],
        ..relation(1, "t", replica_identity)
    };
    let mut relations = relations_with(|_| Some(with_key(Some(10), 0)));
    relations.begin(7, Lsn(50), None).unwrap();
    let error = relations.learn(&relation(ReplicaIdentity::Default, false)).unwrap_err();
    assert!(error.what.contains("column b is part of its key"), "{error}");
    assert!(error.hint.contains("REPLICA IDENTITY FULL"), "{error}");
    relations.learn(&relation(ReplicaIdentity::Full, true)).unwrap();
    assert!(relations.shape(1).unwrap().unwrap().is_keyless());
}

#[test]
fn excluded_tables_are_known_and_have_no_shape() {
    let mut relations = relations();
    relations.learn(&relation(1, "hidden", ReplicaIdentity::Default)).unwrap();
    assert!(relations.shape(1).unwrap().is_none());
    assert!(relations.shape(2).is_err(), "never described");
}

#[test]
fn the_schema_of_the_ledgers_is_not_given_away() {
    let mut relations = relations();
    let mut ledger = relation(1, "ledger_main", ReplicaIdentity::Default);
    ledger.schema = "Re_dms";
    let error = relations.learn(&ledger).unwrap_err();
    assert!(error.what.contains("keeps its ledgers"), "{error}");
}

#[test]
fn the_same_shape_again_is_the_same_object() {
    let mut relations = relations();
    relations.learn(&relation(1, "t", ReplicaIdentity::Default)).unwrap();
    let before = Arc::clone(relations.shape(1).unwrap().unwrap());
    relations.learn(&relation(1, "t", ReplicaIdentity::Default)).unwrap();
    assert!(Arc::ptr_eq(&before, relations.shape(1).unwrap().unwrap()));
}
