//! Reading the ledger, and what it says of a segment: in, next, or too early.

use std::time::{Duration, SystemTime};

use re_dms_shared::manifest::Manifest;

use crate::error::LoadError;
use crate::runner::Runner;
use crate::sql_error;
use crate::statements::{Cell, Statements};
use re_dms_plan as plan;

/// How long a reader waits for the ledger, which is locked while a segment is being loaded.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the ledger held when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What it said.
    pub ledger: Ledger,
    /// When the API took the question: a clock shared with the statements that follow.
    pub asked_at: SystemTime,
}

/// What the ledger says of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ledger {
    /// No segment is in.
    Empty,
    /// The last one that is in.
    Last(LastSegment),
    /// Nothing: a transaction holds it.
    Locked,
}

/// The last segment of an epoch that is in Redshift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastSegment {
    /// Its number.
    pub seq: u64,
    /// Its manifest's checksum.
    pub manifest_sha256: String,
}

/// Where a segment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is in.
    Loaded,
    /// It is the next one.
    Next,
    /// The ledger lacks one before it.
    Gap {
        /// The first one that it lacks.
        missing: u64,
    },
}

impl Reading {
    /// Whether the epoch's segment with this number is surely in.
    #[must_use]
    pub fn is_beyond(&self, seq: u64) -> bool {
        matches!(&self.ledger, Ledger::Last(last) if last.seq >= seq)
    }

    /// Where the segment stands.
    ///
    /// # Errors
    /// By its number it is loaded or next, but the ledger means another segment by that number.
    pub fn place(&self, manifest: &Manifest, manifest_sha256: &str) -> Result<Place, LoadError> {
        let seq = manifest.seq;
        let sha256 = manifest.ledger_sha256(manifest_sha256);
        let chain = |reason: String| Err(LoadError::Chain { seq, reason });
        let last = match &self.ledger {
            Ledger::Empty if manifest.follows() == 0 => return Ok(Place::Next),
            Ledger::Empty => return Ok(Place::Gap { missing: 1 }),
            // Likely this very segment, under way since an earlier invocation, which might even have to be continued: it is
            // found again by its tokens. If it is anything else, the transaction's guard finds out.
            Ledger::Locked => return Ok(Place::Next),
            Ledger::Last(last) => last,
        };
        if seq == last.seq && last.manifest_sha256 != sha256 {
            chain("the ledger has another segment under this number".to_owned())
        } else if seq <= last.seq {
            Ok(Place::Loaded)
        } else if seq > last.seq + 1 || manifest.restores.is_some() {
            Ok(Place::Gap { missing: last.seq + 1 })
        } else if manifest.predecessor.as_ref().is_some_and(|before| before.sha256 != last.manifest_sha256) {
            chain(format!("it follows another segment {} than the one in the ledger", last.seq))
        } else {
            Ok(Place::Next)
        }
    }
}

/// Reads the ledger; makes it if there is none.
///
/// # Errors
/// Redshift or the API refuse.
pub async fn read<A: Statements>(
    runner: &Runner<'_, A>,
    stream: &str,
    epoch: &str,
) -> Result<Reading, LoadError> {
    let sql = plan::ledger::last_row(stream, epoch);
    let (asked_at, rows) = runner.query_within(PATIENCE, "reading the ledger", sql).await?;
    let ledger = match rows {
        Ok(None) => Ledger::Locked,
        Ok(Some(rows)) => {
            rows.first().map_or(Ok(Ledger::Empty), |row| last_segment(row).map(Ledger::Last))?
        }
        Err(LoadError::Statement { message, .. }) if sql_error::is_missing_relation(&message) => {
            tracing::info!(stream, "creating the ledger");
            let [schema, table] = plan::ledger::ensure(stream);
            runner.statement("creating the ledger's schema", schema).await?;
            runner.statement("creating the ledger", table).await?;
            Ledger::Empty
        }
        Err(error) => return Err(error),
    };
    Ok(Reading { ledger, asked_at })
}

fn last_segment(row: &[Cell]) -> Result<LastSegment, LoadError> {
    let parsed = || -> Option<LastSegment> {
        let [seq, _end_lsn, sha256] = row else { return None };
        Some(LastSegment {
            seq: u64::try_from(seq.number()?).ok()?,
            manifest_sha256: sha256.text()?.to_owned(),
        })
    };
    parsed().ok_or_else(|| LoadError::Statement {
        what: "reading the ledger".to_owned(),
        table: None,
        message: "its last row is not of the ledger's shape".to_owned(),
        retry: crate::error::Retry::Never,
        hint: "the table is re_dms's own: compare it with the documented columns".to_owned(),
    })
}
