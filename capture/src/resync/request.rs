//! Asking for it: `re_dms tables resync`, `add` and `remove`, from any machine that reaches the source.

use std::path::Path;
use std::time::{Duration, Instant};

use re_dms_shared::Lsn;
use re_dms_shared::status::CaptureStatus;

use super::{Message, Request, new_id};
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::relations::NamedTable;
use crate::source::{FoundTable, Source};
use crate::tables;

/// How often the status is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A status that is older than this was written by a capture that does not run any more.
const STALE: Duration = Duration::from_secs(30);

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    tables: Vec<NamedTable>,
    /// Where the server's WAL was behind the request.
    position: Lsn,
}

/// Has tables of the stream read anew; names are the source's, with their schemas. The capture does it whenever it runs; see
/// [`Asked::wait`].
///
/// # Errors
/// If one of them is not there or not in the stream, or the source can't be asked.
pub async fn resync(config: &Config, names: &[String]) -> Result<Asked> {
    let source = Source::connect(&config.source).await?;
    let tables = in_stream(find(config, &source, names).await?)?;
    let request = Request::Resync { id: new_id(), tables: tables.clone() };
    let position = source.request(&Message { stream: config.stream.clone(), request }).await?;
    Ok(Asked { tables, position })
}

fn in_stream(found: Vec<FoundTable>) -> Result<Vec<NamedTable>> {
    if let Some(other) = found.iter().find(|found| !found.in_stream) {
        return Err(Error::fatal(
            Who::Source,
            format!("{} is not replicated", other.table.label()),
            "`re_dms tables add` puts it into the publication; a partition comes with its root",
        ));
    }
    Ok(found.into_iter().map(|found| found.table).collect())
}

/// Puts tables into the publication and has their rows read.
///
/// # Errors
/// As [`resync`], and if the publication can't be changed.
pub async fn add(config: &Config, names: &[String]) -> Result<Asked> {
    let source = Source::connect(&config.source).await?;
    let found = find(config, &source, names).await?;
    let picked = |table: &NamedTable| config.source.tables.picks(&table.schema, &table.name);
    if let Some(other) = found.iter().find(|found| !picked(&found.table)) {
        return Err(Error::fatal(
            Who::Stream,
            format!("source.include and source.exclude do not pick {}", other.table.label()),
            "correct the patterns and start the capture again: that alone adds it",
        ));
    }
    let tables: Vec<_> = found.iter().map(|found| found.table.clone()).collect();
    let (stream, publication) = (config.stream.clone(), &config.source.publication);
    let request = Request::Resync { id: new_id(), tables: tables.clone() };
    let message = Message { stream, request };
    let new: Vec<_> =
        found.iter().filter(|found| !found.in_stream).map(|found| found.table.clone()).collect();
    if new.is_empty() {
        let position = source.request(&message).await?;
        return Ok(Asked { tables, position });
    }
    source.publish(publication, true, &new, &message).await?;
    for table in &new {
        if !source.is_in_stream(table.oid, &config.source).await? {
            return Err(Error::fatal(
                Who::Source,
                format!("{} is a partition, and its root is not in the stream by it", table.label()),
                "add the root, or make the publication without publish_via_partition_root",
            ));
        }
    }
    let position = behind(&source).await?;
    Ok(Asked { tables, position })
}

/// Takes tables out of the publication. Redshift keeps what it has of them.
///
/// # Errors
/// If they are not in it by themselves, or it can't be changed.
pub async fn remove(config: &Config, names: &[String]) -> Result<()> {
    let source = Source::connect(&config.source).await?;
    let found = find(config, &source, names).await?;
    let publication = &config.source.publication;
    if source.publishes_all(publication).await? == Some(true) {
        return Err(Error::fatal(
            Who::Source,
            format!("the publication {publication} has all tables: none can be taken out of it"),
            "exclude them (source.exclude) and start the capture again",
        ));
    }
    if let Some(other) = found.iter().find(|found| !found.in_stream) {
        let hint = "`re_dms tables list` shows what waits; the publication says what is replicated";
        return Err(Error::fatal(Who::Source, format!("{} is not replicated", other.table.label()), hint));
    }
    let tables: Vec<_> = found.into_iter().map(|found| found.table).collect();
    let request = Request::Remove { tables: tables.clone() };
    let message = Message { stream: config.stream.clone(), request };
    source.publish(publication, false, &tables, &message).await
}

async fn behind(source: &Source) -> Result<Lsn> {
    let standby =
        || Error::fatal(Who::Source, "the server is a standby", "let source.url lead to the primary");
    source.insert_position().await?.ok_or_else(standby)
}

async fn find(config: &Config, source: &Source, names: &[String]) -> Result<Vec<FoundTable>> {
    let mut all: Vec<FoundTable> = Vec::new();
    for label in names {
        let (schema, name) = label.split_once('.').unwrap_or(("public", label));
        let Some(found) = source.find_table((schema, name), &config.source).await? else {
            return Err(Error::fatal(
                Who::Source,
                format!("there is no table {schema}.{name} on the source"),
                "names are the source's, with their schemas, in the catalog's spelling",
            ));
        };
        if all.iter().all(|other| other.table != found.table) {
            all.push(found);
        }
    }
    Ok(all)
}

impl Asked {
    /// Waits until the tables are loaded again, where the capture's status can be read; tells how far it is.
    ///
    /// # Errors
    /// If the status can't be read, the capture does not run, or it takes longer. What was asked for goes on in any case.
    pub async fn wait(
        &self,
        config: &Config,
        timeout: Duration,
        mut tell: impl FnMut(&CaptureStatus),
    ) -> Result<()> {
        let started = Instant::now();
        // A position behind the one where the last of the tables had its rows.
        let mut read_at: Option<Lsn> = None;
        let mut last = None;
        loop {
            let status = tables::status(config)?;
            if self.is_taken(&status) && !self.is_being_read(&status) {
                let read_at = *read_at.get_or_insert(status.server_wal_end.max(status.received.0));
                let is_loaded = status.loaded.0 >= read_at;
                // What was known before the start may be long past.
                if is_loaded && status.quarantined_told && !self.is_waiting(config, &status) {
                    return Ok(());
                }
            } else {
                read_at = None;
            }
            if started.elapsed() > timeout {
                return Err(self.too_long(config, &status, timeout));
            }
            tell(&status);
            last.replace(status);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The stream has come to the request.
    fn is_taken(&self, status: &CaptureStatus) -> bool {
        status.staged.0 >= self.position
    }

    fn is_being_read(&self, status: &CaptureStatus) -> bool {
        let labels: Vec<_> = self.tables.iter().map(NamedTable::label).collect();
        status.resyncs.iter().any(|resync| labels.contains(&resync.table))
    }

    fn is_waiting(&self, config: &Config, status: &CaptureStatus) -> bool {
        self.tables.iter().any(|table| {
            let (schema, name) = config.target.table(&table.schema, &table.name);
            let target = format!("{schema}.{name}");
            status.quarantined.iter().any(|waiting| waiting.table == target)
        })
    }

    fn too_long(&self, config: &Config, status: &CaptureStatus, timeout: Duration) -> Error {
        let is_old = age(&config.data_dir).is_some_and(|age| age > STALE);
        let (what, hint) = if is_old {
            ("the capture does not run".to_owned(), "start it: it does what was asked for".to_owned())
        } else if let Some(error) = &status.resync_error {
            (error.clone(), "it goes on by itself once that is remedied".to_owned())
        } else if !self.is_taken(status) {
            ("the stream has not come to the request yet".to_owned(), "it goes on by itself".to_owned())
        } else if self.is_being_read(status) {
            ("they are still being read".to_owned(), "it goes on by itself".to_owned())
        } else {
            let hint = "it goes on by itself; `re_dms tables list` says more";
            ("their rows are not loaded yet".to_owned(), hint.to_owned())
        };
        Error::fatal(Who::Stream, format!("after {} s: {what}", timeout.as_secs()), hint)
    }
}

fn age(data_dir: &Path) -> Option<Duration> {
    let modified = std::fs::metadata(data_dir.join("status.json")).ok()?.modified().ok()?;
    modified.elapsed().ok()
}
