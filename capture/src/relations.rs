//! The tables of the stream as its Relation messages describe them, and which of them are replicated.

use std::collections::HashMap;
use std::sync::Arc;

use re_dms_shared::names::{OWN_SCHEMA, target_name};

use crate::batch::{SourceColumn, TableShape};
use crate::config::TablePatterns;
use crate::error::{Error, Result, Who};
use crate::pgoutput::{Relation, ReplicaIdentity};

/// Asks the source for a table's primary key: the columns' names, empty if there is none.
pub type PrimaryKeys = Box<dyn FnMut(u32) -> Result<Vec<String>> + Send>;

/// What the stream has said about tables so far.
pub struct Relations {
    patterns: TablePatterns,
    primary_keys: PrimaryKeys,
    /// By OID; none for tables that are not replicated.
    shapes: HashMap<u32, Option<Arc<TableShape>>>,
    /// Who has a name in Redshift: `(schema, table)` there to the names on the source.
    targets: HashMap<(String, String), (String, String)>,
}

impl Relations {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(patterns: TablePatterns, primary_keys: PrimaryKeys) -> Self {
        Self { patterns, primary_keys, shapes: HashMap::new(), targets: HashMap::new() }
    }

    /// Takes a Relation message.
    ///
    /// # Errors
    /// If the table's name or columns collide with others in Redshift, or its key can't be asked for.
    pub fn learn(&mut self, relation: &Relation<'_>) -> Result<()> {
        if !self.patterns.picks(relation.schema, relation.name) {
            self.shapes.insert(relation.oid, None);
            return Ok(());
        }
        let keys = self.keys(relation)?;
        let columns = relation.columns.iter().zip(keys).map(|(column, key)| SourceColumn {
            name: column.name.to_owned(),
            attribute_number: None,
            type_oid: column.type_oid,
            type_modifier: column.type_modifier,
            key,
        });
        let target = (target_name(relation.schema), target_name(relation.name));
        let source = (relation.schema.to_owned(), relation.name.to_owned());
        self.claim(&target, source)?;
        let names = (relation.schema, relation.name);
        let shape = TableShape::new(relation.oid, names, (&target.0, &target.1), columns.collect());
        let shape = shape.map_err(|error| Error::told(Who::Stream, false, &error))?;
        // The same shape again keeps its identity, so that a reconnect does not split the batch.
        let known = self.shapes.get(&relation.oid).and_then(Option::as_ref);
        if known.is_some_and(|known| **known == shape) {
            return Ok(());
        }
        // Another table of that name was dropped, if it has the name no more.
        let earlier =
            known.or_else(|| self.shapes.values().flatten().find(|other| other.same_target(&shape)));
        for change in earlier.map(|earlier| what_changed(earlier, &shape)).unwrap_or_default() {
            tracing::warn!(
                table = %shape.source_name(),
                "the table's definition changed: {change} (hint: compare both sides; where they differ, empty the table \
                 in Redshift and write its rows again on the source)"
            );
        }
        self.shapes.insert(relation.oid, Some(Arc::new(shape)));
        Ok(())
    }

    /// The table's shape; none if it is not replicated.
    ///
    /// # Errors
    /// If the stream never described the table: its frames are not complete.
    pub fn shape(&self, oid: u32) -> Result<Option<&Arc<TableShape>>> {
        self.shapes.get(&oid).map(Option::as_ref).ok_or_else(|| {
            Error::fatal(
                Who::Stream,
                format!("a change came for the table with OID {oid}, which the stream has not described"),
                "report this as a bug; removing the local WAL makes the next start ask PostgreSQL again",
            )
        })
    }

    /// Which columns make the key. With REPLICA IDENTITY FULL pgoutput flags them all, and the catalog knows better.
    fn keys(&mut self, relation: &Relation<'_>) -> Result<Vec<bool>> {
        if relation.replica_identity != ReplicaIdentity::Full {
            return Ok(relation.columns.iter().map(|column| column.key).collect());
        }
        let primary_key = (self.primary_keys)(relation.oid)?;
        Ok(relation.columns.iter().map(|column| primary_key.iter().any(|key| key == column.name)).collect())
    }

    /// Two tables of the source must not share one in Redshift, and none may take the place of a ledger.
    fn claim(&mut self, target: &(String, String), source: (String, String)) -> Result<()> {
        if target.0 == OWN_SCHEMA {
            return Err(Error::fatal(
                Who::Stream,
                format!(
                    "the table {}.{} would go into the schema that re_dms keeps its ledgers in",
                    source.0, source.1
                ),
                "exclude it (source.exclude), or rename its schema",
            ));
        }
        match self.targets.get(target) {
            Some(owner) if *owner != source => Err(Error::fatal(
                Who::Stream,
                format!(
                    "the tables {}.{} and {}.{} would both become {}.{} in Redshift, whose names are lower-case",
                    owner.0, owner.1, source.0, source.1, target.0, target.1
                ),
                "rename one of them, or exclude one (source.exclude)",
            )),
            Some(_) => Ok(()),
            None => {
                self.targets.insert(target.clone(), source);
                Ok(())
            }
        }
    }
}

/// What a new definition means for the rows that Redshift has already: the stream says nothing about them.
fn what_changed(earlier: &TableShape, now: &TableShape) -> Vec<String> {
    let mut changes = Vec::new();
    if !earlier.same_target(now) {
        changes.push(format!(
            "it was named {}: the rows from before stay in the table of that name",
            earlier.source_name()
        ));
    } else if earlier.table().oid != now.table().oid {
        changes.push("it is another table of the same name: the rows of the one before stay".to_owned());
    }
    let lacking = |columns: &TableShape, of: &TableShape| -> Vec<String> {
        let is_lacking = |name: &&String| !columns.columns().iter().any(|column| column.name == **name);
        of.columns().iter().map(|column| &column.name).filter(is_lacking).cloned().collect()
    };
    let (added, gone) = (lacking(earlier, now), lacking(now, earlier));
    if !added.is_empty() {
        changes.push(format!(
            "new columns ({}): the rows from before get NULL there, whatever the default",
            added.join(", ")
        ));
    }
    if !gone.is_empty() {
        changes.push(format!(
            "columns dropped or renamed ({}): Redshift keeps them, with the values from before",
            gone.join(", ")
        ));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::pgoutput::RelationColumn;

    fn relations() -> Relations {
        let config = r#"
            stream = "t"
            data_dir = "/d"
            source = { url = "postgres://u@h/d", exclude = ["*.hidden"] }
            s3.bucket = "bucket"
            queues = { segments_url = "http://q/s.fifo", acks_url = "http://q/a" }
        "#;
        let patterns = Config::parse(config, vec![]).unwrap().source.tables;
        Relations::new(patterns, Box::new(|_| Ok(vec!["b".to_owned()])))
    }

    fn relation(oid: u32, name: &str, replica_identity: ReplicaIdentity) -> Relation<'_> {
        let column = |name, key| RelationColumn { key, name, type_oid: 23, type_modifier: -1 };
        let all = replica_identity == ReplicaIdentity::Full;
        let columns = vec![column("a", true), column("b", all)];
        Relation { xid: None, oid, schema: "public", name, replica_identity, columns }
    }

    #[test]
    fn a_full_identity_takes_its_key_from_the_catalog() {
        let mut relations = relations();
        relations.learn(&relation(1, "t", ReplicaIdentity::Default)).unwrap();
        relations.learn(&relation(2, "u", ReplicaIdentity::Full)).unwrap();
        assert_eq!(relations.shape(1).unwrap().unwrap().key_positions(), [0]);
        assert_eq!(relations.shape(2).unwrap().unwrap().key_positions(), [1]);
    }

    #[test]
    fn excluded_tables_are_known_and_have_no_shape() {
        let mut relations = relations();
        relations.learn(&relation(1, "hidden", ReplicaIdentity::Default)).unwrap();
        assert!(relations.shape(1).unwrap().is_none());
        assert!(relations.shape(2).is_err(), "never described");
    }

    #[test]
    fn names_that_differ_in_case_only_are_refused() {
        let mut relations = relations();
        relations.learn(&relation(1, "Orders", ReplicaIdentity::Default)).unwrap();
        let error = relations.learn(&relation(2, "orders", ReplicaIdentity::Default)).unwrap_err();
        assert!(error.what.contains("public.Orders and public.orders"), "{error}");
        relations.learn(&relation(3, "Orders", ReplicaIdentity::Default)).unwrap();
    }

    #[test]
    fn a_changed_definition_is_told_with_what_it_means_for_the_rows_from_before() {
        let mut relations = relations();
        let mut shape = |oid, name, columns: &[&'static str]| {
            let column =
                |name: &&'static str| RelationColumn { key: false, name, type_oid: 23, type_modifier: -1 };
            let columns = columns.iter().map(column).collect();
            let replica_identity = ReplicaIdentity::Default;
            let relation = Relation { xid: None, oid, schema: "public", name, replica_identity, columns };
            relations.learn(&relation).unwrap();
            Arc::clone(relations.shape(oid).unwrap().unwrap())
        };
        let before = shape(1, "t", &["a", "b"]);
        let column_renamed = shape(1, "t", &["a", "c"]);
        let changes = what_changed(&before, &column_renamed);
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert!(changes[0].contains("new columns (c)") && changes[1].contains("renamed (b)"), "{changes:?}");
        let renamed = shape(1, "u", &["a", "c"]);
        let changes = what_changed(&column_renamed, &renamed);
        assert!(matches!(&changes[..], [change] if change.contains("it was named public.t")), "{changes:?}");
        let made_again = shape(2, "t", &["a", "b"]);
        let changes = what_changed(&before, &made_again);
        assert!(matches!(&changes[..], [change] if change.contains("another table")), "{changes:?}");
        assert!(what_changed(&before, &before).is_empty());
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
}
