//! The tables of the stream as its Relation messages describe them, and which of them are replicated.

mod identity;
mod types;

use std::collections::HashMap;
use std::sync::Arc;

use re_dms_shared::Lsn;
use re_dms_shared::columns::Columns;
use re_dms_shared::names::OWN_SCHEMA;
use re_dms_shared::types::map_column;

use crate::batch::{SourceColumn, TableShape};
use crate::config::{TablePatterns, TargetNames};
use crate::error::{Error, Result, Who};
use crate::pgoutput::{Relation, Type};
pub use identity::{AskCatalog, CatalogTable, PrimaryKey};
use identity::{Identities, Identity};
pub use types::AskTypes;
use types::Types;

/// What the stream has said about tables so far.
pub struct Relations {
    patterns: TablePatterns,
    identities: Identities,
    columns: Columns,
    names: TargetNames,
    types: Types,
    /// By OID; none for tables that are not replicated.
    shapes: HashMap<u32, Option<Arc<TableShape>>>,
    /// Who has a name in Redshift: `(schema, table)` there to the names on the source.
    targets: HashMap<(String, String), (String, String)>,
    /// Shapes with a key, and the position from which on it is certain. Until then the key's columns are none.
    pending: Vec<(Lsn, Arc<TableShape>)>,
}

impl Relations {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(patterns: TablePatterns, ask: AskCatalog) -> Self {
        Self {
            patterns,
            identities: Identities::new(ask),
            columns: Columns::default(),
            names: TargetNames::default(),
            types: Types::default(),
            shapes: HashMap::new(),
            targets: HashMap::new(),
            pending: Vec::new(),
        }
    }

    /// With what the configuration says of columns and names, and somebody to ask about types.
    #[must_use]
    pub fn with_config(self, columns: Columns, names: TargetNames, ask: AskTypes) -> Self {
        Self { columns, names, types: Types::new(ask), ..self }
    }

    /// Takes a Type message.
    pub fn learn_type(&mut self, ty: &Type<'_>) {
        self.types.told(ty);
    }

    /// A transaction follows whose commit record is at `commit_lsn`.
    pub fn begin(&mut self, commit_lsn: Lsn) {
        self.identities.at = commit_lsn;
        while let Some(ready) = self.pending.iter().position(|(from, _)| *from <= commit_lsn) {
            let (_, shape) = self.pending.swap_remove(ready);
            self.shapes.insert(shape.table().oid, Some(shape));
        }
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
        let target = self.names.table(relation.schema, relation.name);
        let source = (relation.schema.to_owned(), relation.name.to_owned());
        self.claim(&target, source)?;
        self.types.learn(relation)?;
        let (configured, types) = (&self.columns, &self.types);
        let type_of = |name: &str, oid, modifier, key| {
            let rules = configured.rules(relation.schema, relation.name, name);
            map_column(&types.of(oid), modifier, key, &rules).map(|mapping| (mapping, rules))
        };
        let shape_with = |keys: &[bool]| {
            let columns = relation.columns.iter().zip(keys).map(|(column, &key)| SourceColumn {
                name: column.name.to_owned(),
                attribute_number: None,
                type_oid: column.type_oid,
                type_modifier: column.type_modifier,
                key,
            });
            let names = (relation.schema, relation.name);
            let target = (target.0.as_str(), target.1.as_str());
            let shape = TableShape::with_types(relation.oid, names, target, columns.collect(), |column| {
                type_of(&column.name, column.type_oid, column.type_modifier, column.key)
            });
            shape.map_err(|error| Error::told(Who::Stream, false, &error))
        };
        let is_excluded = |column: &str| configured.is_excluded(relation.schema, relation.name, column);
        let identity = self.identities.of(relation, &is_excluded, &|column| {
            let mapped = type_of(column.name, column.type_oid, column.type_modifier, true);
            mapped.is_ok_and(|(mapping, _)| mapping.can_be_key())
        })?;
        self.pending.retain(|(_, shape)| shape.table().oid != relation.oid);
        let shape = match identity {
            Identity::Key(keys) => shape_with(&keys)?,
            Identity::WholeRow => shape_with(&vec![false; relation.columns.len()])?,
            Identity::KeyFrom(from, keys) => {
                self.pending.push((from, Arc::new(shape_with(&keys)?)));
                shape_with(&vec![false; relation.columns.len()])?
            }
        };
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
mod tests;
