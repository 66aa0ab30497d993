//! Reading ranges: each in a short transaction, whose lock is there before it is decided what is seen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use re_dms_shared::manifest::{KeyBound, KeyRange, Operation};

use super::ROWS;
use crate::batch::{Entry, TableShape};
use crate::error::{Error, Result, Who};
use crate::key_order::KeyOrder;
use crate::pgoutput::Tuple;
use crate::relations::TableNow;
use crate::resync::ReadChunk;
use crate::rows::{HashedColumns, copied_rows};
use crate::source::{Source, copy_failure};
use crate::sql::{ident, literal};
use crate::threads;

/// Reading a range should take so long.
const AIM: Duration = Duration::from_secs(1);

/// A table that is being read.
pub(super) struct Reading {
    pub(super) oid: u32,
    pub(super) wish: String,
    /// The catalog's text.
    pub(super) definition: String,
    pub(super) filter: Option<String>,
    pub(super) now: TableNow,
    pub(super) is_partitioned: bool,
    pub(super) shape: Arc<TableShape>,
    pub(super) order: KeyOrder,
    pub(super) key: Vec<String>,
    pub(super) hashed: Option<Arc<HashedColumns>>,
    /// Text in a range, at most about.
    pub(super) most_bytes: usize,
}

/// What became of reading a range.
pub(super) enum Read {
    Rows {
        chunk: ReadChunk,
        bytes: usize,
        took: Duration,
    },
    Busy,
    /// They are more than has room: one of them has to do.
    TooMuch,
    /// Its definition is another one.
    Changed,
    /// Its keys have no order.
    NoOrder,
}

impl Reading {
    /// Reads the beginning of a range, or several that have one key each.
    pub(super) async fn chunk(
        &self,
        source: &Source,
        ranges: &[KeyRange],
        rows: usize,
        publication: &str,
    ) -> Result<Read> {
        if !source.begin_chunk((&self.now.schema, &self.now.name)).await? {
            return Ok(Read::Busy);
        }
        let seen = source.visible().await?;
        let definition = source.definition_text(self.oid, publication).await?;
        let filter = source.copy_traits(self.oid, publication).await?.filter;
        if definition.as_ref() != Some(&self.definition) || filter != self.filter {
            source.end_chunk().await?;
            return Ok(Read::Changed);
        }
        // What is cut off of several is not the end of one.
        let [first, others @ ..] = ranges else { return Ok(Read::Changed) };
        let started = Instant::now();
        let rows = rows.max(ranges.len() + 1);
        let (lines, is_cut) = self.lines(source, ranges, rows).await?;
        source.end_chunk().await?;
        if is_cut && !others.is_empty() {
            return Ok(Read::TooMuch);
        }
        let took = started.elapsed();
        let bytes = lines.len();
        let (shape, hashed) = (Arc::clone(&self.shape), self.hashed.clone());
        let read = threads::low_priority(move || copied_rows(&lines, &shape, hashed.as_deref())).await?;
        let read = read.map_err(|error| Error::told(Who::Source, false, &error))?;
        let is_all = !is_cut && read.len() < rows;
        let last = read.last().map(|row| Tuple::from_checked(row));
        let to = match last.filter(|_| !is_all) {
            None => first.to.clone(),
            Some(row) => match self.order.texts(row).filter(|_| self.order.of_row(row).is_some()) {
                Some(key) => Some(key),
                None => return Ok(Read::NoOrder),
            },
        };
        let first = KeyRange { from: first.from.clone(), to };
        let ranges = std::iter::once(first).chain(others.iter().cloned()).collect();
        let rows = read.into_iter().map(|row| Entry { operation: Operation::Replace, row }).collect();
        let (wish, shape) = (self.wish.clone(), Arc::clone(&self.shape));
        let chunk = ReadChunk { oid: self.oid, wish, seen, ranges, shape, rows };
        Ok(Read::Rows { chunk, bytes, took })
    }

    /// Whole lines, and whether there may be more of them than were taken.
    async fn lines(&self, source: &Source, ranges: &[KeyRange], rows: usize) -> Result<(Vec<u8>, bool)> {
        let stream = source.copy_out(&self.query(ranges, rows)).await?;
        let mut stream = std::pin::pin!(stream);
        let mut lines = Vec::new();
        while let Some(bytes) = stream.try_next().await.map_err(|error| copy_failure(&error))? {
            lines.extend_from_slice(&bytes);
            // A row's own newlines are escaped.
            if lines.len() >= self.most_bytes && lines.ends_with(b"\n") {
                return Ok((lines, true));
            }
        }
        Ok((lines, false))
    }

    fn query(&self, ranges: &[KeyRange], rows: usize) -> String {
        let columns: Vec<_> = self.shape.columns().iter().map(|column| ident(&column.name)).collect();
        let key: Vec<_> = self.key.iter().map(|name| ident(name)).collect();
        let order = key.join(", ");
        let row = |parts: String| if key.len() == 1 { parts } else { format!("({parts})") };
        let bound = |comparison: &str, values: &[String]| {
            let values: Vec<_> = values.iter().map(|text| literal(text)).collect();
            format!("{} {comparison} {}", row(order.clone()), row(values.join(", ")))
        };
        let from = |from: &KeyBound| bound(if from.included { ">=" } else { ">" }, &from.key);
        let within = |range: &KeyRange| -> Vec<String> {
            match &range.to {
                Some(key) if range.is_key() => vec![bound("=", key)],
                to => range.from.iter().map(from).chain(to.iter().map(|to| bound("<=", to))).collect(),
            }
        };
        let filter = self.filter.as_ref().map(|filter| format!("({filter})"));
        let within = match ranges {
            [one] => within(one),
            several => {
                let each: Vec<_> = several.iter().map(|range| within(range).join(" AND ")).collect();
                vec![format!("({})", each.join(" OR "))]
            }
        };
        let conditions: Vec<_> = within.into_iter().chain(filter).collect();
        let condition = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        let only = if self.is_partitioned { "" } else { "ONLY " };
        let (schema, name) = (ident(&self.now.schema), ident(&self.now.name));
        format!(
            "SELECT {} FROM {only}{schema}.{name}{condition} ORDER BY {order} LIMIT {rows}",
            columns.join(", ")
        )
    }
}

/// As many rows as are read in the time that a range should take, and fit.
pub(super) fn next_rows(asked: usize, read: usize, took: Duration, bytes: usize, most_bytes: usize) -> usize {
    // Of a range that ended nothing is known.
    let basis = if read < asked / 2 { asked } else { read };
    let most = (basis * 2).clamp(ROWS.1, ROWS.2);
    let by_time = basis as u128 * AIM.as_millis() / took.as_millis().max(1);
    let by_size = basis as u128 * most_bytes as u128 / bytes.max(1) as u128 * 4 / 5;
    usize::try_from(by_time.min(by_size)).unwrap_or(most).clamp((basis / 4).max(ROWS.1).min(most), most)
}
