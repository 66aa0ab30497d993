//! All metrics of capture and loader. `docs/metrics.md` is written from this list.

/// How a metric's values go together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It only grows, from 0 at the process's start.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Many values, counted by these upper bounds.
    Distribution(&'static [f64]),
}

/// What a metric counts, in CloudWatch's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A ratio.
    None,
}

impl Unit {
    /// CloudWatch's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Count => "Count",
            Unit::Seconds => "Seconds",
            Unit::Bytes => "Bytes",
            Unit::None => "None",
        }
    }
}

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name, without `re_dms_` before it and `_total` behind it.
    pub name: &'static str,
    /// How its values go together.
    pub kind: Kind,
    /// What it counts.
    pub unit: Unit,
    /// Labels beside the stream's.
    pub labels: &'static [&'static str],
    /// What it means, in one line.
    pub meaning: &'static str,
}

const SECONDS: Kind =
    Kind::Distribution(&[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0]);
const SIZES: Kind = Kind::Distribution(&[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9]);
const RATIOS: Kind = Kind::Distribution(&[1.0, 1.1, 1.5, 2.0, 5.0, 10.0, 100.0]);

macro_rules! metrics {
    ($list:ident, $of:literal: $($id:ident $name:literal $kind:expr, $unit:ident, [$($label:literal),*], $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub static $id: Metric = Metric {
                name: $name,
                kind: $kind,
                unit: Unit::$unit,
                labels: &[$($label),*],
                meaning: $meaning,
            };
        )*
        #[doc = $of]
        pub static $list: &[&Metric] = &[$(&$id),*];
    };
}

metrics! { CAPTURE, "The capture's metrics.":
    LAG_SECONDS "lag_seconds" Kind::Gauge, Seconds, [], "Age of the oldest transaction that is not in Redshift; 0 if all are";
    LAG_BYTES "lag_bytes" Kind::Gauge, Bytes, [], "WAL from the loaded position to the server's WAL end";
    RETAINED_WAL_BYTES "retained_wal_bytes" Kind::Gauge, Bytes, [], "WAL that the slot retained on the source when it was last asked";
    SECONDS_SINCE_ACK "seconds_since_ack" Kind::Gauge, Seconds, [], "How long nothing was heard of the loader while segments wait for it; 0 if none does";
    RECEIVED_LSN "received_lsn" Kind::Gauge, Bytes, [], "The position Received, as a number";
    DURABLE_LSN "durable_lsn" Kind::Gauge, Bytes, [], "The position Durable, as a number";
    STAGED_LSN "staged_lsn" Kind::Gauge, Bytes, [], "The position Staged, as a number";
    LOADED_LSN "loaded_lsn" Kind::Gauge, Bytes, [], "The position Loaded, as a number";
    CONFIRMED_LSN "confirmed_lsn" Kind::Gauge, Bytes, [], "The position Confirmed, as a number";
    SERVER_WAL_END_LSN "server_wal_end_lsn" Kind::Gauge, Bytes, [], "The server's own WAL end as last heard, as a number";
    STREAMING "streaming" Kind::Gauge, Count, [], "1 while connected to the source and streaming, else 0";
    DISK_FULL "disk_full" Kind::Gauge, Count, [], "1 while changes are not taken because the capture's disk is full, else 0";
    STALLED "stalled" Kind::Gauge, Count, [], "1 while a part of the capture hangs, else 0";
    HELD_UP "held_up" Kind::Gauge, Count, [], "1 while a part waits for PostgreSQL, S3 or the disk longer than `watchdog.patience`, else 0";
    SEGMENTS_IN_FLIGHT "segments_in_flight" Kind::Gauge, Count, [], "Segments on S3 that are not loaded";
    SEGMENTS_STAGED "segments_staged" Kind::Gauge, Count, [], "Segments on S3, over the epoch's life";
    SEGMENTS_LOADED "segments_loaded" Kind::Gauge, Count, [], "Segments in the ledger, over the epoch's life";
    QUARANTINED_TABLES "quarantined_tables" Kind::Gauge, Count, [], "Tables that can't be loaded: their changes collect on S3";
    HELD_TABLES "held_tables" Kind::Gauge, Count, [], "Tables with a change of their definition that waits for approval";
    RESYNC_TABLES "resync_tables" Kind::Gauge, Count, [], "Tables whose rows in Redshift may differ from the source's until they are read again";
    VERIFIED_TABLES "verified_tables" Kind::Gauge, Count, [], "Tables that the last verification looked at";
    DIFFERENT_TABLES "different_tables" Kind::Gauge, Count, [], "Tables that it found not to be in Redshift as on the source";
    UNVERIFIED_TABLES "unverified_tables" Kind::Gauge, Count, [], "Tables that it could not compare";
    COPY_TABLES_LEFT "copy_tables_left" Kind::Gauge, Count, [], "Tables of the initial copy that are not on S3 yet";
    MEMORY_BYTES "memory_bytes" Kind::Gauge, Bytes, [], "Resident memory of the process";
    TRANSACTIONS "transactions" Kind::Counter, Count, [], "Transactions of the source";
    CHANGES "changes" Kind::Counter, Count, [], "Row changes received";
    ROWS "rows" Kind::Counter, Count, ["table", "operation"], "Rows written to files: what compaction leaves of the changes, and those of the initial copy";
    BYTES "bytes" Kind::Counter, Bytes, ["table"], "Compressed bytes of data files";
    ALTERED_VALUES "altered_values" Kind::Counter, Count, ["table", "policy"], "Values that Redshift can't hold and that met a policy";
    BATCH_ROWS "batch_rows" SIZES, Count, [], "Rows in a segment of the stream";
    BATCH_BYTES "batch_bytes" SIZES, Bytes, [], "Compressed bytes in a segment of the stream";
    COMPACTION_RATIO "compaction_ratio" RATIOS, None, [], "Changes for each row that is written, in a segment of the stream";
    UPLOAD_SECONDS "upload_seconds" SECONDS, Seconds, [], "Writing one object of a segment to S3, with repetitions";
    LOAD_SECONDS "load_seconds" SECONDS, Seconds, [], "From message to commit in the loader, as its acknowledgement says";
    RECONNECTS "reconnects" Kind::Counter, Count, [], "Replication connections that ended and were made anew";
    ERRORS "errors" Kind::Counter, Count, ["who", "outcome"], "Failures by who failed (source, S3, queue, loader, this machine, stream), tried again (`retried`) or not (`fatal`)";
    INVARIANT_VIOLATIONS "invariant_violations" Kind::Counter, Count, ["invariant"], "Invariants found broken, by number; the stream stops where it can";
    ERROR_REPORTS_LOST "error_reports_lost" Kind::Counter, Count, [], "Reports to Sentry or Rollbar that did not get there";
}

metrics! { LOADER, "The loader's metrics.":
    LOADER_SEGMENTS "loader_segments" Kind::Counter, Count, [], "Segments loaded";
    LOADER_ROWS "loader_rows" Kind::Counter, Count, [], "Rows in the files of segments loaded";
    LOADER_BYTES "loader_bytes" Kind::Counter, Bytes, [], "Compressed bytes in the files of segments loaded";
    LOADER_LOAD_SECONDS "loader_load_seconds" SECONDS, Seconds, [], "From message to commit; segments that are loaded together count once";
    LOADER_DELAY_SECONDS "loader_delay_seconds" SECONDS, Seconds, [], "From a segment's first commit on the source to its commit in Redshift";
    LOADER_GAPS "loader_gaps" Kind::Counter, Count, [], "Segments refused because one before them is missing";
    LOADER_ERRORS "loader_errors" Kind::Counter, Count, ["who", "outcome"], "Failed loads and requests by who has to act (capture, aws, redshift, loader), tried again (`retried`) or not before somebody acts (`fatal`)";
    LOADER_QUARANTINED_TABLES "loader_quarantined_tables" Kind::Gauge, Count, [], "Tables that can't be loaded, as of the last load";
    LOADER_INVARIANT_VIOLATIONS "loader_invariant_violations" Kind::Counter, Count, ["invariant"], "Invariants found broken, by number; the segment is refused";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_those_of_one_metric_and_fit_everywhere() {
        let all: Vec<_> = CAPTURE.iter().chain(LOADER).collect();
        let names: BTreeSet<_> = all.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), all.len());
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        for metric in all {
            assert!(plain(metric.name) && metric.labels.iter().all(|label| plain(label)), "{metric:?}");
            assert!(!metric.meaning.contains('|') && !metric.meaning.ends_with('.'), "{metric:?}");
            // Gauges and distributions are sent as they are: there is no sum over labels that says something.
            assert!(metric.kind == Kind::Counter || metric.labels.is_empty(), "{metric:?}");
            if let Kind::Distribution(bounds) = metric.kind {
                assert!(bounds.is_sorted(), "{metric:?}");
            }
        }
        // What one directive of CloudWatch's format may hold.
        assert!(CAPTURE.len() <= 100 && LOADER.len() <= 100);
    }
}
