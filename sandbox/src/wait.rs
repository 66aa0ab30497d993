//! `sandbox wait`: until all that was committed on the source before the call is loaded.

use std::path::Path;
use std::time::{Duration, Instant};

use re_dms_shared::Lsn;
use re_dms_shared::status::CaptureStatus;
use tokio_postgres::Client;

use crate::capture;
use crate::capture_config::CaptureConfig;
use crate::database;
use crate::error::{Error, Part, Result};
use crate::state::{Folder, State};

const POLL: Duration = Duration::from_millis(50);
const TELL_AFTER: Duration = Duration::from_secs(5);

/// Where a wait is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// What must be loaded.
    pub target: Lsn,
    /// What the capture tells, once it has told anything.
    pub status: Option<CaptureStatus>,
    /// `pg_replication_slots.confirmed_flush_lsn`, if there is such a slot.
    pub confirmed: Option<Lsn>,
    /// Does a capture run?
    pub captured: bool,
}

impl Progress {
    fn loaded(&self) -> Lsn {
        self.status.as_ref().map(|status| status.loaded.0).unwrap_or_default()
    }

    /// Whether tables wait for being read anew: what was committed to them is not loaded.
    fn reads_anew(&self) -> bool {
        self.status.as_ref().is_some_and(|status| {
            !status.resyncs.is_empty() || status.quarantined.iter().any(|table| table.resync.is_some())
        })
    }

    /// The five positions and the target, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let status = self.status.clone().unwrap_or_default();
        let CaptureStatus { received, durable, staged, loaded, .. } = status;
        let mut text = format!(
            "target {} · received {received} · durable {durable} · staged {staged} · loaded {loaded} · confirmed {}",
            self.target,
            self.confirmed.unwrap_or_default()
        );
        if self.confirmed.is_none() {
            text.push_str(" · the slot does not exist");
        }
        if !self.captured {
            text.push_str(" · the capture is not running");
        }
        if let Some(error) = status.last_error {
            text.push_str(" · last error: ");
            text.push_str(&error);
        }
        text
    }
}

/// Waits; `tell` hears of progress every few seconds.
///
/// # Errors
/// The time is over (with the five positions), or the source does not answer.
pub async fn wait(dir: &Path, timeout: Duration, mut tell: impl FnMut(&Progress)) -> Result<()> {
    let folder = Folder::existing(dir)?;
    let state = State::load(&folder)?.unwrap_or_default();
    let config = CaptureConfig::load(&folder.capture_config())?;
    let deadline = Instant::now() + timeout;
    let client = database::connect(Part::Source, &state.source_url).await?;
    let target = barrier(&client).await?;
    let slot = config.slot();
    let mut told = Instant::now();
    loop {
        let status = capture::status(&config.status_file());
        let confirmed = confirmed(&client, &slot).await?;
        let captured =
            status.as_ref().and_then(|status| capture::process(status, &folder.capture_config())).is_some();
        let progress = Progress { target, status, confirmed, captured };
        let slot_follows = !config.advances_on_loaded() || confirmed >= Some(target);
        if progress.loaded() >= target && slot_follows && !progress.reads_anew() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::TimedOut(format!(
                "not loaded after {} s: {}",
                timeout.as_secs(),
                progress.describe()
            )));
        }
        if told.elapsed() > TELL_AFTER {
            told = Instant::now();
            tell(&progress);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A message in the WAL behind everything that was committed before: it makes the capture cut its batch at once.
async fn barrier(client: &Client) -> Result<Lsn> {
    let sql = "SELECT pg_logical_emit_message(true, 're_dms.barrier', '')::text";
    position(client.query_one(sql, &[]).await.map_err(Error::database(Part::Source))?.get(0))
}

async fn confirmed(client: &Client, slot: &str) -> Result<Option<Lsn>> {
    let sql = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1";
    let row = client.query_opt(sql, &[&slot]).await.map_err(Error::database(Part::Source))?;
    row.and_then(|row| row.get::<_, Option<String>>(0)).map(position).transpose()
}

#[allow(clippy::needless_pass_by_value)] // straight from a row
fn position(text: String) -> Result<Lsn> {
    text.parse().map_err(|error| Error::Part {
        part: Part::Source,
        message: format!("PostgreSQL's answer was not understood: {error}"),
        log: None,
    })
}
