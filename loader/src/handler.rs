//! One invocation: messages in order, the first failure ends it, and it and all after it go back to the queue.

use std::future::Future;
use std::time::{Duration, SystemTime};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use re_dms_shared::Lsn;
use re_dms_shared::check::{self, CheckRequest};
use re_dms_shared::message::{FORMAT, Outcome, SegmentAck, SegmentStaged, TableAction, TableRequest};
use re_dms_shared::remove::{self, RemoveRequest};
use re_dms_shared::table_log::Quarantine;
use re_dms_shared::verify::{self, VerifyRequest};
use re_dms_telemetry::traces::Tracer;
use serde::Deserialize;
use tracing::Instrument;

use crate::apply::Loaded;
use crate::deadline::Deadline;
use crate::error::{LoadError, Retry};
use crate::metrics::Meter;
use crate::queues::Queues;
use crate::resume::Done;
use crate::traces::trace_of;

/// Loads segments.
pub trait SegmentLoader: Send + Sync {
    /// Takes the first segment into Redshift unless it is there or a gap is before it, and as many after it as go with
    /// it: what became of each of these.
    fn load(
        &self,
        messages: &[SegmentStaged],
        deadline: Deadline,
    ) -> impl Future<Output = Result<Vec<Loaded>, LoadError>> + Send;

    /// Does what is asked for a table.
    fn request(
        &self,
        request: &TableRequest,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Done, LoadError>> + Send;

    /// Finds out how Redshift is, and answers.
    fn check(
        &self,
        request: &CheckRequest,
        deadline: Deadline,
    ) -> impl Future<Output = Result<(), LoadError>> + Send;

    /// Removes what a stream left in Redshift, and answers.
    fn remove(
        &self,
        request: &RemoveRequest,
        deadline: Deadline,
    ) -> impl Future<Output = Result<(), LoadError>> + Send;

    /// Tells what tables hold, as of a segment.
    fn verify(
        &self,
        request: &VerifyRequest,
        deadline: Deadline,
    ) -> impl Future<Output = Result<(), LoadError>> + Send;
}

/// What handles invocations, kept while the function is warm.
#[derive(Debug)]
pub struct Handler<L, Q> {
    loader: L,
    queues: Q,
    meter: Option<Meter>,
    tracer: Tracer,
}

impl<L: SegmentLoader, Q: Queues> Handler<L, Q> {
    /// Segments go to `loader`, acknowledgements to `queues`.
    #[must_use]
    pub fn new(loader: L, queues: Q) -> Self {
        Self { loader, queues, meter: None, tracer: Tracer::default() }
    }

    /// Tells this one what became of segments.
    #[must_use]
    pub fn measured_by(self, meter: Option<Meter>) -> Self {
        Self { meter, ..self }
    }

    /// Hands in spans there.
    #[must_use]
    pub fn traced(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Handles the messages of one invocation.
    pub async fn handle(&self, event: SqsEvent, deadline: Deadline) -> SqsBatchResponse {
        let mut response = SqsBatchResponse::default();
        let bodies = event.records.iter().map(|record| record.body.as_deref().unwrap_or_default());
        let messages: Vec<_> = bodies.map(parse).collect();
        let mut position = 0;
        while position < messages.len() {
            match self.next(&messages[position..], deadline).await {
                Ok(done) => position += done.max(1),
                Err(error) => {
                    let undone = &event.records[position..];
                    self.give_back(undone, redelivery_delay(&error, &undone[0])).await;
                    response.batch_item_failures = undone.iter().map(item_failure).collect();
                    break;
                }
            }
        }
        response
    }

    /// Does what the first message says, and those after it that go with it; how many there were.
    async fn next(
        &self,
        messages: &[Result<Message, Unusable>],
        deadline: Deadline,
    ) -> Result<usize, LoadError> {
        let first = match &messages[0] {
            Ok(Message::Segment(first)) => first,
            Ok(Message::Request(request)) => {
                let span = tracing::info_span!("request", stream = request.stream, table = request.table);
                return self.request(request, deadline).instrument(span).await.map(|()| 1);
            }
            Ok(Message::Check(request)) => {
                let span = tracing::info_span!("check", stream = request.stream);
                // Who asked waits for a minute and no longer: there is no point in trying again.
                if let Err(error) = self.loader.check(request, deadline).instrument(span).await {
                    tracing::error!(%error, hint = error.hint(), "the check is not answered");
                }
                return Ok(1);
            }
            Ok(Message::Remove(request)) => {
                let span = tracing::info_span!("remove", stream = request.stream);
                let removed = self.loader.remove(request, deadline).instrument(span).await;
                if let Err(error) = &removed {
                    self.report(error, None).await;
                }
                return removed.map(|()| 1);
            }
            Ok(Message::Verify(request)) => {
                let VerifyRequest { stream, seq, .. } = request.as_ref();
                let span = tracing::info_span!("verify", stream, segment = seq);
                return self.verify(request, deadline).instrument(span).await.map(|()| 1);
            }
            Err(Unusable { error, message }) => {
                let error = error();
                self.report(&error, message.as_deref().map(Sender::of)).await;
                return Err(error);
            }
        };
        let group = messages.iter().map_while(|message| match message {
            Ok(Message::Segment(segment)) => Some(segment),
            _ => None,
        });
        let group =
            group.take_while(|segment| (&segment.stream, &segment.epoch) == (&first.stream, &first.epoch));
        let group: Vec<_> = group.cloned().collect();
        let SegmentStaged { stream, epoch, seq, .. } = first;
        let span = tracing::info_span!("segment", stream, epoch, segment = seq);
        self.segments(&group, deadline).instrument(span).await
    }

    /// Only what takes another invocation comes again: segments wait behind it.
    async fn verify(&self, request: &VerifyRequest, deadline: Deadline) -> Result<(), LoadError> {
        match self.loader.verify(request, deadline).await {
            Err(error) if error.retry() == Retry::Now => Err(error),
            Err(error) => {
                tracing::error!(%error, hint = error.hint(), "the question is not answered");
                Ok(())
            }
            Ok(()) => {
                tracing::info!("answered");
                Ok(())
            }
        }
    }

    async fn segments(&self, messages: &[SegmentStaged], deadline: Deadline) -> Result<usize, LoadError> {
        match self.loader.load(messages, deadline).await {
            Ok(loaded) => {
                if let (Some(meter), Some(first)) = (&self.meter, messages.first()) {
                    meter.loaded(&first.stream, &loaded);
                }
                for (message, loaded) in messages.iter().zip(&loaded) {
                    self.tell(message, loaded).await;
                }
                Ok(loaded.len())
            }
            Err(error) => {
                self.report(&error, messages.first().map(Sender::of)).await;
                Err(error)
            }
        }
    }

    async fn tell(&self, message: &SegmentStaged, loaded: &Loaded) {
        let duration_ms = u64::try_from(loaded.duration.as_millis()).unwrap_or(u64::MAX);
        let Loaded { outcome, end_lsn, rows, quarantine, .. } = loaded;
        let seq = message.seq;
        match outcome {
            Outcome::Gap { missing } => {
                tracing::warn!(segment = seq, missing, "refused: a segment before it is missing");
            }
            Outcome::AlreadyLoaded => {
                tracing::info!(segment = seq, lsn = %end_lsn, rows, duration_ms, "already loaded");
            }
            _ => tracing::info!(segment = seq, lsn = %end_lsn, rows, duration_ms, "loaded"),
        }
        let quarantine = Some(quarantine.clone());
        let told = Told { end_lsn: *end_lsn, rows: *rows, duration_ms, quarantine };
        let began = SystemTime::now();
        self.acknowledge(Sender::of(message), outcome.clone(), told).await;
        if self.tracer.is_on() {
            self.tracer.send(trace_of(message).span("acknowledge", began).with("re_dms.segment", seq));
        }
    }

    /// A request that fails for good is answered and done with: whoever asked may ask again.
    async fn request(&self, request: &TableRequest, deadline: Deadline) -> Result<(), LoadError> {
        let sender = Sender {
            stream: &request.stream,
            epoch: &request.epoch,
            seq: 0,
            ack_queue_url: &request.ack_queue_url,
        };
        match self.loader.request(request, deadline).await {
            Ok(Done { more, quarantine }) => {
                tracing::info!(more, "resumed");
                let outcome = Outcome::Resumed {
                    table: request.table.clone(),
                    more,
                    approved: request.request == TableAction::Approve,
                };
                let told = Told { quarantine: Some(quarantine), ..Told::default() };
                self.acknowledge(sender, outcome, told).await;
                Ok(())
            }
            Err(error) => {
                self.report(&error, Some(sender)).await;
                if error.retry() == Retry::Never { Ok(()) } else { Err(error) }
            }
        }
    }

    /// Tells the log and the capture of a failure.
    async fn report(&self, error: &LoadError, sender: Option<Sender<'_>>) {
        if error.retry() == Retry::Now {
            tracing::info!(%error, "handing over to the next invocation");
            return;
        }
        let (who, retry, hint) = (error.who(), error.retry(), error.hint());
        if retry == Retry::Never {
            tracing::error!(%error, %who, hint, "not loaded");
        } else {
            tracing::warn!(%error, %who, ?retry, hint, "not loaded, and tried again");
        }
        if let Some(sender) = sender {
            if let Some(meter) = &self.meter {
                meter.failed(sender.stream, error);
            }
            let outcome = Outcome::Failed { error: error.to_string(), hint };
            // Where the segment ends is in its manifest, which may be what could not be read.
            self.acknowledge(sender, outcome, Told::default()).await;
        }
    }

    /// Acknowledgements are hints: one that can't be sent is no reason to load anything again.
    async fn acknowledge(&self, sender: Sender<'_>, outcome: Outcome, told: Told) {
        let Told { end_lsn, rows, duration_ms, quarantine } = told;
        let ack = SegmentAck {
            format: FORMAT,
            stream: sender.stream.to_owned(),
            epoch: sender.epoch.to_owned(),
            seq: sender.seq,
            end_lsn,
            outcome,
            rows,
            duration_ms,
            quarantine,
        };
        let sent = match serde_json::to_string(&ack) {
            Ok(body) => self.queues.send(sender.ack_queue_url, body).await,
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

/// Who sent a message, and about what.
#[derive(Clone, Copy)]
struct Sender<'a> {
    stream: &'a str,
    epoch: &'a str,
    seq: u64,
    ack_queue_url: &'a str,
}

impl<'a> Sender<'a> {
    fn of(message: &'a SegmentStaged) -> Self {
        let SegmentStaged { stream, epoch, seq, ack_queue_url, .. } = message;
        Self { stream, epoch, seq: *seq, ack_queue_url }
    }
}

/// What an acknowledgement says beside its outcome.
#[derive(Default)]
struct Told {
    end_lsn: Lsn,
    rows: u64,
    duration_ms: u64,
    quarantine: Option<Quarantine>,
}

/// What the queue may hold.
enum Message {
    Segment(SegmentStaged),
    Request(TableRequest),
    Check(CheckRequest),
    Remove(RemoveRequest),
    Verify(Box<VerifyRequest>),
}

/// A body that is no message for this loader; with as much of a message as there is to answer to.
struct Unusable {
    error: Box<dyn Fn() -> LoadError + Send + Sync>,
    message: Option<Box<SegmentStaged>>,
}

fn parse(body: &str) -> Result<Message, Unusable> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
        request: Option<serde_json::Value>,
    }
    let malformed = |error: serde_json::Error| {
        let reason = format!("its JSON breaks off in line {}, column {}", error.line(), error.column());
        let error = Box::new(move || LoadError::Message { reason: reason.clone() });
        Unusable { error, message: None }
    };
    match serde_json::from_str::<Head>(body) {
        Ok(Head { format, .. }) if format > FORMAT => {
            let newer =
                move || LoadError::Newer { what: "the message".to_owned(), found: format, reads: FORMAT };
            let message = serde_json::from_str(body).ok().map(Box::new);
            Err(Unusable { error: Box::new(newer), message })
        }
        Ok(Head { request: Some(word), .. }) if word == check::REQUEST => {
            serde_json::from_str(body).map(Message::Check).map_err(malformed)
        }
        Ok(Head { request: Some(word), .. }) if word == remove::REQUEST => {
            serde_json::from_str(body).map(Message::Remove).map_err(malformed)
        }
        Ok(Head { request: Some(word), .. }) if word == verify::REQUEST => {
            serde_json::from_str(body).map(Message::Verify).map_err(malformed)
        }
        Ok(Head { request: Some(_), .. }) => {
            serde_json::from_str(body).map(Message::Request).map_err(malformed)
        }
        _ => serde_json::from_str(body).map(Message::Segment).map_err(malformed),
    }
}

fn item_failure(record: &SqsMessage) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = record.message_id.clone().unwrap_or_default();
    failure
}

/// How long a message that failed stays away: longer with each failure, not so long that a remedy goes unnoticed.
fn redelivery_delay(error: &LoadError, record: &SqsMessage) -> Duration {
    let deliveries =
        record.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse::<u32>().ok());
    let (first_seconds, failures) = match error {
        // Whether it is the table's own, or passes, shows soon, and all others wait. Those whose fault the deliveries
        // before were are quarantined: they don't count.
        LoadError::Counted { failures, .. } => (2, *failures),
        error => match error.retry() {
            Retry::Now => return Duration::ZERO,
            Retry::Soon => (1, deliveries.unwrap_or(1)),
            Retry::Wait | Retry::Never => (5, deliveries.unwrap_or(1)),
        },
    };
    let doublings = failures.saturating_sub(1).min(6);
    Duration::from_secs((first_seconds << doublings).min(60))
}

#[cfg(test)]
mod tests;
