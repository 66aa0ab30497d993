//! The tables as Redshift has them once everything collected so far is loaded. Every segment's manifest names the file
//! that has them as of the segment's end, so that neither a restart nor a lost disk forgets them: `shapes.json`.

use std::collections::BTreeMap;

use re_dms_shared::manifest::Table;
use serde::{Deserialize, Serialize};

use super::Relations;
use super::wishes::Wish;
use crate::error::{Error, Result, Who};

/// The format that is written.
const FORMAT: u32 = 1;

/// What is known of tables, by OID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownTables {
    /// The event trigger tells every change: nothing needs to be asked.
    pub(super) ddl_trigger: bool,
    pub(super) tables: BTreeMap<u32, KnownTable>,
    /// Tables that are to be read anew, whether they are known or not.
    pub(super) wishes: BTreeMap<u32, Wish>,
}

/// A table as it is in Redshift.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownTable {
    #[serde(flatten)]
    pub(super) table: Table,
    /// What the table's rows were stored in, when it was last asked: another one, and they may have been rewritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) storage: Option<i64>,
    /// The highest attribute number that was given out, if it was ever asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) highest: Option<i16>,
    /// Why rows in Redshift may differ from the source's until the table is read again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) needs_resync: Vec<String>,
    /// The source has it no more, or it is not replicated any more; Redshift has it still.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) gone: bool,
    /// Of a partitioned table: by OID, what its partitions' rows were stored in; none if it was never asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) leaves: Option<BTreeMap<u32, i64>>,
    /// Numbers of columns that were ignored: what rows have in them never came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) left_out: Vec<i16>,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    #[serde(default)]
    ddl_trigger: bool,
    tables: Vec<KnownTable>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    wishes: Vec<Wish>,
}

impl KnownTables {
    /// The text that goes to S3.
    ///
    /// # Errors
    /// Only if serde refuses, which it has no reason to.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let tables = self.tables.values().cloned().collect();
        let wishes = self.wishes.values().cloned().collect();
        let file = File { format: FORMAT, ddl_trigger: self.ddl_trigger, tables, wishes };
        serde_json::to_vec(&file).map_err(|error| {
            Error::fatal(Who::Stream, format!("the tables' shapes: {error}"), "report this as a bug")
        })
    }

    /// Reads what [`Self::to_json`] wrote. `key` is where it lay.
    ///
    /// # Errors
    /// Malformed text, or a newer format.
    pub fn from_json(key: &str, json: &[u8]) -> Result<Self> {
        let broken = |what: String| {
            Error::fatal(
                Who::Stream,
                format!("{key}: {what}"),
                "was it changed by hand, or written by a newer re_dms?",
            )
        };
        let file: File = serde_json::from_slice(json).map_err(|error| broken(error.to_string()))?;
        if file.format > FORMAT {
            return Err(broken(format!("format {}, and this version reads up to {FORMAT}", file.format)));
        }
        let tables = file.tables.into_iter().map(|table| (table.table.oid, table)).collect();
        let wishes = file.wishes.into_iter().map(|wish| (wish.table.oid, wish)).collect();
        Ok(Self { ddl_trigger: file.ddl_trigger, tables, wishes })
    }

    /// Takes a table as another place knows it; says whether that is news.
    pub fn take(&mut self, oid: u32, from: &KnownTables) -> bool {
        match from.tables.get(&oid) {
            Some(known) => self.tables.insert(oid, known.clone()).as_ref() != Some(known),
            None => self.tables.remove(&oid).is_some(),
        }
    }

    /// Takes a table that is about to be copied, or that is not there to be copied.
    pub fn put(&mut self, oid: u32, described: Option<&super::Description>) {
        match described {
            Some(described) => self.tables.insert(oid, described.known.clone()),
            None => self.tables.remove(&oid),
        };
    }

    /// Tables whose rows in Redshift may differ from the source's, with the reasons.
    #[must_use]
    pub fn needing_resync(&self) -> Vec<(String, String)> {
        let marked = self.tables.values().filter(|known| !known.needs_resync.is_empty());
        marked.map(|known| (source_name(&known.table), known.needs_resync.join("; "))).collect()
    }

    /// Whether tables are to be read anew.
    #[must_use]
    pub fn has_wishes(&self) -> bool {
        !self.wishes.is_empty()
    }

    /// Whether Redshift has the source's table of this name, as far as the stream made it.
    #[must_use]
    pub fn has(&self, schema: &str, name: &str) -> bool {
        let is =
            |known: &KnownTable| (known.table.schema.as_str(), known.table.name.as_str()) == (schema, name);
        self.tables.values().any(is)
    }

    /// The tables in Redshift that the stream made or filled, those that the source has no more included.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tables
            .values()
            .map(|known| (known.table.target_schema.as_str(), known.table.target_name.as_str()))
    }

    /// Who has the target's name: another table than `oid`.
    pub(super) fn owner(&self, target: (&str, &str), oid: u32) -> Option<u32> {
        let has = |known: &&KnownTable| {
            known.table.oid != oid
                && (known.table.target_schema.as_str(), known.table.target_name.as_str()) == target
        };
        self.tables.values().find(has).map(|known| known.table.oid)
    }
}

impl Relations {
    /// What the last segment does not say yet of the known tables, for the next one.
    ///
    /// # Errors
    /// As [`KnownTables::to_json`].
    pub fn take_news(&mut self) -> Result<Option<Vec<u8>>> {
        if std::mem::take(&mut self.is_news) { self.known.to_json().map(Some) } else { Ok(None) }
    }

    /// Tables whose rows in Redshift may differ from the source's, with the reasons.
    #[must_use]
    pub fn needing_resync(&self) -> Vec<(String, String)> {
        self.known.needing_resync()
    }
}

/// `schema.name` on the source: for errors and logs.
pub(super) fn source_name(table: &Table) -> String {
    format!("{}.{}", table.schema, table.name)
}
