//! How far an epoch's initial copy is, by what S3 holds: `copy.json` says which tables there are to be copied, the first
//! segments' manifests which are, and `copied.json` that all of them are.

use bytes::Bytes;
use re_dms_shared::Lsn;
use re_dms_shared::manifest::{CopiedTable, CopiedTables, Predecessor};
use re_dms_shared::s3_layout::StreamLayout;
use serde::{Deserialize, Serialize};

use crate::aws::Objects;
use crate::error::{Error, Result, Who};
use crate::history::History;
use crate::progress::Progress;
use crate::stage::put_manifest;

/// The format of `copy.json`.
const FORMAT: u32 = 1;

/// A table that is to be copied, by the name that it had when the stream was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyTable {
    /// `pg_class.oid`
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
}

/// `copy.json`
#[derive(Serialize, Deserialize)]
struct Record {
    format: u32,
    tables: Vec<CopyTable>,
}

/// How far the initial copy is.
#[derive(Clone, Debug, Default)]
pub struct CopyState {
    /// All tables of it; none if the epoch has none.
    pub tables: Vec<CopyTable>,
    /// Those whose segments are on S3, in the order of these.
    pub done: Vec<CopiedTable>,
    /// The last one's segment, while there are more to come.
    pub last: Option<Predecessor>,
    /// Where the shapes of the tables that are done are on S3.
    pub shapes: Option<String>,
}

impl CopyState {
    /// Writes down which tables are to be copied, before anything of the stream is staged. No tables leave no trace.
    ///
    /// # Errors
    /// If S3 refuses or can't be reached.
    pub async fn begin(
        objects: &Objects,
        layout: &StreamLayout,
        epoch: &str,
        tables: Vec<CopyTable>,
    ) -> Result<()> {
        if tables.is_empty() {
            return Ok(());
        }
        let json = serde_json::json!(Record { format: FORMAT, tables }).to_string();
        // A start that died before saying that the stream is there may have written it: that list is as good.
        objects.put_once(&layout.copy_json(epoch), Bytes::from(json)).await.map(drop)
    }

    /// Reads what S3 holds.
    ///
    /// # Errors
    /// If S3 can't be read, or what is there not be understood.
    pub async fn read(objects: &Objects, layout: &StreamLayout, epoch: &str) -> Result<Self> {
        let key = layout.copy_json(epoch);
        let Some(json) = objects.get(&key).await? else { return Ok(Self::default()) };
        let Record { format, tables } = parse(&key, &json)?;
        check_format(&key, format, FORMAT)?;
        let mut state = Self { tables, ..Self::default() };
        let key = layout.copied_json(epoch);
        if let Some(json) = objects.get(&key).await? {
            let CopiedTables { format, shapes, tables } = parse(&key, &json)?;
            check_format(&key, format, CopiedTables::FORMAT)?;
            (state.done, state.shapes) = (tables, Some(shapes));
            return Ok(state);
        }
        let history = History::new(objects, layout, epoch);
        while state.done.len() < state.tables.len() {
            let seq = state.done.len() as u64 + 1;
            let Some(segment) = history.segment(seq).await? else { break };
            let copied = segment.manifest.copy.ok_or_else(|| {
                Error::fatal(
                    Who::Stream,
                    format!("segment {seq} is no table's copy, and {key} is missing"),
                    "was something of the epoch's folder deleted? Restore it, or begin a new stream",
                )
            })?;
            state.done.push(copied);
            state.last = Some(Predecessor { seq, sha256: segment.sha256 });
            state.shapes = segment.manifest.shapes;
        }
        if !state.is_pending() {
            // The last segment is there, and nobody has said yet that it is the last.
            state
                .finish(objects, layout, epoch, &Progress::new(crate::progress::Snapshot::default()))
                .await?;
        }
        Ok(state)
    }

    /// Writes `copied.json`. Whoever loads a segment that was staged beside the copy reads it, so it comes before these
    /// are announced.
    ///
    /// # Errors
    /// If another one is there.
    pub async fn finish(
        &self,
        objects: &Objects,
        layout: &StreamLayout,
        epoch: &str,
        progress: &Progress,
    ) -> Result<()> {
        let shapes = self.shapes.clone().unwrap_or_default();
        let record = CopiedTables { format: CopiedTables::FORMAT, shapes, tables: self.done.clone() };
        let json = Bytes::from(serde_json::json!(record).to_string());
        put_manifest(objects, progress, &layout.copied_json(epoch), &json).await
    }

    /// Whether tables are left to be copied.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.done.len() < self.tables.len()
    }

    /// Segments of the copy: those of the stream come after them.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.tables.len() as u64
    }

    /// The tables that are left to be copied.
    pub fn pending(&self) -> impl Iterator<Item = &CopyTable> {
        self.tables.iter().filter(|table| self.done.iter().all(|done| done.oid != table.oid))
    }

    /// The last snapshot that a table was copied under; zero for none.
    #[must_use]
    pub fn last_snapshot(&self) -> Lsn {
        self.done.iter().map(|table| table.snapshot).max().unwrap_or(Lsn::ZERO)
    }
}

fn parse<T: for<'de> Deserialize<'de>>(key: &str, json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| malformed(key, &error.to_string()))
}

fn check_format(key: &str, found: u32, newest: u32) -> Result<()> {
    if found <= newest {
        return Ok(());
    }
    Err(malformed(key, &format!("format {found}, and this version reads up to {newest}")))
}

fn malformed(key: &str, what: &str) -> Error {
    Error::fatal(
        Who::Stream,
        format!("{key}: {what}"),
        "was it changed by hand, or written by a newer re_dms?",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_not_pending() {
        let table = |oid| CopyTable { oid, schema: "public".into(), name: format!("t{oid}") };
        let done =
            |oid, snapshot| CopiedTable { oid, schema: "public".into(), name: format!("t{oid}"), snapshot };
        let mut state = CopyState { tables: vec![table(1), table(2), table(3)], ..CopyState::default() };
        assert_eq!((state.pending().count(), state.last_snapshot()), (3, Lsn::ZERO));
        state.done = vec![done(3, Lsn(30)), done(1, Lsn(20))];
        assert!(state.is_pending());
        assert_eq!(state.pending().collect::<Vec<_>>(), [&table(2)]);
        assert_eq!((state.segments(), state.last_snapshot()), (3, Lsn(30)));
        assert!(!CopyState::default().is_pending());
    }
}
