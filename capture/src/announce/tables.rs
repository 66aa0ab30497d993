//! What acknowledgements say of tables: which are quarantined, and how far a request to end it came.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use re_dms_shared::message::{Outcome, SegmentAck, TableAction, TableRequest};
use re_dms_shared::status::ResumeError;
use re_dms_shared::table_log::{Quarantine, Resync};

use crate::aws::Queues;
use crate::progress::Progress;
use crate::stage::StreamIdentity;

/// Logs and publishes it.
#[derive(Debug)]
pub struct TableNews {
    identity: StreamIdentity,
    queues: Queues,
    progress: Arc<Progress>,
    /// When the loader was asked for what, by table and the segment from which it waits.
    asked: Mutex<HashMap<(String, u64), Instant>>,
}

/// A request that nobody has answered is sent again after this.
const ASK_AGAIN: Duration = Duration::from_secs(60);

impl TableNews {
    /// About one stream.
    #[must_use]
    pub fn new(identity: StreamIdentity, queues: Queues, progress: Arc<Progress>) -> Self {
        Self { identity, queues, progress, asked: Mutex::default() }
    }

    /// Takes an acknowledgement; those of another stream are passed over.
    pub async fn hear(&self, ack: &SegmentAck) {
        if ack.stream != self.identity.stream {
            return;
        }
        if let Some(quarantine) = &ack.quarantine {
            self.learn(quarantine);
        }
        match &ack.outcome {
            Outcome::Resumed { table, more: true, approved } => {
                tracing::info!(table, "more was skipped: asking again");
                let action = if *approved { TableAction::Approve } else { TableAction::Resume };
                self.request(action, table).await;
            }
            Outcome::Resumed { table, more: false, .. } => {
                if !table.is_empty() {
                    tracing::info!(table, "is as it was asked to be");
                }
                self.progress.update(|state| state.resume_error = None);
            }
            Outcome::Failed { error, hint } if ack.seq == 0 => {
                tracing::error!(%error, %hint, "a quarantine could not be ended");
                let error = ResumeError { at: Timestamp::now(), error: format!("{error}\n  hint: {hint}") };
                self.progress.update(|state| state.resume_error = Some(error));
            }
            _ => {}
        }
    }

    /// Has the loader load what was read anew, and asks again where nobody answered. The first time it also asks what waits:
    /// nothing may be staged for long.
    pub async fn ask(&self) {
        let now = Instant::now();
        let mut due = Vec::new();
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.is_empty() {
                due.push((String::new(), 0));
            }
            let waiting = self.progress.now().quarantine.tables;
            let loading = waiting.into_iter().filter(|table| table.resync == Some(Resync::Loading));
            due.extend(loading.map(|table| (table.table, table.since_seq)));
            due.retain(|table| asked.get(table).is_none_or(|when| now - *when > ASK_AGAIN));
            asked.extend(due.iter().map(|table| (table.clone(), now)));
        }
        for (table, _) in due {
            self.request(TableAction::Resume, &table).await;
        }
    }

    async fn request(&self, action: TableAction, table: &str) {
        let StreamIdentity { stream, epoch, ack_queue_url, .. } = &self.identity;
        let request = TableRequest::new(action, stream, epoch, table, ack_queue_url);
        if let Err(error) = self.queues.request(&request).await {
            tracing::error!(%error, table, "it goes on waiting: ask with `re_dms tables resume`");
        }
    }

    /// Acknowledgements come in any order.
    fn learn(&self, quarantine: &Quarantine) {
        let now = self.progress.now();
        let known = &now.quarantine;
        if quarantine.as_of < known.as_of || (now.quarantine_told && quarantine == known) {
            return;
        }
        let names = |quarantine: &Quarantine| -> BTreeSet<String> {
            quarantine.tables.iter().map(|table| table.table.clone()).collect()
        };
        let before = names(known);
        for table in quarantine.tables.iter().filter(|table| !before.contains(&table.table)) {
            let (name, segment, reason, hint) = (&table.table, table.since_seq, &table.reason, &table.hint);
            if table.paused || table.resync.is_some() {
                tracing::info!(table = name, segment, reason, "waits: its changes collect on S3");
            } else if table.held {
                tracing::warn!(
                    table = name,
                    segment,
                    reason,
                    hint,
                    "held: its changes collect on S3 until it is approved"
                );
            } else {
                tracing::error!(
                    table = name,
                    segment,
                    reason,
                    hint,
                    "quarantined: its changes collect on S3 until `re_dms tables resume`"
                );
            }
        }
        for table in before.difference(&names(quarantine)) {
            tracing::info!(table, "not quarantined any more");
        }
        self.progress.update(|state| {
            state.quarantine = quarantine.clone();
            state.quarantine_told = true;
        });
    }
}
