//! The tables of the stream: how its Relation messages describe them, how Redshift has them, and what must change there
//! when the two part.
//!
//! A description counts once a change needs it, in a transaction that is not in Redshift's segments yet: then the table is
//! *settled*. What Redshift has is [`KnownTables`]; the [catalog](look) or the source's event trigger tells which of the
//! described columns are which of the known ones. See `docs/schema-changes.md` and ADR 12.

mod copied;
mod ddl;
mod described;
mod difference;
mod identity;
mod known;
mod layout;
mod look;
mod look_around;
mod matching;
mod partitions;
mod policy;
mod shaping;
mod targets;
mod tell;
mod told;
mod types;
mod verifiable;
mod wishes;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use re_dms_shared::Lsn;
use re_dms_shared::columns::Columns;
use re_dms_shared::manifest::{Column, SchemaChange, Table};

use crate::batch::{SourceColumn, TableShape};
use crate::config::{TablePatterns, TableSettings, TargetNames};
use crate::error::{Error, Result, Who};
use crate::pgoutput::{Relation, Type};
pub use copied::{Description, KeyColumns, describe};
pub use ddl::PREFIX as DDL;
use described::{Described, by_name};
use difference::{Evidence, difference};
pub use identity::{AskCatalog, CatalogTable, PrimaryKey};
use identity::{Identities, Identity};
use known::KnownTable;
pub use known::KnownTables;
pub use layout::layout;
pub use look::{ColumnNow, Look, TableNow};
pub use look_around::{LOOKED, LookedAround, Looks};
use matching::{Before, Matching, Own};
use shaping::Shaping;
use tell::tell;
use told::{Told, keep_key};
pub use types::AskTypes;
use types::Types;
pub use wishes::{KeyRanges, NamedTable, Wish};

/// What the stream has said about tables so far.
pub struct Relations {
    patterns: TablePatterns,
    /// Messages about other publications' tables are not for us.
    publication: String,
    identities: Identities,
    look: Look,
    shaping: Shaping,
    /// By OID; none for tables that are not replicated.
    described: HashMap<u32, Option<Described>>,
    known: KnownTables,
    /// [`Self::known`] is not what the last segment says.
    is_news: bool,
    /// Described since they were last compared with what is known.
    unsettled: HashMap<u32, Unsettled>,
    /// The transaction at hand.
    xid: u32,
    /// How often it still describes each table; none if that is not known.
    to_come: Option<HashMap<u32, usize>>,
    looks: Looks,
    /// The commit of the last transaction that told something of each table, or changed what is known of it.
    told_at: HashMap<u32, Lsn>,
    /// The commit of the transaction that put the event trigger there, or took it away.
    trigger_told_at: Lsn,
    /// Tables that PostgreSQL is about to write anew in the transaction at hand, without USING.
    rewritten_plainly: HashSet<u32>,
    /// Keys, and the position from which on they are certain. Until then the key's columns are none.
    pending: Vec<(Lsn, u32, Vec<bool>)>,
    /// Tables may join the publication with rows.
    may_join: bool,
    /// By OID, the snapshots that tables are copied under: see [`Self::is_copied`].
    copied: HashMap<u32, Lsn>,
}

/// Why a table has to be compared with what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unsettled {
    /// It was described anew.
    Described,
    /// When it was compared, in this transaction, a column may have been another one of its name already.
    Doubtful { xid: u32 },
}

/// What must be done in Redshift between a table's changes before and those after.
#[derive(Debug)]
pub struct SchemaStep {
    /// The table after; for one that is gone, as it was.
    pub table: Table,
    /// What changes.
    pub change: SchemaChange,
}

impl Relations {
    /// Begins with what the last segment left.
    #[must_use]
    pub fn new(
        patterns: TablePatterns,
        publication: String,
        known: KnownTables,
        ask: AskCatalog,
        look: Look,
    ) -> Self {
        Self {
            patterns,
            publication,
            identities: Identities::new(ask),
            look,
            shaping: Shaping::default(),
            described: HashMap::new(),
            known,
            is_news: false,
            unsettled: HashMap::new(),
            xid: 0,
            to_come: None,
            looks: Looks::default(),
            told_at: HashMap::new(),
            trigger_told_at: Lsn::ZERO,
            rewritten_plainly: HashSet::new(),
            pending: Vec::new(),
            may_join: false,
            copied: HashMap::new(),
        }
    }

    /// With what the configuration says of columns and names, and somebody to ask about types.
    #[must_use]
    pub fn with_config(
        self,
        columns: Columns,
        names: TargetNames,
        tables: TableSettings,
        ask: AskTypes,
    ) -> Self {
        Self { shaping: Shaping { columns, names, tables, types: Types::new(ask) }, ..self }
    }

    /// With an initial copy: tables by OID, with the snapshots that they are copied under. `is_news`: what is known of them
    /// is not what the last segment says.
    #[must_use]
    pub fn with_copies(self, copied: HashMap<u32, Lsn>, is_news: bool) -> Self {
        Self { copied, is_news, ..self }
    }

    /// Whether the transaction at hand is in the table's initial copy.
    #[must_use]
    pub fn is_copied(&self, oid: u32) -> bool {
        self.copied.get(&oid).is_some_and(|snapshot| self.identities.at < *snapshot)
    }

    /// Takes a Type message.
    pub fn learn_type(&mut self, ty: &Type<'_>) {
        self.shaping.types.told(ty);
    }

    /// A transaction follows whose commit record is at `commit_lsn`, and that describes each table as often as
    /// `descriptions` says, if that is known.
    ///
    /// # Errors
    /// If a table's key can't be told in Redshift.
    pub fn begin(
        &mut self,
        xid: u32,
        commit_lsn: Lsn,
        descriptions: Option<HashMap<u32, usize>>,
    ) -> Result<()> {
        self.xid = xid;
        self.to_come = descriptions;
        self.rewritten_plainly.clear();
        self.identities.at = commit_lsn;
        while let Some(ready) = self.pending.iter().position(|(from, ..)| *from <= commit_lsn) {
            let (_, oid, keys) = self.pending.swap_remove(ready);
            if let Some(Some(described)) = self.described.get_mut(&oid) {
                for (column, key) in described.columns.iter_mut().zip(keys) {
                    column.key = key;
                }
            }
            self.reshape(oid)?;
        }
        Ok(())
    }

    /// Takes a Relation message.
    ///
    /// # Errors
    /// If the table can't be held in Redshift, or its key can't be asked for.
    pub fn learn(&mut self, relation: &Relation<'_>) -> Result<()> {
        self.pending.retain(|(_, oid, _)| *oid != relation.oid);
        self.told_at.insert(relation.oid, self.identities.at);
        if let Some(left) = self.to_come.as_mut().and_then(|to_come| to_come.get_mut(&relation.oid)) {
            *left = left.saturating_sub(1);
        }
        if !self.patterns.picks(relation.schema, relation.name) {
            self.described.insert(relation.oid, None);
            if self.known.tables.contains_key(&relation.oid) {
                self.unsettled.insert(relation.oid, Unsettled::Described);
            }
            return Ok(());
        }
        let table = (relation.schema, relation.name);
        let shaping = &mut self.shaping;
        shaping.refuse_own_schema(table.0, table.1)?;
        shaping.types.learn(table, relation.columns.iter().map(|column| column.type_oid))?;
        let is_excluded = |column: &str| shaping.columns.is_excluded(table.0, table.1, column);
        let identity = self.identities.of(relation, &is_excluded, &|column| {
            let mapped = shaping.type_of(table, column.name, (column.type_oid, column.type_modifier), true);
            mapped.is_ok_and(|(mapping, _)| mapping.can_be_key())
        })?;
        let keys = match identity {
            Identity::Key(keys) => keys,
            Identity::WholeRow => vec![false; relation.columns.len()],
            Identity::KeyFrom(from, keys) => {
                self.pending.push((from, relation.oid, keys));
                vec![false; relation.columns.len()]
            }
        };
        // Numbers that were found for the same columns hold until it is settled.
        let earlier = self.described.get(&relation.oid).and_then(Option::as_ref);
        let numbers = earlier.filter(|earlier| earlier.has_columns_of(relation));
        let columns = relation.columns.iter().enumerate().map(|(position, column)| SourceColumn {
            name: column.name.to_owned(),
            attribute_number: numbers.and_then(|earlier| earlier.columns[position].attribute_number),
            type_oid: column.type_oid,
            type_modifier: column.type_modifier,
            key: keys[position],
        });
        let columns: Vec<_> = columns.collect();
        let shape = Arc::new(self.target_shape(relation.oid, table, &columns)?);
        let (schema, name) = (table.0.to_owned(), table.1.to_owned());
        let mut described = Described { schema, name, columns, shape };
        // The same shape again keeps its identity, so that a reconnect does not split the batch.
        if let Some(earlier) = earlier.filter(|earlier| earlier.shape == described.shape) {
            described.shape = Arc::clone(&earlier.shape);
        }
        self.described.insert(relation.oid, Some(described));
        self.unsettled.insert(relation.oid, Unsettled::Described);
        Ok(())
    }

    /// The table's shape; none if it is not replicated.
    ///
    /// # Errors
    /// If the stream never described the table: its frames are not complete.
    pub fn shape(&self, oid: u32) -> Result<Option<&Arc<TableShape>>> {
        let described = self.described.get(&oid).ok_or_else(|| {
            Error::fatal(
                Who::Stream,
                format!("a change came for the table with OID {oid}, which the stream has not described"),
                "report this as a bug; removing the local WAL makes the next start ask PostgreSQL again",
            )
        })?;
        Ok(described.as_ref().map(|described| &described.shape))
    }

    /// Whether [`Self::settle`] has something to do before the table's next change.
    #[must_use]
    pub fn is_unsettled(&self, oid: u32) -> bool {
        match self.unsettled.get(&oid) {
            None => false,
            Some(Unsettled::Described) => true,
            Some(Unsettled::Doubtful { xid }) => *xid != self.xid,
        }
    }

    /// Compares the table's description with what is known of it. The steps come before the change at hand.
    ///
    /// # Errors
    /// If the source can't be asked, or two tables would become one in Redshift.
    pub fn settle(&mut self, oid: u32) -> Result<Vec<SchemaStep>> {
        let Some(why) = self.unsettled.remove(&oid) else { return Ok(Vec::new()) };
        let Some(Some(described)) = self.described.get(&oid) else {
            self.lose_sight_of(oid);
            return Ok(Vec::new());
        };
        let known = self.known.tables.get(&oid);
        let is_new = known.is_none();
        let is_key_certain = !self.pending.iter().any(|(_, pending, _)| *pending == oid);
        if self.known.ddl_trigger
            && let Some(known) = known.filter(|known| described.is_like(&known.table, is_key_certain))
        {
            // Names are the same; ignored columns have no number.
            let before = Before { columns: &known.table.columns, highest: known.highest };
            let numbers = by_name(&described.columns, before);
            self.number(oid, &numbers)?;
            return Ok(Vec::new());
        }
        let mut now = (self.look)(oid)?;
        if let Some(now) = &mut now {
            self.shaping.cut(now);
        }
        let before = Before {
            columns: known.map_or(&[], |known| known.table.columns.as_slice()),
            highest: known.and_then(|known| known.highest),
        };
        // What the transaction itself changes is done when it describes the table for the last time, and may not be before.
        let own = match self.to_come.as_ref().map(|to_come| to_come.get(&oid).copied().unwrap_or(0)) {
            Some(0) => Own::Earlier,
            Some(_) => Own::Later,
            None => Own::Unknown,
        };
        let Matching { numbers, doubtful, unexplained } = match &now {
            Some(now) => matching::numbers(&described.columns, before, now, (self.xid, own)),
            // Dropped since: names are all that is left.
            None => Matching {
                numbers: by_name(&described.columns, before),
                doubtful: false,
                unexplained: Vec::new(),
            },
        };
        if doubtful {
            self.unsettled.insert(oid, Unsettled::Doubtful { xid: self.xid });
        }
        self.number(oid, &numbers)?;
        let Some(Some(described)) = self.described.get(&oid) else { return Ok(Vec::new()) };
        let after = described.shape.table().clone();
        let mut doubts: Vec<String> = unexplained
            .iter()
            .map(|column| {
                format!("which column {column} is can't be told: the catalog has another name for it by now")
            })
            .collect();
        if matches!(why, Unsettled::Doubtful { .. }) {
            doubts.push("a column was replaced by another one of its name, and when is not known".to_owned());
        }
        let steps =
            self.become_known(after, now.as_ref(), Told { plain: false, key: is_key_certain, doubts })?;
        if is_new {
            self.doubt_what_joined(oid);
        }
        // It may keep columns from here on.
        self.reshape(oid)?;
        Ok(steps)
    }

    /// Gives the described columns their attribute numbers.
    fn number(&mut self, oid: u32, numbers: &[Option<i16>]) -> Result<()> {
        let Some(Some(described)) = self.described.get_mut(&oid) else { return Ok(()) };
        for (column, number) in described.columns.iter_mut().zip(numbers) {
            column.attribute_number = *number;
        }
        self.reshape(oid)
    }

    /// Works the shape out again; it keeps its identity if it is the same.
    fn reshape(&mut self, oid: u32) -> Result<()> {
        let Some(Some(described)) = self.described.get(&oid) else { return Ok(()) };
        let shape = self.target_shape(oid, (&described.schema, &described.name), &described.columns)?;
        if let Some(Some(described)) = self.described.get_mut(&oid)
            && *described.shape != shape
        {
            described.shape = Arc::new(shape);
        }
        Ok(())
    }

    /// From here on the table is `after` in Redshift.
    fn become_known(
        &mut self,
        mut after: Table,
        now: Option<&TableNow>,
        told: Told,
    ) -> Result<Vec<SchemaStep>> {
        let Told { plain, key, doubts } = told;
        if let Some(known) = self.known.tables.get(&after.oid).filter(|_| !key) {
            keep_key(&mut after, &known.table);
        }
        let mut steps = self.make_way(&after, now)?;
        let storage = now.map(|now| now.storage);
        let mut next = KnownTable {
            storage,
            highest: now.and_then(TableNow::highest),
            needs_resync: Vec::new(),
            gone: false,
            leaves: now.and_then(TableNow::leaves),
            left_out: Vec::new(),
            table: after,
        };
        let oid = next.table.oid;
        self.told_at.insert(oid, self.identities.at);
        let rules = self.rules_of(&next.table);
        let Some(known) = self.known.tables.get(&oid) else {
            self.is_news = true;
            self.known.tables.insert(oid, next);
            return Ok(steps);
        };
        // What changed there is for a look to say.
        next.leaves.clone_from(&known.leaves);
        next.highest = next.highest.max(known.highest);
        next.storage = storage.or(known.storage);
        // It may have been declared when the table was made, whatever is wanted now.
        next.table.layout.primary_key |= known.table.layout.primary_key;
        let rewritten = known.storage.is_none() || known.storage != storage;
        let table = (next.table.schema.as_str(), next.table.name.as_str());
        let constant = |column: &Column, value: &str| self.shaping.constant(table, column, value);
        let evidence = Evidence { now, rewritten, plain, constant: &constant };
        let mut found = difference(&known.table, &next.table, evidence);
        policy::bend(&rules, now, known, &mut next, &mut found);
        if !found.changes.is_empty() {
            found.unproven.extend(doubts);
        }
        if known.gone {
            found.unproven.push("rows that were written while it was not replicated are missing".to_owned());
        }
        next.needs_resync.clone_from(&known.needs_resync);
        next.needs_resync.extend(found.unproven.iter().cloned());
        next.needs_resync.dedup();
        if *known != next {
            self.is_news = true;
        }
        if !found.changes.is_empty() || !found.unproven.is_empty() {
            let change = SchemaChange {
                before: Some(known.table.clone()),
                changes: found.changes,
                unproven: found.unproven,
                hold: false,
            };
            steps.extend(policy::steps(&rules, &next.table, change));
        }
        self.known.tables.insert(oid, next);
        tell(&steps);
        Ok(steps)
    }
}

#[cfg(test)]
mod tests;
