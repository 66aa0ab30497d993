//! What a segment's trace tells of its staging.

use std::time::SystemTime;

use re_dms_shared::trace::digest_of_segment;
use re_dms_telemetry::traces::{Span, Trace};

use super::{Cut, Stager};
use crate::progress::Progress;

impl<S> Stager<S> {
    /// Something was done for the segment at hand, from `start` on until now.
    pub(super) fn span(
        &self,
        seq: u64,
        name: &'static str,
        start: SystemTime,
        more: impl FnOnce(Span) -> Span,
    ) {
        span(&self.progress, (&self.identity.epoch, seq), name, start, more);
    }

    /// The segment is on S3: the span that all others are below, from its first commit on the source.
    pub(super) fn whole_span(&self, seq: u64, cut: &Cut, cut_at: SystemTime) {
        let tracer = self.progress.tracer();
        if !tracer.is_on() {
            return;
        }
        let trace = Trace::of_digest(&digest_of_segment(&self.identity.epoch, seq));
        let first_commit = SystemTime::from(cut.first_commit);
        tracer.send(trace.span("collect", first_commit).until(cut_at).with("re_dms.changes", cut.changes));
        let whole = trace.root("segment", first_commit);
        tracer.send(
            whole
                .with("re_dms.stream", self.identity.stream.as_str())
                .with("re_dms.epoch", self.identity.epoch.as_str())
                .with("re_dms.segment", seq)
                .with("re_dms.lsn", cut.end_lsn.to_string())
                .with("re_dms.transactions", cut.transactions)
                .with("re_dms.changes", cut.changes),
        );
    }
}

/// Something was done for a segment of an epoch, from `start` on until now.
pub(crate) fn span(
    progress: &Progress,
    (epoch, seq): (&str, u64),
    name: &'static str,
    start: SystemTime,
    more: impl FnOnce(Span) -> Span,
) {
    let tracer = progress.tracer();
    if tracer.is_on() {
        let trace = Trace::of_digest(&digest_of_segment(epoch, seq));
        tracer.send(more(trace.span(name, start).with("re_dms.segment", seq)));
    }
}
