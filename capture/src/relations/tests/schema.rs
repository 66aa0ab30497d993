//! What changes of tables' definitions become, by either detector, and what survives a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use re_dms_shared::manifest::{Fill, TableChange};

use super::*;

/// A source's catalog that the test changes.
#[derive(Clone, Default)]
pub(super) struct Source(Arc<Mutex<BTreeMap<u32, TableNow>>>);

impl Source {
    /// Columns by number; an empty name is a dropped column.
    pub(super) fn set(&self, oid: u32, name: &str, columns: &[&str]) -> TableNow {
        let column = |(name, number): (&&str, i16)| ColumnNow {
            key: None,
            number,
            name: (!name.is_empty()).then(|| (*name).to_owned()),
            type_oid: 23,
            modifier: -1,
            published: !name.is_empty(),
            default: false,
            missing: false,
            value: None,
            xid: 1,
        };
        let columns = columns.iter().zip(1..).map(column).collect();
        let now =
            TableNow { oid, schema: "public".into(), name: name.into(), storage: 1, columns, leaves: None };
        self.0.lock().unwrap().insert(oid, now.clone());
        now
    }

    pub(super) fn drop(&self, oid: u32) {
        self.0.lock().unwrap().remove(&oid);
    }

    pub(super) fn relations(&self, known: KnownTables) -> Relations {
        let tables = Arc::clone(&self.0);
        let look = move |oid| Ok(tables.lock().unwrap().get(&oid).cloned());
        Relations { known, look: Box::new(look), ..super::relations() }
    }
}

/// A change of the table, described so in a transaction of its own: what it needs before.
pub(super) fn touch(relations: &mut Relations, oid: u32, name: &str, columns: &[&str]) -> Vec<String> {
    let column = |name: &&'static str| RelationColumn { key: false, name, type_oid: 23, type_modifier: -1 };
    let names: Vec<&'static str> = columns.iter().map(|name| &*String::from(*name).leak()).collect();
    let columns = names.iter().map(column).collect();
    let replica_identity = ReplicaIdentity::Default;
    relations.begin(relations.xid + 1, Lsn(1), None).unwrap();
    let relation = Relation { xid: None, oid, schema: "public", name, replica_identity, columns };
    relations.learn(&relation).unwrap();
    assert!(relations.is_unsettled(oid));
    let steps = relations.settle(oid).unwrap();
    shown(&steps)
}

pub(super) fn shown(steps: &[SchemaStep]) -> Vec<String> {
    let step = |SchemaStep { table, change }: &SchemaStep| {
        let before = change.before.as_ref().map_or("-", |before| before.target_name.as_str());
        let changes: Vec<_> = change.changes.iter().map(tell::in_words).collect();
        let held = if change.hold { " (held)" } else { "" };
        format!("{before} > {}: {}{held}", table.target_name, changes.join(", "))
    };
    steps.iter().map(step).collect()
}

pub(super) fn reread(relations: &mut Relations) -> KnownTables {
    let json = relations.take_news().unwrap().unwrap();
    KnownTables::from_json("shapes.json", &json).unwrap()
}

#[test]
fn a_table_that_appears_needs_nothing_and_changes_of_it_are_steps() {
    let source = Source::default();
    let mut relations = source.relations(KnownTables::default());
    source.set(1, "t", &["a", "b"]);
    assert_eq!(touch(&mut relations, 1, "t", &["a", "b"]), [""; 0]);
    let before = Arc::clone(relations.shape(1).unwrap().unwrap());
    assert_eq!(before.columns()[1].attribute_number, Some(2));
    assert_eq!(touch(&mut relations, 1, "t", &["a", "b"]), [""; 0]);
    assert!(Arc::ptr_eq(&before, relations.shape(1).unwrap().unwrap()), "the batch is not split");

    source.set(1, "t", &["a", "c", "d"]);
    let steps = touch(&mut relations, 1, "t", &["a", "c", "d"]);
    assert_eq!(steps, ["t > t: column b renamed to c, column d added"]);
    source.set(1, "t", &["a", "c", "", "d"]);
    assert_eq!(touch(&mut relations, 1, "t", &["a", "c", "d"]), ["t > t: column d dropped, column d added"]);
    source.set(1, "u", &["a", "c", "", "d"]);
    assert_eq!(touch(&mut relations, 1, "u", &["a", "c", "d"]), ["t > u: renamed or moved"]);
    assert!(relations.needing_resync().is_empty());
}

#[test]
fn what_is_known_survives_a_restart_and_what_is_replayed_is_not_compared() {
    let source = Source::default();
    let mut relations = source.relations(KnownTables::default());
    source.set(1, "t", &["a", "b"]);
    touch(&mut relations, 1, "t", &["a", "b"]);
    let known = reread(&mut relations);
    assert_eq!(relations.take_news().unwrap(), None, "told once");
    source.set(1, "t", &["a", "c"]);
    let mut relations = source.relations(known);
    // A description from before, in a transaction that is staged: nothing settles it.
    relations.learn(&relation(1, "old", ReplicaIdentity::Default)).unwrap();
    assert_eq!(touch(&mut relations, 1, "t", &["a", "c"]), ["t > t: column b renamed to c"]);
}

#[test]
fn a_name_goes_from_one_table_to_another() {
    let source = Source::default();
    let mut relations = source.relations(KnownTables::default());
    source.set(1, "t", &["a"]);
    source.set(2, "u", &["a"]);
    touch(&mut relations, 1, "t", &["a"]);
    touch(&mut relations, 2, "u", &["a"]);
    // Dropped and made again.
    source.drop(1);
    source.set(3, "t", &["a"]);
    assert_eq!(touch(&mut relations, 3, "t", &["a"]), ["t > t: dropped"]);
    // Swapped; only one of the two is touched, and then the other.
    source.set(3, "u", &["a"]);
    source.set(2, "t", &["a"]);
    let steps = touch(&mut relations, 2, "t", &["a"]);
    assert_eq!(steps, ["t > re_dms_moved_3: renamed or moved", "u > t: renamed or moved"]);
    assert_eq!(touch(&mut relations, 3, "u", &["a"]), ["re_dms_moved_3 > u: renamed or moved"]);
    // Renamed out of the way of a new one.
    source.set(3, "v", &["a"]);
    source.set(4, "u", &["a"]);
    assert_eq!(touch(&mut relations, 4, "u", &["a"]), ["u > v: renamed or moved"]);
    assert_eq!(touch(&mut relations, 3, "v", &["a"]), [""; 0]);
}

/// Table 2 takes the name of table 1; what every look at a table finds its name to be is made up by `name_seen`.
fn take_over(
    (first, second): (&str, &str),
    mut name_seen: impl FnMut(u32) -> &'static str + Send + 'static,
) -> Vec<String> {
    let source = Source::default();
    let mut relations = source.relations(KnownTables::default());
    source.set(1, first, &["a"]);
    touch(&mut relations, 1, first, &["a"]);
    let now = source.set(2, "other", &["a"]);
    touch(&mut relations, 2, "other", &["a"]);
    relations.look = Box::new(move |oid| {
        let name = name_seen(oid).to_owned();
        Ok(Some(TableNow { oid, name, ..now.clone() }))
    });
    let steps = touch(&mut relations, 2, second, &["a"]);
    assert!(relations.is_unsettled(1), "it is looked at again");
    steps
}

#[test]
fn tables_that_exchange_names_between_two_looks_are_followed() {
    // Each has the name when it is looked at, which it can't have had at once.
    let steps = take_over(("t", "t"), |_| "t");
    assert_eq!(steps, ["t > re_dms_moved_1: renamed or moved", "other > t: renamed or moved"]);
    // Names that would become one were there a moment ago, and are not now.
    let mut looks = 0;
    let steps = take_over(("Orders", "orders"), move |oid| {
        looks += 1;
        if looks > 3 { "elsewhere" } else { ["Orders", "orders"][usize::from(oid == 2)] }
    });
    assert_eq!(steps, ["orders > re_dms_moved_1: renamed or moved", "other > orders: renamed or moved"]);
}

#[test]
fn names_that_differ_in_case_only_are_refused() {
    let source = Source::default();
    let mut relations = source.relations(KnownTables::default());
    source.set(1, "Orders", &["a"]);
    source.set(2, "orders", &["a"]);
    touch(&mut relations, 1, "Orders", &["a"]);
    relations.learn(&relation(2, "orders", ReplicaIdentity::Default)).unwrap();
    let error = relations.settle(2).unwrap_err();
    assert!(error.what.contains("public.Orders and public.orders"), "{error}");
    source.drop(1);
    relations.learn(&relation(2, "orders", ReplicaIdentity::Default)).unwrap();
    assert_eq!(shown(&relations.settle(2).unwrap()), ["orders > orders: dropped"]);
}

#[test]
fn a_column_replaced_by_one_of_its_name_is_found_by_the_next_transaction_if_not_by_this_one() {
    let source = Source::default();
    let mut relations = source.relations(KnownTables::default());
    source.set(1, "t", &["a", "b"]);
    touch(&mut relations, 1, "t", &["a", "b"]);
    let mut now = source.set(1, "t", &["a", "", "b"]);
    now.columns[2].xid = relations.xid + 2;
    source.0.lock().unwrap().insert(1, now);
    assert_eq!(touch(&mut relations, 1, "t", &["a", "b"]), [""; 0], "perhaps not yet");
    assert!(!relations.is_unsettled(1), "once a transaction");
    relations.begin(relations.xid + 1, Lsn(1), None).unwrap();
    assert!(relations.is_unsettled(1));
    // Not described anew: it had happened before.
    assert_eq!(shown(&relations.settle(1).unwrap()), ["t > t: column b dropped, column b added"]);
    assert!(
        relations.needing_resync()[0].1.contains("when is not known"),
        "{:?}",
        relations.needing_resync()
    );
}

fn told(relations: &mut Relations, event: &str) -> Vec<String> {
    let message = format!(r#"{{"publication":"p",{event}}}"#);
    shown(&relations.ddl(message.as_bytes()).unwrap())
}

fn table_told(relations: &mut Relations, created: bool, now: &TableNow) -> Vec<String> {
    let columns: Vec<_> = now
        .columns
        .iter()
        .map(|column| {
            serde_json::json!({
                "number": column.number, "name": column.name, "type_oid": column.type_oid,
                "modifier": column.modifier, "published": column.published, "default": column.default,
                "missing": column.missing, "value": column.value, "xid": column.xid,
            })
        })
        .collect();
    let TableNow { oid, schema, name, storage, .. } = now;
    let table = serde_json::json!({
        "oid": oid, "schema": schema, "name": name, "storage": storage, "columns": columns,
    });
    told(relations, &format!(r#""event":"table","created":{created},"table":{table}"#))
}

#[test]
fn the_event_trigger_tells_what_nothing_has_to_be_asked_for() {
    let source = Source::default();
    let mut relations = source.relations(KnownTables::default());
    assert_eq!(told(&mut relations, r#""event":"installed""#), [""; 0]);
    let now = source.set(1, "t", &["a", "b"]);
    source.drop(1);
    assert_eq!(table_told(&mut relations, true, &now), ["- > t: created"]);
    // The catalog would say that it is gone.
    assert_eq!(touch(&mut relations, 1, "t", &["a", "b"]), [""; 0]);
    let mut wider = source.set(1, "t", &["a", "b", "c"]);
    source.drop(1);
    (wider.columns[2].missing, wider.columns[2].value) = (true, Some("7".into()));
    let message = table_told(&mut relations, false, &wider);
    assert_eq!(message, ["t > t: column c added"]);
    assert_eq!(touch(&mut relations, 1, "t", &["a", "b", "c"]), [""; 0]);
    assert_eq!(relations.shape(1).unwrap().unwrap().columns()[2].attribute_number, Some(3));
    assert!(reread(&mut relations).ddl_trigger);
    assert_eq!(told(&mut relations, r#""event":"dropped","tables":[5,1]"#), ["t > t: dropped"]);
    assert_eq!(told(&mut relations, r#""event":"removed""#), [""; 0]);
    assert!(!reread(&mut relations).ddl_trigger);
}

/// It was renamed to a name that is left out, and back: what was written in between never came.
#[test]
fn what_was_written_where_nobody_looks_is_missed() {
    for by_trigger in [false, true] {
        let source = Source::default();
        let mut relations = source.relations(KnownTables::default());
        relations.known.ddl_trigger = by_trigger;
        let now = source.set(1, "t", &["a"]);
        touch(&mut relations, 1, "t", &["a"]);
        let hidden = source.set(1, "hidden", &["a"]);
        if by_trigger {
            assert_eq!(table_told(&mut relations, false, &hidden), [""; 0]);
        } else {
            // Described so in a transaction that is staged already: that says nothing.
            relations.learn(&relation(1, "hidden", ReplicaIdentity::Default)).unwrap();
            relations.learn(&relation(1, "t", ReplicaIdentity::Default)).unwrap();
            source.set(1, "t", &["a", "b"]);
            relations.settle(1).unwrap();
            assert!(relations.needing_resync().iter().all(|(_, why)| !why.contains("not replicated")));
            source.set(1, "hidden", &["a"]);
            touch(&mut relations, 1, "hidden", &["a"]);
        }
        source.set(1, "t", &["a"]);
        if by_trigger {
            table_told(&mut relations, false, &now);
        }
        touch(&mut relations, 1, "t", &["a"]);
        let marked = relations.needing_resync();
        assert!(marked[0].1.contains("while it was not replicated"), "{by_trigger}: {marked:?}");
    }
}

#[test]
fn a_constant_default_of_a_new_column_is_told() {
    let source = Source::default();
    let mut relations = source.relations(KnownTables::default());
    source.set(1, "t", &["a"]);
    touch(&mut relations, 1, "t", &["a"]);
    let mut now = source.set(1, "t", &["a", "b"]);
    (now.columns[1].missing, now.columns[1].value) = (true, Some("7".into()));
    source.0.lock().unwrap().insert(1, now);
    relations.begin(2, Lsn(1), None).unwrap();
    relations.learn(&relation(1, "t", ReplicaIdentity::Default)).unwrap();
    let steps = relations.settle(1).unwrap();
    let fill = Fill::Value("7".into());
    assert_eq!(steps[0].change.changes, [TableChange::AddColumn { column: "b".into(), fill }]);
}

#[test]
fn a_rewrite_without_using_keeps_values_and_any_other_needs_a_resync() {
    for (plain, marked) in [(true, false), (false, true)] {
        let source = Source::default();
        let mut relations = source.relations(KnownTables::default());
        let mut now = source.set(1, "t", &["a"]);
        table_told(&mut relations, true, &now);
        (now.columns[0].type_oid, now.storage) = (20, 2);
        told(&mut relations, &format!(r#""event":"rewrite","oid":1,"plain":{plain}"#));
        let steps = table_told(&mut relations, false, &now);
        assert_eq!(steps, ["t > t: column a from INTEGER to BIGINT"]);
        assert_eq!(relations.needing_resync().len(), usize::from(marked));
        assert_eq!(reread(&mut relations).needing_resync().len(), usize::from(marked), "durable");
        // What was plain was so in that transaction.
        relations.begin(relations.xid + 1, Lsn(1), None).unwrap();
        (now.columns[0].type_oid, now.storage) = (21, 3);
        table_told(&mut relations, false, &now);
        assert_eq!(relations.needing_resync().len(), 1);
    }
}

#[test]
fn messages_for_another_publication_and_about_excluded_tables_are_not_for_us() {
    let source = Source::default();
    let mut relations = source.relations(KnownTables::default());
    let message = br#"{"publication":"other","event":"installed"}"#;
    assert!(relations.ddl(message).unwrap().is_empty());
    assert!(!relations.known.ddl_trigger);
    let hidden = source.set(1, "hidden", &["a"]);
    assert_eq!(table_told(&mut relations, true, &hidden), [""; 0]);
    let error = relations.ddl(b"{}").unwrap_err();
    assert!(error.hint.contains("--ddl-trigger"), "{error}");
}
