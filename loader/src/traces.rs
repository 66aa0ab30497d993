//! What a segment's trace tells of its loading, if traces are wanted.

use std::time::{Duration, SystemTime};

use re_dms_plan::Statement;
use re_dms_shared::message::SegmentStaged;
use re_dms_shared::trace::digest_of_segment;
use re_dms_telemetry::traces::{SpanId, Trace, Tracer};

use crate::apply::Loaded;
use crate::error::LoadError;
use crate::statements::Description;

/// One load of a group of segments: all of it is in the first one's trace.
#[derive(Clone, Debug)]
pub struct LoadSpans {
    tracer: Tracer,
    trace: Trace,
    load: SpanId,
    began: SystemTime,
}

/// The trace of a segment.
pub(crate) fn trace_of(message: &SegmentStaged) -> Trace {
    Trace::of_digest(&digest_of_segment(&message.epoch, message.seq))
}

impl LoadSpans {
    /// Begins now; none if nobody wants traces.
    #[must_use]
    pub fn begin(tracer: &Tracer, first: &SegmentStaged) -> Option<Self> {
        let began = SystemTime::now();
        let (trace, load) = (trace_of(first), SpanId::random());
        tracer.is_on().then(|| Self { tracer: tracer.clone(), trace, load, began })
    }

    /// It came to this. Segments that were loaded with the first one have a span each in their own traces.
    pub fn end(&self, messages: &[SegmentStaged], outcome: &Result<Vec<Loaded>, LoadError>) {
        let Some(first) = messages.first() else { return };
        match outcome {
            Ok(loaded) => {
                for (message, loaded) in messages.iter().zip(loaded) {
                    let mut span = trace_of(message).span("load", self.began);
                    if message.seq == first.seq {
                        span = span.identified(self.load);
                    } else {
                        span = span.with("re_dms.loaded_with", first.seq);
                    }
                    let outcome = format!("{:?}", loaded.outcome).to_lowercase();
                    self.tracer.send(
                        span.with("re_dms.segment", message.seq)
                            .with("re_dms.rows", loaded.rows)
                            .with("re_dms.outcome", outcome),
                    );
                }
            }
            Err(error) => {
                let span = self.trace.span("load", self.began).identified(self.load);
                self.tracer.send(span.with("re_dms.segment", first.seq).failed(error.to_string()));
            }
        }
    }

    /// A statement, or a batch of them, was run, from `start` on until now.
    pub(crate) fn statement(&self, name: &str, start: SystemTime, failed: bool) {
        let span = self.trace.span("statement", start).below(self.load).with("db.operation.name", name);
        self.tracer.send(if failed {
            span.failed("it failed in Redshift, or was not waited for")
        } else {
            span
        });
    }

    /// What the parts of a batch took: one after the other.
    pub(crate) fn parts(&self, statements: &[Statement], description: &Description) {
        let mut start = description.submitted.created_at;
        for (statement, part) in statements.iter().zip(&description.parts) {
            let end = start + part.duration.unwrap_or(Duration::ZERO);
            let span = self.trace.span(statement.purpose.to_string(), start).until(end).below(self.load);
            self.tracer.send(match &statement.of {
                Some(of) => span.with("re_dms.table", of.target.to_string()),
                None => span,
            });
            start = end;
        }
    }
}
