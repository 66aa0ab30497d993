//! Tables that are to be read anew. A wish is part of what the segments say of the tables ([`KnownTables`]), so that it outlives
//! whoever had it, until the table's rows are in a segment.

use std::sync::Arc;

use re_dms_shared::Lsn;
use re_dms_shared::manifest::{KeyRange, Table};
use serde::{Deserialize, Serialize};

use super::known::{KnownTables, source_name};
use super::look::TableNow;
use super::tell::tell;
use super::{Relations, SchemaStep, Told};
use crate::batch::TableShape;
use crate::config::SchemaChanges;
use crate::error::Result;

/// A table of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedTable {
    /// `pg_class.oid`
    pub oid: u32,
    /// Its schema, when this was written.
    pub schema: String,
    /// Its name.
    pub name: String,
}

/// Somebody wants a table to be read anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Which.
    #[serde(flatten)]
    pub table: NamedTable,
    /// Tells wishes for one table apart: what was begun for an older one is not what the newer one wants.
    pub id: String,
    /// Only these keys; none for the whole table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<KeyRanges>,
    /// What is left of it, once it is read range by range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<KeyRanges>,
    /// It is read as a whole, under a snapshot, and that was begun.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
}

/// Some of a table's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRanges {
    /// Names on the source of the key's columns, in the order in which the ranges compare them.
    pub key: Vec<String>,
    /// Which keys.
    pub ranges: Vec<KeyRange>,
}

impl Wish {
    /// For the whole table.
    #[must_use]
    pub fn new(table: NamedTable, id: String) -> Self {
        Self { table, id, only: None, sweep: None, whole: false }
    }

    /// One request may be for several tables.
    #[must_use]
    pub fn key(&self) -> (String, u32) {
        (self.id.clone(), self.table.oid)
    }

    /// What two wishes for one table come to: the newer one, and what the older one still wants.
    fn after(self, older: Option<&Wish>) -> Self {
        let (Some(older), Some(only)) = (older, &self.only) else { return self };
        // Nothing of an older one's is in Redshift if it was not begun.
        let before = if older.whole { None } else { older.sweep.as_ref().or(older.only.as_ref()) };
        let Some(before) = before.filter(|before| before.key == only.key) else {
            return Self { only: None, ..self };
        };
        let mut both = before.clone();
        both.ranges.extend(only.ranges.iter().filter(|range| !before.ranges.contains(range)).cloned());
        Self { only: Some(both), ..self }
    }
}

impl NamedTable {
    /// For people.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

impl KnownTables {
    /// Tables that are to be read anew.
    pub fn wishes(&self) -> impl Iterator<Item = &Wish> {
        self.wishes.values()
    }
}

impl Relations {
    /// From here on the table is to be read anew.
    pub fn wish(&mut self, wish: Wish) {
        let older = self.known.wishes.get(&wish.table.oid);
        let wish = wish.after(older);
        tracing::info!(table = wish.table.label(), id = wish.id, "is to be read anew");
        self.known.wishes.insert(wish.table.oid, wish);
        self.is_news = true;
    }

    /// The wish is fulfilled, or can't be. False if it is not there any more, or another one is.
    pub fn end_wish(&mut self, oid: u32, id: &str) -> bool {
        let ended = self.known.wishes.get(&oid).is_some_and(|wish| wish.id == id);
        if ended {
            self.known.wishes.remove(&oid);
            self.is_news = true;
        }
        ended
    }

    /// The table's wish.
    #[must_use]
    pub fn wish_for(&self, oid: u32) -> Option<&Wish> {
        self.known.wishes.get(&oid)
    }

    /// What is left of a table that is read range by range is this from here on.
    pub fn sweep(&mut self, oid: u32, left: Option<KeyRanges>) {
        if let Some(wish) = self.known.wishes.get_mut(&oid) {
            self.is_news |= wish.sweep != left;
            wish.sweep = left;
        }
    }

    /// The table is being read under a snapshot: nothing else will do from here on.
    pub fn read_whole(&mut self, oid: u32) {
        if let Some(wish) = self.known.wishes.get_mut(&oid) {
            (wish.sweep, wish.whole) = (None, true);
            self.is_news = true;
        }
    }

    /// What Redshift has of the table.
    #[must_use]
    pub fn in_redshift(&self, oid: u32) -> Option<&Table> {
        self.known.tables.get(&oid).filter(|known| !known.gone).map(|known| &known.table)
    }

    /// Whether rows in Redshift may differ from the source's, wherever they are.
    #[must_use]
    pub fn needs_resync(&self, oid: u32) -> bool {
        self.known.tables.get(&oid).is_none_or(|known| !known.needs_resync.is_empty())
    }

    /// Whether the table's partitions are those that are known, stored as they were. What another one brought or took is to be
    /// read.
    #[must_use]
    pub fn has_partitions_of(&self, now: &TableNow) -> bool {
        self.known.tables.get(&now.oid).is_some_and(|known| known.leaves == now.leaves())
    }

    /// All of them.
    #[must_use]
    pub fn wishes(&self) -> Vec<Wish> {
        self.known.wishes.values().cloned().collect()
    }

    /// Tables that need it, that may be read anew by themselves, and that nobody has wished for yet.
    #[must_use]
    pub fn due_for_resync(&self) -> Vec<NamedTable> {
        let due = self.known.tables.values().filter(|known| {
            let rules = self.rules_of(&known.table);
            // Reading a table anew would do what waits for approval.
            let allowed = !rules.manual_resync && rules.schema_changes != SchemaChanges::Hold;
            allowed
                && !known.gone
                && !known.needs_resync.is_empty()
                && !self.known.wishes.contains_key(&known.table.oid)
        });
        let named = due.map(|known| {
            let (schema, name) = (known.table.schema.clone(), known.table.name.clone());
            NamedTable { oid: known.table.oid, schema, name }
        });
        named.collect()
    }

    /// Of a publication that does not have all tables: one may come to it with rows.
    #[must_use]
    pub fn with_joining(self, may_join: bool) -> Self {
        Self { may_join, ..self }
    }

    /// The first change of a table came, and nobody saw it come into being.
    pub(super) fn doubt_what_joined(&mut self, oid: u32) {
        let Some(known) = self.known.tables.get_mut(&oid).filter(|_| self.may_join) else { return };
        let reason = "it joined the publication: rows that it held before are missing";
        known.needs_resync.push(reason.to_owned());
        self.is_news = true;
    }

    /// Whether Redshift has the table, and the stream goes on with it.
    #[must_use]
    pub fn is_known(&self, oid: u32) -> bool {
        self.known.tables.get(&oid).is_some_and(|known| !known.gone)
    }

    /// The table is not replicated any more: should it come back, rows are missing.
    pub fn forsake(&mut self, oid: u32) {
        if let Some(known) = self.known.tables.get_mut(&oid).filter(|known| !known.gone) {
            tracing::info!(
                table = source_name(&known.table),
                "is not replicated any more: Redshift keeps what it has"
            );
            known.gone = true;
            self.is_news = true;
        }
    }

    /// Whether the stream told something of the table at this position or later.
    #[must_use]
    pub fn is_told_since(&self, oid: u32, position: Lsn) -> bool {
        self.told_at.get(&oid).is_some_and(|at| *at >= position)
    }

    /// The stream is where the table was looked at for being read: it is like this. The steps come before that; the shape is
    /// that of the rows. None if the table is not replicated.
    ///
    /// # Errors
    /// As [`Self::settle`].
    pub fn read_anew(&mut self, mut now: TableNow) -> Result<Option<(Vec<SchemaStep>, Arc<TableShape>)>> {
        let leaves = now.leaves();
        self.shaping.cut(&mut now);
        let Some((after, key)) = self.shape_seen(&now)? else { return Ok(None) };
        let steps = self.become_known(after, Some(&now), Told { plain: false, key, doubts: Vec::new() })?;
        let Some(columns) = self.columns_seen(&now)? else { return Ok(None) };
        let shape = self.target_shape(now.oid, (&now.schema, &now.name), &columns)?;
        if let Some(known) = self.known.tables.get_mut(&now.oid) {
            tracing::info!(table = source_name(&known.table), "is read anew from here on");
            // Whatever was not known of its rows will be.
            known.needs_resync.clear();
            known.gone = false;
            known.leaves = leaves;
        }
        self.is_news = true;
        tell(&steps);
        Ok(Some((steps, Arc::new(shape))))
    }
}
