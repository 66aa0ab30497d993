//! What the tables' rules make of changes, and what a look at tables comes to that are not written to.

use std::collections::{BTreeSet, HashMap};

use super::schema::{Source, reread, shown, touch};
use super::*;

fn relations(source: &Source, known: KnownTables) -> Relations {
    let config = r#"
        stream = "t"
        data_dir = "/d"
        source.url = "postgres://u@h/d"
        s3.bucket = "bucket"
        queues = { segments_url = "http://q/s.fifo", acks_url = "http://q/a" }
        [[tables]]
        match = "*.keeps"
        dropped_columns = "keep"
        dropped_tables = "keep"
        [[tables]]
        match = "*.ignores"
        schema_changes = "ignore"
        [[tables]]
        match = "*.holds*"
        schema_changes = "hold"
    "#;
    let tables = Config::parse(config, vec![]).unwrap().tables;
    let nobody = Box::new(|_: &[u32]| Ok(Vec::new()));
    source.relations(known).with_config(Columns::default(), TargetNames::default(), tables, nobody)
}

fn of(source: &Source) -> Relations {
    relations(source, KnownTables::default())
}

#[test]
fn kept_columns_stay_and_make_room_for_others_of_their_name() {
    let source = Source::default();
    let mut relations = of(&source);
    source.set(1, "keeps", &["a", "b"]);
    touch(&mut relations, 1, "keeps", &["a", "b"]);
    source.set(1, "keeps", &["a", ""]);
    assert_eq!(touch(&mut relations, 1, "keeps", &["a"]), [""; 0]);
    let shape = relations.shape(1).unwrap().unwrap();
    assert_eq!(shape.table().kept[0].target_name, "b");
    // Also after a restart.
    let mut relations = self::relations(&source, reread(&mut relations));
    source.set(1, "keeps", &["a", "", "b"]);
    let steps = touch(&mut relations, 1, "keeps", &["a", "b"]);
    assert_eq!(steps, ["keeps > keeps: column b added, column b renamed to re_dms_kept_2_b"]);
    source.set(1, "keeps", &["re_dms_x", "", "b"]);
    let steps = touch(&mut relations, 1, "keeps", &["re_dms_x", "b"]);
    assert_eq!(steps, ["keeps > keeps: column a renamed to re_dms_x_"]);
    let kept = &relations.shape(1).unwrap().unwrap().table().kept;
    assert_eq!(
        kept.iter().map(|column| column.target_name.as_str()).collect::<Vec<_>>(),
        ["re_dms_kept_2_b"]
    );
}

#[test]
fn kept_tables_stay_and_make_room_for_others_of_their_name() {
    let source = Source::default();
    let mut relations = of(&source);
    source.set(1, "keeps", &["a"]);
    touch(&mut relations, 1, "keeps", &["a"]);
    source.drop(1);
    assert_eq!(shown(relations.drop_known(1).unwrap().as_slice()), [""; 0]);
    let mut relations = self::relations(&source, reread(&mut relations));
    source.set(2, "keeps", &["a"]);
    let steps = touch(&mut relations, 2, "keeps", &["a"]);
    assert_eq!(steps, ["keeps > re_dms_kept_1_keeps: renamed or moved"]);
    // Without having been seen to go.
    source.drop(2);
    source.set(3, "keeps", &["a"]);
    let steps = touch(&mut relations, 3, "keeps", &["a"]);
    assert_eq!(steps, ["keeps > re_dms_kept_2_keeps: renamed or moved"]);
}

#[test]
fn what_is_ignored_leaves_the_target_as_it_is() {
    let source = Source::default();
    let mut relations = of(&source);
    source.set(1, "ignores", &["a", "b", "c"]);
    touch(&mut relations, 1, "ignores", &["a", "b", "c"]);
    source.set(1, "ignores", &["a", "", "x", "d"]);
    assert_eq!(touch(&mut relations, 1, "ignores", &["a", "x", "d"]), [""; 0]);
    let shape = relations.shape(1).unwrap().unwrap();
    let names = |columns: &[Column]| -> Vec<String> {
        columns.iter().map(|column| format!("{} as {}", column.name, column.target_name)).collect()
    };
    assert_eq!(names(shape.columns()), ["a as a", "x as c"]);
    assert_eq!(names(&shape.table().kept), ["b as b"]);
    assert_eq!(shape.positions(), Some(&[0, 1][..]));
    assert!(relations.needing_resync().is_empty());
    // Somebody wants it after all, by another name: what was ignored is not known.
    let mut relations = self::relations(&source, reread(&mut relations));
    source.set(1, "applies", &["a", "", "x", "d"]);
    let steps = touch(&mut relations, 1, "applies", &["a", "x", "d"]);
    assert_eq!(steps, ["ignores > applies: renamed or moved, column c renamed to x, column d added"]);
    assert!(relations.needing_resync()[0].1.contains("column d was left out"));
}

#[test]
fn what_can_not_be_ignored_is_held() {
    let source = Source::default();
    let mut relations = of(&source);
    let mut now = source.set(1, "ignores", &["a", "b"]);
    touch(&mut relations, 1, "ignores", &["a", "b"]);
    // int to text
    now.columns[1].type_oid = 25;
    let column = |name, type_oid| RelationColumn { key: false, name, type_oid, type_modifier: -1 };
    let columns = vec![column("a", 23), column("b", 25)];
    let relation = Relation { columns, ..relation(1, "ignores", ReplicaIdentity::Default) };
    relations.begin(9, Lsn(2), None).unwrap();
    relations.look = Box::new(move |_| Ok(Some(now.clone())));
    relations.learn(&relation).unwrap();
    let steps = relations.settle(1).unwrap();
    assert_eq!(shown(&steps), ["ignores > ignores: column b from INTEGER to VARCHAR(65535) (held)"]);
}

#[test]
fn a_change_is_held_and_a_new_name_is_not() {
    let source = Source::default();
    let mut relations = of(&source);
    source.set(1, "holds", &["a"]);
    touch(&mut relations, 1, "holds", &["a"]);
    source.set(1, "holds_too", &["a", "b"]);
    let steps = touch(&mut relations, 1, "holds_too", &["a", "b"]);
    assert_eq!(
        steps,
        ["holds > holds_too: renamed or moved", "holds_too > holds_too: column b added (held)"]
    );
    let dropped = relations.drop_known(1).unwrap();
    assert_eq!(shown(dropped.as_slice()), ["holds_too > holds_too: dropped (held)"]);
}

fn look(relations: &mut Relations, from: u64, present: &[u32], changed: Vec<TableNow>) -> Vec<String> {
    let changed: HashMap<u32, TableNow> = changed.into_iter().map(|now| (now.oid, now)).collect();
    let id = "look".to_owned();
    let present: BTreeSet<u32> = present.iter().copied().collect();
    relations.looks.put(LookedAround {
        id,
        from: Lsn(from),
        present,
        changed,
        has_trigger: false,
        with_rows: Vec::new(),
    });
    assert_eq!(relations.looked(b"another").unwrap().len(), 0, "not this one");
    shown(&relations.looked(b"look").unwrap())
}

#[test]
fn a_look_finds_what_is_not_written_to() {
    let source = Source::default();
    let mut relations = of(&source);
    for (oid, name) in [(1, "t"), (2, "u"), (3, "v")] {
        source.set(oid, name, &["a"]);
        touch(&mut relations, oid, name, &["a"]);
    }
    let changed = vec![source.set(1, "t", &["a", "b"]), source.set(9, "unknown", &["a"])];
    let steps = look(&mut relations, 10, &[1, 3, 9], changed.clone());
    assert_eq!(steps, ["u > u: dropped", "t > t: column b added"]);
    assert!(!relations.looks.take_again() && !relations.looks.is_awaited());
    assert_eq!(look(&mut relations, 11, &[1, 3, 9], changed), [""; 0], "once");

    // What the stream has told since the look began is newer.
    relations.begin(20, Lsn(30), None).unwrap();
    relations.learn(&relation(3, "v", ReplicaIdentity::Default)).unwrap();
    let stale = vec![TableNow { oid: 3, ..source.set(8, "old", &["x"]) }];
    assert_eq!(look(&mut relations, 30, &[1], stale), [""; 0]);
    assert!(relations.looks.take_again(), "it is looked at again");
}

#[test]
fn a_trigger_that_is_gone_is_noticed_unless_it_is_newer() {
    let source = Source::default();
    let known = KnownTables { ddl_trigger: true, ..KnownTables::default() };
    let mut relations = relations(&source, known);
    relations.begin(1, Lsn(20), None).unwrap();
    relations.told_by_trigger(true);
    look(&mut relations, 20, &[], vec![]);
    assert!(relations.known.ddl_trigger, "it was installed after the look began");
    look(&mut relations, 21, &[], vec![]);
    assert!(!relations.known.ddl_trigger);
}

#[test]
fn under_the_event_trigger_ignored_columns_take_no_others_number() {
    let source = Source::default();
    let known = KnownTables { ddl_trigger: true, ..KnownTables::default() };
    let mut relations = relations(&source, known);
    source.set(1, "applies", &["a"]);
    touch(&mut relations, 1, "applies", &["a"]);
    // b is ignored; c is not, since the table has another name by then.
    let told = |relations: &mut Relations, now: &TableNow| relations.table_told(false, now.clone()).unwrap();
    told(&mut relations, &source.set(1, "ignores", &["a"]));
    told(&mut relations, &source.set(1, "ignores", &["a", "b"]));
    assert_eq!(touch(&mut relations, 1, "ignores", &["a", "b"]), [""; 0]);
    let shape = relations.shape(1).unwrap().unwrap();
    assert_eq!(shape.columns().len(), 1);
    assert_eq!(shape.positions(), Some(&[0][..]));
    told(&mut relations, &source.set(1, "applies", &["a", "b", "c"]));
    assert_eq!(touch(&mut relations, 1, "applies", &["a", "b", "c"]), [""; 0]);
    let numbers: Vec<_> =
        relations.shape(1).unwrap().unwrap().columns().iter().map(|column| column.attribute_number).collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
}
