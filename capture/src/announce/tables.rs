//! What acknowledgements say of tables: which are quarantined, and how far a request to end it came.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use re_dms_shared::message::{Outcome, SegmentAck, TableAction, TableRequest};
use re_dms_shared::status::ResumeError;
use re_dms_shared::table_log::Quarantine;

use crate::aws::Queues;
use crate::progress::Progress;
use crate::stage::StreamIdentity;

/// Logs and publishes it.
#[derive(Debug)]
pub struct TableNews {
    identity: StreamIdentity,
    queues: Queues,
    progress: Arc<Progress>,
}

impl TableNews {
    /// About one stream.
    #[must_use]
    pub fn new(identity: StreamIdentity, queues: Queues, progress: Arc<Progress>) -> Self {
        Self { identity, queues, progress }
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
                let StreamIdentity { stream, epoch, ack_queue_url, .. } = &self.identity;
                let action = if *approved { TableAction::Approve } else { TableAction::Resume };
                let request = TableRequest::new(action, stream, epoch, table, ack_queue_url);
                if let Err(error) = self.queues.request(&request).await {
                    tracing::error!(%error, table, "its quarantine goes on: ask again with `re_dms tables resume`");
                }
            }
            Outcome::Resumed { table, more: false, .. } => {
                tracing::info!(table, "loaded again");
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

    /// Acknowledgements come in any order.
    fn learn(&self, quarantine: &Quarantine) {
        let known = self.progress.now().quarantine;
        if quarantine.as_of < known.as_of || *quarantine == known {
            return;
        }
        let names = |quarantine: &Quarantine| -> BTreeSet<String> {
            quarantine.tables.iter().map(|table| table.table.clone()).collect()
        };
        let before = names(&known);
        for table in quarantine.tables.iter().filter(|table| !before.contains(&table.table)) {
            let (name, segment, reason, hint) = (&table.table, table.since_seq, &table.reason, &table.hint);
            if table.held {
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
        self.progress.update(|state| state.quarantine = quarantine.clone());
    }
}
