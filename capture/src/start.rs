//! Finding the stream's place: a new stream gets its epoch, publication and slot; one that was here before takes its
//! place from S3 and the slot (invariant 5). A slot that is lost, re-created or someone else's is a hard stop
//! (invariant 6).
//!
//! `stream.json` on S3 says what exists. It is written before the slot is made (`creating`) and after (`active`), so
//! that a slot without it is never ours, and one that was half-made is recognised.

use bytes::Bytes;
use jiff::Timestamp;
use re_dms_shared::s3_layout::StreamLayout;
use re_dms_shared::{Epoch, Lsn};
use serde::{Deserialize, Serialize};

use crate::aws::{Objects, PutOnce};
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::history::History;
use crate::source::{SlotState, Source};

/// The format of `stream.json` and `position.json`.
const FORMAT: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct StreamRecord {
    format: u32,
    stream: String,
    slot: String,
    #[serde(flatten)]
    state: StreamState,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum StreamState {
    /// The slot is about to be made, or was made a moment ago.
    Creating,
    /// The stream runs, or ran.
    Active { epoch: Epoch },
}

/// `position.json`: how far an idle stream may be confirmed beyond its last segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PositionRecord {
    /// [`FORMAT`]
    format: u32,
    /// The position.
    pub lsn: Lsn,
}

impl PositionRecord {
    /// The text that goes to S3.
    #[must_use]
    pub fn json(lsn: Lsn) -> Bytes {
        let record = PositionRecord { format: FORMAT, lsn };
        Bytes::from(serde_json::json!(record).to_string())
    }
}

/// Who the server is: the answer to `IDENTIFY_SYSTEM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerIdentity {
    /// The cluster's system identifier.
    pub system_identifier: String,
    /// Its timeline.
    pub timeline: u32,
    /// How far its WAL was flushed when it was asked.
    pub flushed: Lsn,
}

/// Where the stream stands, before the local WAL is looked at.
#[derive(Clone, Debug)]
pub struct Place {
    /// Whose positions these are.
    pub epoch: Epoch,
    /// The last segment on S3, with its manifest's checksum.
    pub last_segment: Option<(u64, String)>,
    /// The last segment that has a receipt; 0 for none.
    pub loaded_seq: u64,
    /// The end of the last segment on S3, or the epoch's consistent point.
    pub staged_lsn: Lsn,
    /// The end of the last loaded segment, or the epoch's consistent point.
    pub loaded_lsn: Lsn,
    /// As `staged_lsn`, or later if the stream was idle.
    pub anchored: Lsn,
    /// Commit time of the oldest transaction that is staged and not loaded.
    pub oldest_staged: Option<Timestamp>,
    /// What the slot was told last.
    pub confirmed: Lsn,
}

/// Finds or makes the stream's epoch, publication and slot.
///
/// # Errors
/// Whatever keeps the stream from running. A stream that could not be made leaves nothing behind.
pub async fn find_place(
    config: &Config,
    source: &Source,
    server: &ServerIdentity,
    objects: &Objects,
    layout: &StreamLayout,
) -> Result<Place> {
    let slot = source.slot(&config.slot.name).await?;
    let record = read_record(objects, layout).await?;
    let epoch = match record.map(|record| record.state) {
        Some(StreamState::Active { epoch }) => {
            check_identity(config, &epoch, server)?;
            epoch
        }
        Some(StreamState::Creating) => {
            create(config, source, server, objects, layout, slot.as_ref(), true).await?
        }
        None => {
            if slot.is_some() && !config.slot.adopt {
                return Err(foreign_slot(config, "exists, and this stream has never used it"));
            }
            create(config, source, server, objects, layout, slot.as_ref(), false).await?
        }
    };
    let slot = source.slot(&config.slot.name).await?;
    let confirmed = check_slot(config, source, &epoch, slot).await?;
    read_place(objects, layout, epoch, confirmed).await
}

async fn read_record(objects: &Objects, layout: &StreamLayout) -> Result<Option<StreamRecord>> {
    let key = layout.stream_json();
    let Some(json) = objects.get(&key).await? else { return Ok(None) };
    let malformed = |what: String| {
        Error::fatal(
            Who::Stream,
            format!("{key}: {what}"),
            "was it changed by hand, or written by a newer re_dms?",
        )
    };
    let record: StreamRecord = serde_json::from_slice(&json).map_err(|error| malformed(error.to_string()))?;
    if record.format > FORMAT {
        return Err(malformed(format!(
            "format {} is newer than this version reads ({FORMAT})",
            record.format
        )));
    }
    Ok(Some(record))
}

/// Makes what is missing; undoes it if it can't be finished. `resumed`: an earlier start got as far as saying so.
async fn create(
    config: &Config,
    source: &Source,
    server: &ServerIdentity,
    objects: &Objects,
    layout: &StreamLayout,
    slot: Option<&SlotState>,
    resumed: bool,
) -> Result<Epoch> {
    let record = |state| StreamRecord {
        format: FORMAT,
        stream: config.stream.clone(),
        slot: config.slot.name.clone(),
        state,
    };
    let json = |record: &StreamRecord| Bytes::from(serde_json::json!(record).to_string());
    let key = layout.stream_json();
    let intent = objects.put_once(&key, json(&record(StreamState::Creating))).await?;
    if intent == PutOnce::Exists && !resumed {
        return Err(Error::fatal(
            Who::Stream,
            format!("another capture is starting the stream {} at this moment", config.stream),
            "let only one capture run a stream",
        ));
    }
    // Publication first: a slot decodes with the catalog of the time of each change, and would not find one made later.
    let new_publication = match source.ensure_publication(&config.source).await {
        Ok(new) => new,
        Err(error) => {
            undo(objects, &key, intent, None).await;
            return Err(error);
        }
    };
    let consistent_point = match slot {
        Some(slot) => slot.confirmed_flush.unwrap_or(Lsn::ZERO),
        None => match source.create_slot(&config.slot.name).await {
            Ok(lsn) => lsn,
            Err(error) => {
                let publication = new_publication.then_some((source, config.source.publication.as_str()));
                undo(objects, &key, intent, publication).await;
                return Err(error);
            }
        },
    };
    let epoch = Epoch {
        system_identifier: server.system_identifier.clone(),
        timeline: server.timeline,
        slot: config.slot.name.clone(),
        consistent_point,
    };
    // From here on a failure needs no undoing: the record says "creating", and the next start goes on from there.
    objects.put(&key, json(&record(StreamState::Active { epoch: epoch.clone() }))).await?;
    tracing::info!(stream = %config.stream, epoch = %epoch, "a new epoch begins");
    let with_rows = source.tables_with_rows(&config.source).await?;
    if !with_rows.is_empty() {
        tracing::warn!(
            tables = %with_rows.join(", "),
            "these tables hold rows from before the slot, which are not copied by this version: only changes from now on arrive"
        );
    }
    Ok(epoch)
}

/// Best effort: what stays behind is recognised as half-made by the next start.
async fn undo(objects: &Objects, key: &str, intent: PutOnce, publication: Option<(&Source, &str)>) {
    if intent == PutOnce::Written
        && let Err(error) = objects.delete(key).await
    {
        tracing::warn!(%error, key, "left behind");
    }
    if let Some((source, name)) = publication
        && let Err(error) = source.drop_publication(name).await
    {
        tracing::warn!(%error, publication = name, "left behind");
    }
}

fn check_identity(config: &Config, epoch: &Epoch, server: &ServerIdentity) -> Result<()> {
    if epoch.system_identifier != server.system_identifier {
        return Err(Error::fatal(
            Who::Stream,
            format!(
                "the stream {} belongs to the cluster {}, and source.url leads to the cluster {}",
                config.stream, epoch.system_identifier, server.system_identifier
            ),
            "correct source.url, or give the other cluster a stream of its own",
        ));
    }
    if epoch.slot != config.slot.name {
        return Err(Error::fatal(
            Who::Stream,
            format!(
                "the stream {} reads the slot {}, and slot.name is {}",
                config.stream, epoch.slot, config.slot.name
            ),
            "correct slot.name, or begin a stream with another name",
        ));
    }
    Ok(())
}

fn foreign_slot(config: &Config, why: &str) -> Error {
    Error::fatal(
        Who::Stream,
        format!("the replication slot {} {why}", config.slot.name),
        "drop the slot if nobody needs it, choose another slot.name, or set slot.adopt = true to take it from where it is",
    )
}

/// The slot's confirmed position, if the slot is the epoch's and usable.
async fn check_slot(config: &Config, source: &Source, epoch: &Epoch, slot: Option<SlotState>) -> Result<Lsn> {
    let name = &config.slot.name;
    let Some(slot) = slot else {
        return Err(Error::fatal(
            Who::Stream,
            format!(
                "the replication slot {name} of epoch {epoch} is gone, and with it the changes that it held back"
            ),
            "find out who dropped it; to begin again choose a new stream name (or remove the stream's stream.json from \
             the bucket) and copy the tables anew",
        ));
    };
    if slot.plugin.as_deref() != Some("pgoutput") {
        return Err(foreign_slot(config, "has another output plugin than pgoutput"));
    }
    let database = source.database().await?;
    if slot.database.as_deref() != Some(database.as_str()) {
        return Err(foreign_slot(config, "belongs to another database than source.url leads to"));
    }
    if slot.wal_status.as_deref() == Some("lost") {
        return Err(Error::fatal(
            Who::Stream,
            format!("the replication slot {name} was invalidated: the server removed WAL that it needed"),
            "raise max_slot_wal_keep_size; drop the slot and begin a new stream that copies the tables anew",
        ));
    }
    Ok(slot.confirmed_flush.unwrap_or(Lsn::ZERO))
}

async fn read_place(objects: &Objects, layout: &StreamLayout, epoch: Epoch, confirmed: Lsn) -> Result<Place> {
    let text = epoch.to_string();
    let history = History::new(objects, layout, &text);
    let mut place = Place {
        last_segment: None,
        loaded_seq: 0,
        staged_lsn: epoch.consistent_point,
        loaded_lsn: epoch.consistent_point,
        anchored: epoch.consistent_point,
        oldest_staged: None,
        confirmed,
        epoch,
    };
    if let Some((first, last)) = history.range().await? {
        let missing = |seq: u64| {
            Error::fatal(
                Who::Stream,
                format!("the manifest of segment {seq} vanished from S3"),
                "who else writes there?",
            )
        };
        let newest = history.segment(last).await?.ok_or_else(|| missing(last))?;
        place.staged_lsn = newest.manifest.end_lsn;
        place.anchored = newest.manifest.end_lsn;
        place.last_segment = Some((last, newest.sha256));
        place.loaded_seq = history.last_loaded(first, last).await?;
        if place.loaded_seq >= first {
            let loaded = history.segment(place.loaded_seq).await?.ok_or_else(|| missing(place.loaded_seq))?;
            place.loaded_lsn = loaded.manifest.end_lsn;
        }
        if place.loaded_seq < last {
            let pending = history.segment(place.loaded_seq + 1).await?;
            place.oldest_staged = pending.map(|segment| segment.manifest.first_commit_time);
        }
    }
    let key = layout.position_json(&text);
    if let Some(json) = objects.get(&key).await? {
        let record: PositionRecord = serde_json::from_slice(&json).map_err(|error| {
            Error::fatal(Who::Stream, format!("{key}: {error}"), "was it changed by hand?")
        })?;
        place.anchored = place.anchored.max(record.lsn);
    }
    Ok(place)
}

/// The slot must not know more than we hold: `held` is the later of our place on S3 and in the local WAL.
///
/// # Errors
/// If somebody else consumed from the slot, it was made anew, or a disk was lost under `advance_on = "durable"`.
pub fn check_held(config: &Config, confirmed: Lsn, held: Lsn) -> Result<()> {
    if confirmed <= held {
        return Ok(());
    }
    Err(Error::fatal(
        Who::Stream,
        format!(
            "the replication slot {} is at {confirmed}, beyond {held}, the last position that this stream holds: the \
             changes between were given to somebody else, or the slot was made anew",
            config.slot.name
        ),
        "find out who reads this slot; the changes between can't be had from it any more, so begin a new stream that \
         copies the tables anew",
    ))
}

/// The server must hold all WAL that came from it: it sends none that it has not flushed. From a position that its WAL
/// has not reached it would send nothing until it has, and what it writes on the way would be missed silently.
///
/// # Errors
/// If the server was set back.
pub fn check_not_set_back(server: &ServerIdentity, held: Lsn) -> Result<()> {
    if held <= server.flushed {
        return Ok(());
    }
    Err(Error::fatal(
        Who::Stream,
        format!(
            "the server's WAL ends at {}, before {held}, up to where this stream has received it: the server was set \
             back to an older state",
            server.flushed
        ),
        "Redshift holds changes that this server has lost: begin a new stream that copies the tables anew",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_was_set_back_is_refused() {
        let server = |flushed| ServerIdentity { system_identifier: "7".to_owned(), timeline: 1, flushed };
        assert!(check_not_set_back(&server(Lsn(100)), Lsn(100)).is_ok());
        let error = check_not_set_back(&server(Lsn(99)), Lsn(100)).unwrap_err();
        assert!(!error.retry, "{error}");
        assert!(error.what.contains("0/63, before 0/64"), "{error}");
    }
}
