//! What tells a table's rows apart: the columns that pgoutput flags, or, under REPLICA IDENTITY FULL, whole rows.
//!
//! FULL flags every column, whether the table has a primary key or not. To match rows by the primary key is cheaper, so
//! the catalog is asked for it. But the catalog tells how the table is now, and the stream is behind: the key may be
//! younger than the change at hand, which then may be one of several rows with one key. What proves the contrary: the
//! key's index was seen in the catalog before the change's transaction was committed, and it is there still. Whoever adds
//! a primary key waits for all transactions that have changed the table. Until there is this proof rows are matched as a
//! whole, which needs no key to be right.

use std::collections::HashMap;

use re_dms_shared::Lsn;

use crate::error::{Error, Result, Who};
use crate::pgoutput::{Relation, RelationColumn, ReplicaIdentity};

/// A table as the catalog has it now.
#[derive(Clone, Debug)]
pub struct CatalogTable {
    /// Whether changes come from partitions, each with an identity of its own.
    pub partitioned: bool,
    /// Whether one of them sends another key than the root's: no more of the old row than that, whatever it is marked as.
    pub partitions_differ: bool,
    /// The columns that are not generated, in order.
    pub columns: Vec<String>,
    /// Its primary key, unless that is deferrable: two rows may have one key then.
    pub primary_key: Option<PrimaryKey>,
    /// The server's position after the catalog was read.
    pub seen_at: Lsn,
}

/// A table's primary key.
#[derive(Clone, Debug)]
pub struct PrimaryKey {
    /// `pg_index.indexrelid`: another index, another key.
    pub index: u32,
    /// Its columns' names.
    pub columns: Vec<String>,
}

/// Asks the source for a table by its OID; none if it is gone.
pub type AskCatalog = Box<dyn FnMut(u32) -> Result<Option<CatalogTable>> + Send>;

/// What tells rows apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Flags of the columns: none of them set if rows can only be added, or only be matched as a whole.
    Key(Vec<bool>),
    /// All that they hold.
    WholeRow,
    /// All that they hold, and from this position on the flagged columns.
    KeyFrom(Lsn, Vec<bool>),
}

/// Works out tables' identities.
pub(super) struct Identities {
    ask: AskCatalog,
    /// The commit of the transaction at hand.
    pub(super) at: Lsn,
    /// Where the server was when each primary key's index was first seen.
    seen: HashMap<u32, Lsn>,
}

impl Identities {
    pub(super) fn new(ask: AskCatalog) -> Self {
        Self { ask, at: Lsn::ZERO, seen: HashMap::new() }
    }

    /// `is_excluded` says by a column's name whether the stream has lost it, `can_be_key` whether its type tells rows apart
    /// in Redshift.
    pub(super) fn of(
        &mut self,
        relation: &Relation<'_>,
        is_excluded: &dyn Fn(&str) -> bool,
        can_be_key: &dyn Fn(&RelationColumn<'_>) -> bool,
    ) -> Result<Identity> {
        if relation.replica_identity != ReplicaIdentity::Full {
            return Ok(Identity::Key(relation.columns.iter().map(|column| column.key).collect()));
        }
        let Some(table) = (self.ask)(relation.oid)? else { return Ok(Identity::WholeRow) };
        if table.partitions_differ {
            return Err(Error::fatal(
                Who::Stream,
                format!(
                    "table {}.{}: it has REPLICA IDENTITY FULL, and a partition has an index for its identity",
                    relation.schema, relation.name
                ),
                "ALTER TABLE … REPLICA IDENTITY FULL on each partition, or exclude the table (source.exclude)",
            ));
        }
        let Some(primary_key) = table.primary_key else { return Ok(Identity::WholeRow) };
        // Names alone would not tell that two columns have swapped theirs since.
        let described = relation.columns.iter().map(|column| column.name);
        if !described.eq(table.columns.iter().map(String::as_str).filter(|name| !is_excluded(name))) {
            return Ok(Identity::WholeRow);
        }
        let is_key = |name: &str| primary_key.columns.iter().any(|key| key == name);
        let keys: Vec<bool> = relation.columns.iter().map(|column| is_key(column.name)).collect();
        let flagged = relation.columns.iter().zip(&keys).filter(|(_, key)| **key);
        if !flagged.clone().all(|(column, _)| can_be_key(column))
            || flagged.count() != primary_key.columns.len()
        {
            return Ok(Identity::WholeRow);
        }
        let from = *self.seen.entry(primary_key.index).or_insert(table.seen_at);
        // Partitions may send less than whole rows, whatever the root's identity is.
        if from <= self.at || table.partitioned {
            return Ok(Identity::Key(keys));
        }
        Ok(Identity::KeyFrom(from, keys))
    }
}
