//! Following a failover: does the past of the server that we meet hold what the stream holds?
//!
//! A standby that is promoted begins a new timeline where its own WAL ended. What the old primary had written beyond
//! that fork is not part of its past, though its own WAL soon reaches positions of the same numbers. So positions say
//! nothing without their timeline, and `stream.json` remembers which one the stream followed last. Transactions that
//! we hold must lie before the fork; positions that only say "nothing of ours before here" go back to it.

use re_dms_shared::Lsn;
use re_dms_shared::s3_layout::StreamLayout;

use super::records::{PositionRecord, StreamRecord, StreamState};
use super::{Place, ServerIdentity, check_held};
use crate::aws::Objects;
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::replication::ReplicationClient;

/// Takes the stream to the server's timeline, if it is another one than the stream's: checks that this loses and doubles
/// nothing, and remembers it on S3. `held` is the end of the last transaction that we hold.
///
/// # Errors
/// If the server's past is not the stream's.
pub async fn follow(
    config: &Config,
    client: &mut ReplicationClient,
    server: &ServerIdentity,
    objects: &Objects,
    layout: &StreamLayout,
    place: &mut Place,
    held: Lsn,
) -> Result<()> {
    if server.timeline == place.timeline {
        return Ok(());
    }
    let fork = if server.timeline > place.timeline {
        let history = client.timeline_history(server.timeline).await;
        let history = history.map_err(|error| Error::told(Who::Source, error.is_transient(), &error))?;
        left_at(&history, place.timeline)
    } else {
        None
    };
    let fork = fork.ok_or_else(|| foreign_past(place.timeline, server.timeline))?;
    if held > fork {
        return Err(lost_transactions(place, server.timeline, fork, held));
    }
    let anchored_too_far = place.anchored > fork;
    place.anchored = place.anchored.min(fork);
    check_held(config, place.confirmed, held.max(place.anchored))?;
    // The timeline comes last: should we die between the two, the next start does both again.
    if anchored_too_far {
        let key = layout.position_json(&place.epoch.to_string());
        objects.put(&key, PositionRecord::json(fork)).await?;
    }
    let state = StreamState::Active { epoch: place.epoch.clone(), timeline: Some(server.timeline) };
    let record = StreamRecord::read(objects, layout).await?.ok_or_else(vanished)?;
    objects.put(&layout.stream_json(), record.with(state).json()).await?;
    tracing::info!(
        from = place.timeline, to = server.timeline, lsn = %fork,
        "the source was failed over: the stream follows it to its new timeline"
    );
    place.timeline = server.timeline;
    Ok(())
}

/// Where a timeline was left, according to the history of a later one. Lines are `timeline <tab> LSN <tab> reason`.
fn left_at(history: &str, timeline: u32) -> Option<Lsn> {
    let lines = history.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let mut ended = lines.filter_map(|line| {
        let mut fields = line.split_whitespace();
        Some((fields.next()?.parse::<u32>().ok()?, fields.next()?.parse::<Lsn>().ok()?))
    });
    ended.find_map(|(id, end)| (id == timeline).then_some(end))
}

fn vanished() -> Error {
    Error::fatal(
        Who::Stream,
        "the stream's stream.json vanished from S3 while the stream was started",
        "was the stream destroyed a moment ago? Else restore the object",
    )
}

fn foreign_past(ours: u32, servers: u32) -> Error {
    Error::fatal(
        Who::Stream,
        format!(
            "the server is on timeline {servers}, which does not continue timeline {ours}, where this stream is: the \
             server was set back to an older state, or is another copy of the cluster"
        ),
        "let source.url lead to the server that was promoted last; if this is the one that stays, begin a new stream \
         that copies the tables anew",
    )
}

fn lost_transactions(place: &Place, timeline: u32, fork: Lsn, held: Lsn) -> Error {
    let what = format!(
        "the server's timeline {timeline} left timeline {} at {fork}, before {held}, up to where this stream holds \
         transactions: the server that was promoted (or set back to an older state) has never seen the last of them",
        place.timeline
    );
    let hint = if place.staged_lsn <= fork {
        "nothing of them is on S3 or in Redshift: move the folder wal away from data_dir and start again, and they are \
         forgotten here, too"
    } else {
        "Redshift holds changes that this server has lost: begin a new stream that copies the tables anew. \
         synchronized_standby_slots on the primary keeps this from happening"
    };
    Error::fatal(Who::Stream, what, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_tells_where_each_timeline_was_left() {
        let history = "1\t0/3000148\tno recovery target specified\n\n# by hand\n2\t1/A0\tbefore 2026-01-02 03:04:05+00\n";
        assert_eq!(left_at(history, 1), Some(Lsn(0x0300_0148)));
        assert_eq!(left_at(history, 2), Some(Lsn((1 << 32) + 0xA0)));
        assert_eq!(left_at(history, 3), None);
        assert_eq!(left_at("", 1), None);
    }
}
