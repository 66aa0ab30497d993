//! One invocation: messages in order, the first failure ends it, and it and all after it go back to the queue.

use std::future::Future;
use std::time::Duration;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use re_dms_shared::Lsn;
use re_dms_shared::message::{FORMAT, Outcome, SegmentAck, SegmentStaged};
use serde::Deserialize;
use tracing::Instrument;

use crate::apply::Loaded;
use crate::deadline::Deadline;
use crate::error::{LoadError, Retry};
use crate::queues::Queues;

/// Loads one segment.
pub trait SegmentLoader: Send + Sync {
    /// Takes the segment into Redshift unless it is there or a gap is before it.
    fn load(
        &self,
        message: &SegmentStaged,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Loaded, LoadError>> + Send;
}

/// What handles invocations, kept while the function is warm.
#[derive(Debug)]
pub struct Handler<L, Q> {
    loader: L,
    queues: Q,
}

impl<L: SegmentLoader, Q: Queues> Handler<L, Q> {
    /// Segments go to `loader`, acknowledgements to `queues`.
    #[must_use]
    pub fn new(loader: L, queues: Q) -> Self {
        Self { loader, queues }
    }

    /// Handles the messages of one invocation.
    pub async fn handle(&self, event: SqsEvent, deadline: Deadline) -> SqsBatchResponse {
        let mut response = SqsBatchResponse::default();
        for (position, record) in event.records.iter().enumerate() {
            if let Err(error) = self.record(record, deadline).await {
                let undone = &event.records[position..];
                self.give_back(undone, redelivery_delay(&error, record)).await;
                response.batch_item_failures = undone.iter().map(item_failure).collect();
                break;
            }
        }
        response
    }

    async fn record(&self, record: &SqsMessage, deadline: Deadline) -> Result<(), LoadError> {
        let message = match parse(record.body.as_deref().unwrap_or_default()) {
            Ok(message) => message,
            Err(Unusable { error, message }) => {
                self.report(&error, message.as_deref()).await;
                return Err(error);
            }
        };
        let SegmentStaged { stream, epoch, seq, .. } = &message;
        let span = tracing::info_span!("segment", stream, epoch, segment = seq);
        self.segment(&message, deadline).instrument(span).await
    }

    async fn segment(&self, message: &SegmentStaged, deadline: Deadline) -> Result<(), LoadError> {
        match self.loader.load(message, deadline).await {
            Ok(loaded) => {
                let duration_ms = u64::try_from(loaded.duration.as_millis()).unwrap_or(u64::MAX);
                let Loaded { outcome, end_lsn, rows, .. } = loaded;
                match &outcome {
                    Outcome::Gap { missing } => {
                        tracing::warn!(missing, "refused: a segment before it is missing");
                    }
                    Outcome::AlreadyLoaded => tracing::info!(rows, duration_ms, "already loaded"),
                    Outcome::Loaded | Outcome::Failed { .. } => {
                        tracing::info!(rows, duration_ms, %end_lsn, "loaded");
                    }
                }
                self.acknowledge(message, end_lsn, outcome, rows, duration_ms).await;
                Ok(())
            }
            Err(error) => {
                self.report(&error, Some(message)).await;
                Err(error)
            }
        }
    }

    /// Tells the log and the capture of a failure.
    async fn report(&self, error: &LoadError, message: Option<&SegmentStaged>) {
        if error.retry() == Retry::Now {
            tracing::info!(%error, "handing over to the next invocation");
            return;
        }
        let (who, retry, hint) = (error.who(), error.retry(), error.hint());
        tracing::error!(%error, %who, ?retry, hint, "not loaded");
        if let Some(message) = message {
            let outcome = Outcome::Failed { error: error.to_string(), hint };
            // Where the segment ends is in its manifest, which may be what could not be read.
            self.acknowledge(message, Lsn::ZERO, outcome, 0, 0).await;
        }
    }

    /// Acknowledgements are hints: one that can't be sent is no reason to load anything again.
    async fn acknowledge(
        &self,
        message: &SegmentStaged,
        end_lsn: Lsn,
        outcome: Outcome,
        rows: u64,
        duration_ms: u64,
    ) {
        let (stream, epoch) = (message.stream.clone(), message.epoch.clone());
        let ack = SegmentAck {
            format: FORMAT,
            stream,
            epoch,
            seq: message.seq,
            end_lsn,
            outcome,
            rows,
            duration_ms,
        };
        let sent = match serde_json::to_string(&ack) {
            Ok(body) => self.queues.send(&message.ack_queue_url, body).await,
            Err(_) => return,
        };
        if let Err(error) = sent {
            tracing::error!(%error, hint = error.hint(), "the capture is not told");
        }
    }

    /// Without this, messages come back only after the queue's visibility time-out.
    async fn give_back(&self, records: &[SqsMessage], delay: Duration) {
        let Some(arn) = records.first().and_then(|record| record.event_source_arn.as_deref()) else { return };
        let handles = records.iter().filter_map(|record| record.receipt_handle.clone()).collect();
        if let Err(error) = self.queues.redeliver_after(arn, handles, delay).await {
            tracing::warn!(%error, hint = error.hint(), "messages come back only when their time is up");
        }
    }
}

/// A body that is no message for this loader; with as much of a message as there is to answer to.
struct Unusable {
    error: LoadError,
    message: Option<Box<SegmentStaged>>,
}

fn parse(body: &str) -> Result<SegmentStaged, Unusable> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let message = serde_json::from_str::<SegmentStaged>(body);
    match serde_json::from_str::<Head>(body) {
        Ok(Head { format }) if format > FORMAT => {
            let error = LoadError::Newer { what: "the message".to_owned(), found: format, reads: FORMAT };
            Err(Unusable { error, message: message.ok().map(Box::new) })
        }
        _ => message.map_err(|error| {
            let reason = format!("its JSON breaks off in line {}, column {}", error.line(), error.column());
            Unusable { error: LoadError::Message { reason }, message: None }
        }),
    }
}

fn item_failure(record: &SqsMessage) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = record.message_id.clone().unwrap_or_default();
    failure
}

/// How long a message that failed stays away: longer with each delivery, not so long that a remedy goes unnoticed.
fn redelivery_delay(error: &LoadError, record: &SqsMessage) -> Duration {
    let deliveries =
        record.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse::<u32>().ok());
    let doublings = deliveries.unwrap_or(1).saturating_sub(1).min(6);
    let first_seconds = match error.retry() {
        Retry::Now => return Duration::ZERO,
        Retry::Soon => 1,
        Retry::Wait | Retry::Never => 5,
    };
    Duration::from_secs((first_seconds << doublings).min(60))
}

#[cfg(test)]
mod tests;
