//! Finding the stream's place: a new stream gets its epoch, publication and slot; one that was here before takes its
//! place from S3 and the slot (invariant 5). A slot that is lost, re-created or someone else's is a hard stop
//! (invariant 6).
//!
//! `stream.json` on S3 says what exists. It is written before the slot is made (`creating`) and after (`active`), so
//! that a slot without it is never ours, and one that was half-made is recognised.

mod held;
mod records;
mod tables;
mod timeline;

use jiff::Timestamp;
use re_dms_shared::s3_layout::StreamLayout;
use re_dms_shared::{Epoch, Lsn};

use crate::aws::{Objects, PutOnce};
use crate::config::{Config, Failover};
use crate::copy::{CopyState, CopyTable};
use crate::error::{Error, Result, Who};
use crate::history::{History, read_shapes};
use crate::relations::KnownTables;
use crate::replication::{FAILOVER_SINCE, ReplicationClient, ReplicationError};
use crate::source::{SlotState, Source, StreamTable};
pub use held::{check_held, check_not_set_back};
pub use records::{PositionRecord, current_epoch};
pub(crate) use records::{StreamRecord, StreamState};
pub use tables::{PublishedTable, check as check_tables};
pub use timeline::follow as follow_timeline;

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
    /// The source's timeline that they are on.
    pub timeline: u32,
    /// The last segment on S3 that the stream's next one follows, with its manifest's checksum; none if it is not there
    /// (yet).
    pub last_segment: Option<(u64, String)>,
    /// The last number that is given away: that of the last segment of the stream, or of the initial copy.
    pub last_seq: u64,
    /// The initial copy.
    pub copy: CopyState,
    /// What is known of tables is not what the last segment of the stream says.
    pub is_news: bool,
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
    /// Where the tables' shapes as of the last segment are on S3.
    pub shapes: Option<String>,
    /// The tables as of the last segment.
    pub known: KnownTables,
}

/// Finds or makes the stream's epoch, publication and slot.
///
/// # Errors
/// Whatever keeps the stream from running. A stream that could not be made leaves nothing behind.
pub async fn find_place(
    config: &Config,
    source: &Source,
    client: &mut ReplicationClient,
    server: &ServerIdentity,
    objects: &Objects,
    layout: &StreamLayout,
) -> Result<Place> {
    let slot = source.slot(&config.slot.name).await?;
    let record = StreamRecord::read(objects, layout).await?;
    let mut timeline = server.timeline;
    let mut make = Make { config, source, client, server, objects, layout };
    let epoch = match record {
        Some(StreamRecord { state: StreamState::Active { epoch, timeline: followed }, .. }) => {
            check_identity(config, &epoch, server)?;
            timeline = followed.unwrap_or(epoch.timeline);
            epoch
        }
        Some(record) => make.stream(slot.as_ref(), Some(record)).await?,
        None => {
            if slot.is_some() && !config.slot.adopt {
                return Err(foreign_slot(config, "exists, and this stream has never used it"));
            }
            make.stream(slot.as_ref(), None).await?
        }
    };
    let slot = source.slot(&config.slot.name).await?;
    let confirmed = check_slot(config, source, &epoch, slot.as_ref()).await?;
    if let (Some(slot), Failover::On | Failover::Off) = (slot, config.slot.failover) {
        let wanted = config.slot.failover == Failover::On;
        if slot.failover != wanted {
            client.set_failover(&config.slot.name, wanted).await.map_err(|error| told(&error))?;
            tracing::info!(slot = %config.slot.name, failover = wanted, "the slot was changed");
        }
    }
    read_place(objects, layout, epoch, timeline, confirmed).await
}

fn told(error: &ReplicationError) -> Error {
    Error::told(Who::Source, error.is_transient(), error)
}

/// What a new stream is made with.
struct Make<'a> {
    config: &'a Config,
    source: &'a Source,
    client: &'a mut ReplicationClient,
    server: &'a ServerIdentity,
    objects: &'a Objects,
    layout: &'a StreamLayout,
}

impl Make<'_> {
    /// Makes what is missing; undoes it if it can't be finished. `resumed`: how far an earlier start got.
    async fn stream(&mut self, slot: Option<&SlotState>, resumed: Option<StreamRecord>) -> Result<Epoch> {
        let Make { config, source, objects, .. } = *self;
        let key = self.layout.stream_json();
        let is_first = resumed.is_none();
        let mut record = match resumed {
            Some(record) => record,
            None => StreamRecord::creating(config, source).await?,
        };
        let intent = objects.put_once(&key, record.json()).await?;
        if intent == PutOnce::Exists && is_first {
            return Err(Error::fatal(
                Who::Stream,
                format!("another capture is starting the stream {} at this moment", config.stream),
                "let only one capture run a stream",
            ));
        }
        // Publication first: a slot decodes with the catalog of the time of each change, and would not find one made
        // later.
        let new_publication = match source.ensure_publication(&config.source).await {
            Ok(new) => new,
            Err(error) => {
                undo(objects, &key, intent, None).await;
                return Err(error);
            }
        };
        record.own_publication &= new_publication || !is_first;
        if let Err(error) = self.check_readable().await {
            let publication = new_publication.then_some((source, config.source.publication.as_str()));
            undo(objects, &key, intent, publication).await;
            return Err(error);
        }
        let consistent_point = match slot {
            Some(slot) => slot.confirmed_flush.unwrap_or(Lsn::ZERO),
            None => match self.slot().await {
                Ok(lsn) => lsn,
                Err(error) => {
                    let publication = new_publication.then_some((source, config.source.publication.as_str()));
                    undo(objects, &key, intent, publication).await;
                    return Err(error);
                }
            },
        };
        let epoch = Epoch {
            system_identifier: self.server.system_identifier.clone(),
            timeline: self.server.timeline,
            slot: config.slot.name.clone(),
            consistent_point,
        };
        if config.copy.enabled {
            let tables = source.stream_tables(&config.source).await?;
            let table =
                |table: StreamTable| CopyTable { oid: table.oid, schema: table.schema, name: table.name };
            let tables = tables.into_iter().map(table).collect();
            CopyState::begin(objects, self.layout, &epoch.to_string(), tables).await?;
        }
        // From here on a failure needs no undoing: the record says "creating", and the next start goes on from there.
        let active = StreamState::Active { epoch: epoch.clone(), timeline: None };
        objects.put(&key, record.with(active).json()).await?;
        tracing::info!(epoch = %epoch, "a new epoch begins");
        let with_rows =
            if config.copy.enabled { Vec::new() } else { source.tables_with_rows(&config.source).await? };
        if !with_rows.is_empty() {
            tracing::warn!(
                tables = %with_rows.join(", "),
                "these tables hold rows from before the slot, which are not copied (copy.enabled is false): only changes from \
                 now on arrive"
            );
        }
        Ok(epoch)
    }

    /// What is to be copied must be readable.
    async fn check_readable(&self) -> Result<()> {
        if !self.config.copy.enabled {
            return Ok(());
        }
        let tables = self.source.stream_tables(&self.config.source).await?;
        let hidden = tables.iter().filter(|table| !table.readable);
        let hidden: Vec<_> = hidden.map(|table| format!("{}.{}", table.schema, table.name)).collect();
        if hidden.is_empty() {
            return Ok(());
        }
        Err(Error::fatal(
            Who::Source,
            format!("the role may not read tables that are to be copied: {}", hidden.join(", ")),
            "GRANT SELECT on them (and USAGE on their schemas), exclude them (source.exclude), or set copy.enabled = false \
             to do without their rows from before",
        ))
    }

    /// Makes the slot; returns its consistent point.
    async fn slot(&mut self) -> Result<Lsn> {
        let name = &self.config.slot.name;
        let failover = match self.config.slot.failover {
            Failover::On => true,
            Failover::Off => false,
            // A slot on a standby can't have it.
            Failover::Auto => {
                self.client.server_version() >= FAILOVER_SINCE && !self.source.is_standby().await?
            }
        };
        let made = self.client.create_logical_slot(name, failover).await;
        made.map_err(|error| {
            let error = told(&error);
            Error { what: format!("the slot {name} can't be created: {}", error.what), ..error }
        })
    }
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

pub(crate) fn check_identity(config: &Config, epoch: &Epoch, server: &ServerIdentity) -> Result<()> {
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
async fn check_slot(
    config: &Config,
    source: &Source,
    epoch: &Epoch,
    slot: Option<&SlotState>,
) -> Result<Lsn> {
    let name = &config.slot.name;
    let Some(slot) = slot else {
        if source.is_standby().await? {
            return Err(unpromoted(name));
        }
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

/// The slot is not there, or not to be used, and perhaps it only is not yet.
pub(crate) fn unpromoted(slot: &str) -> Error {
    Error::passing(
        Who::Source,
        format!("the server is a standby, and the replication slot {slot} can't be read there"),
        "let source.url lead to the primary; if this server is to be the primary, it is waited for",
    )
}

/// What S3 tells of the stream. `confirmed`: what the slot was told last.
///
/// # Errors
/// If S3 can't be read, or what is there not understood.
pub(crate) async fn read_place(
    objects: &Objects,
    layout: &StreamLayout,
    epoch: Epoch,
    timeline: u32,
    confirmed: Lsn,
) -> Result<Place> {
    let text = epoch.to_string();
    let history = History::new(objects, layout, &text);
    let mut place = Place {
        last_segment: None,
        last_seq: 0,
        copy: CopyState::read(objects, layout, &text).await?,
        is_news: false,
        loaded_seq: 0,
        staged_lsn: epoch.consistent_point,
        loaded_lsn: epoch.consistent_point,
        anchored: epoch.consistent_point,
        oldest_staged: None,
        confirmed,
        shapes: None,
        known: KnownTables::default(),
        epoch,
        timeline,
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
        place.last_segment = (last >= place.copy.segments()).then_some((last, newest.sha256));
        place.last_seq = last;
        if let Some(key) = newest.manifest.shapes {
            place.known = read_shapes(objects, &key, &format!("segment {last}")).await?;
            place.shapes = Some(key);
        }
        // What is missing before the first one has expired, or else is not copied yet.
        let first = if place.copy.is_pending() { 1 } else { first };
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
    place.last_seq = place.last_seq.max(place.copy.segments());
    know_copied(objects, &mut place).await?;
    let key = layout.position_json(&text);
    if let Some(json) = objects.get(&key).await? {
        let record: PositionRecord = serde_json::from_slice(&json).map_err(|error| {
            Error::fatal(Who::Stream, format!("{key}: {error}"), "was it changed by hand?")
        })?;
        place.anchored = place.anchored.max(record.lsn);
    }
    Ok(place)
}

/// Of tables that were copied after the stream's last segment this does not tell how they are, but the copy does.
async fn know_copied(objects: &Objects, place: &mut Place) -> Result<()> {
    let staged = place.staged_lsn;
    let later: Vec<u32> =
        place.copy.done.iter().filter(|table| table.snapshot >= staged).map(|table| table.oid).collect();
    let Some(key) = place.copy.shapes.clone().filter(|_| !later.is_empty()) else { return Ok(()) };
    let copied = read_shapes(objects, &key, "the initial copy").await?;
    for oid in later {
        place.is_news |= place.known.take(oid, &copied);
    }
    Ok(())
}
