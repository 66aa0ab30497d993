//! The capture's metrics: what is counted where it happens, and what the progress says when somebody asks. Which there are:
//! [`re_dms_shared::metrics::catalogue`].
//!
//! Prometheus asks for them ([`prometheus`]); to CloudWatch and [`statsd`] they are sent at an interval.

mod exporters;
pub mod prometheus;
mod server;
pub mod statsd;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use re_dms_shared::Lsn;
use re_dms_shared::manifest::{Action, Load, Manifest, RowCounts};
use re_dms_shared::metrics::{Registry, catalogue as is};
use re_dms_shared::status::CopyStatus;
use re_dms_telemetry::traces::Tracer;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::progress::{Progress, Snapshot};
use crate::retry;
pub use exporters::Exporters;

/// One stream's metrics over the process's life, over all times that the stream is started over.
#[derive(Debug)]
pub struct Meter {
    /// The stream's name.
    pub stream: String,
    registry: Arc<Registry>,
    run: Mutex<Option<Run>>,
    /// Where spans go, if anywhere.
    pub tracer: Tracer,
}

/// The progress that is followed, and how much of its counters is counted already.
#[derive(Debug)]
struct Run {
    progress: watch::Receiver<Snapshot>,
    transactions: u64,
    changes: u64,
}

impl Meter {
    /// Begins with nothing.
    #[must_use]
    pub fn new(stream: &str) -> Self {
        let registry = Arc::new(Registry::new(is::CAPTURE));
        Self { stream: stream.to_owned(), registry, run: Mutex::default(), tracer: Tracer::default() }
    }

    /// Hands in spans there.
    #[must_use]
    pub fn tracing(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Where it is counted.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// From now on this is the stream's progress.
    pub fn follow(&self, progress: watch::Receiver<Snapshot>) {
        self.look();
        *self.lock() = Some(Run { progress, transactions: 0, changes: 0 });
    }

    /// The stream ended by this.
    pub fn count_fatal(&self, error: &Error) {
        self.registry.add(&is::ERRORS, &[error.who.as_str(), "fatal"], 1);
        if let Some(invariant) = error.invariant {
            self.registry.add(&is::INVARIANT_VIOLATIONS, &[&invariant.to_string()], 1);
        }
    }

    /// How far the initial copy is, while it goes on.
    #[must_use]
    pub fn copy(&self) -> Option<CopyStatus> {
        self.lock().as_ref().and_then(|run| run.progress.borrow().copy.clone())
    }

    /// Whether changes are taken.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.lock().as_ref().is_some_and(|run| run.progress.borrow().streaming)
    }

    /// What hangs, if anything does.
    #[must_use]
    pub fn stalled(&self) -> Option<String> {
        self.lock().as_ref().and_then(|run| run.progress.borrow().stalled.clone())
    }

    /// The values now.
    pub fn look(&self) -> &Registry {
        let mut run = self.lock();
        if let Some(run) = run.as_mut() {
            let now = run.progress.borrow().clone();
            gauges(&self.registry, &now);
            self.registry.add(&is::TRANSACTIONS, &[], now.transactions - run.transactions);
            self.registry.add(&is::CHANGES, &[], now.changes - run.changes);
            (run.transactions, run.changes) = (now.transactions, now.changes);
        }
        if let Some(bytes) = resident_memory() {
            self.registry.set(&is::MEMORY_BYTES, bytes as f64);
        }
        &self.registry
    }

    fn lock(&self) -> MutexGuard<'_, Option<Run>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gauges(registry: &Registry, now: &Snapshot) {
    let yes = |yes: bool| f64::from(u8::from(yes));
    let lsn = |Lsn(position)| position as f64;
    let tables = |held: bool| now.quarantine.tables.iter().filter(|table| table.held == held).count() as f64;
    registry.set(&is::LAG_SECONDS, now.lag_seconds());
    registry.set(&is::LAG_BYTES, now.server_wal_end.bytes_since(now.loaded.0) as f64);
    if let Some(bytes) = now.retained_bytes {
        registry.set(&is::RETAINED_WAL_BYTES, bytes as f64);
    }
    registry
        .set(&is::SECONDS_SINCE_ACK, now.waiting_since.map_or(0.0, |since| since.elapsed().as_secs_f64()));
    registry.set(&is::RECEIVED_LSN, lsn(now.received.0));
    registry.set(&is::DURABLE_LSN, lsn(now.durable.0));
    registry.set(&is::STAGED_LSN, lsn(now.staged.0));
    registry.set(&is::LOADED_LSN, lsn(now.loaded.0));
    registry.set(&is::CONFIRMED_LSN, lsn(now.confirmed.0));
    registry.set(&is::SERVER_WAL_END_LSN, lsn(now.server_wal_end));
    registry.set(&is::STREAMING, yes(now.streaming));
    registry.set(&is::STALLED, yes(now.stalled.is_some()));
    registry.set(&is::HELD_UP, yes(now.waits.is_some()));
    registry.set(&is::DISK_FULL, yes(now.disk_full));
    registry.set(&is::SEGMENTS_IN_FLIGHT, now.segments_in_flight() as f64);
    registry.set(&is::SEGMENTS_STAGED, now.segments_staged as f64);
    registry.set(&is::SEGMENTS_LOADED, now.segments_loaded as f64);
    registry.set(&is::QUARANTINED_TABLES, tables(false));
    registry.set(&is::HELD_TABLES, tables(true));
    registry.set(&is::RESYNC_TABLES, now.needs_resync.len() as f64);
    if let Some(verified) = &now.verified {
        registry.set(&is::VERIFIED_TABLES, verified.tables as f64);
        registry.set(&is::DIFFERENT_TABLES, verified.different.len() as f64);
        registry.set(&is::UNVERIFIED_TABLES, verified.unverified.len() as f64);
    }
    let copied = now.copy.as_ref().map_or(0, |copy| copy.tables.saturating_sub(copy.tables_done));
    registry.set(&is::COPY_TABLES_LEFT, copied as f64);
}

/// A load is on S3: its rows, bytes, and values that met a policy.
pub(crate) fn count_load(registry: &Registry, table: &str, load: &Load) {
    let RowCounts { inserts, replaces, updates, deletes, moves, removes } = load.rows;
    let operations = [
        ("insert", inserts),
        ("replace", replaces),
        ("update", updates),
        ("delete", deletes),
        ("move", moves),
        ("remove", removes),
    ];
    for (operation, rows) in operations.into_iter().filter(|(_, rows)| *rows > 0) {
        registry.add(&is::ROWS, &[table, operation], rows);
    }
    registry.add(&is::BYTES, &[table], load.files.iter().map(|file| file.bytes).sum());
    for altered in &load.altered {
        registry.add(&is::ALTERED_VALUES, &[table, &altered.policy], altered.values);
    }
}

/// A segment of the stream is on S3. `changes`: row changes of its transactions.
pub(crate) fn count_segment(registry: &Registry, manifest: &Manifest, changes: u64) {
    let loads = manifest.steps.iter().filter_map(|step| match &step.action {
        Action::Load(load) => Some(load),
        // Rows that were read anew are no batch.
        Action::Truncate | Action::Schema(_) | Action::Resync | Action::Replace(_) | Action::Chunk(_) => None,
    });
    let (mut rows, mut bytes) = (0, 0);
    for load in loads {
        rows += load.rows.total();
        bytes += load.files.iter().map(|file| file.bytes).sum::<u64>();
    }
    registry.observe(&is::BATCH_ROWS, rows as f64);
    registry.observe(&is::BATCH_BYTES, bytes as f64);
    if rows > 0 {
        registry.observe(&is::COMPACTION_RATIO, changes as f64 / rows as f64);
    }
}

/// Writes an object, as often as it takes, and counts how long that is.
pub(crate) async fn upload<F: Future<Output = Result<()>>>(
    progress: &Progress,
    put: impl FnMut() -> F,
) -> Result<()> {
    let began = Instant::now();
    retry::until_done(progress, put).await?;
    progress.counted().observe(&is::UPLOAD_SECONDS, began.elapsed().as_secs_f64());
    Ok(())
}

/// As the kernel says; none on a system without Linux's `/proc`.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use re_dms_shared::lsn::{Confirmed, Loaded};
    use re_dms_shared::manifest::{Altered, DataFile};

    use super::*;
    use crate::progress::Progress;

    #[test]
    fn counters_go_on_when_the_stream_is_started_over() {
        let meter = Meter::new("main");
        for (changes, sum) in [(7, 7.0), (5, 12.0)] {
            let progress = Progress::new(Snapshot::default());
            meter.follow(progress.subscribe());
            progress.update(|state| state.changes = changes);
            assert_eq!(meter.look().total(&is::CHANGES), sum);
            assert_eq!(meter.look().total(&is::CHANGES), sum, "once");
        }
        let progress = Progress::new(Snapshot::default());
        meter.follow(progress.subscribe());
        progress.update(|state| state.changes = 3);
        meter.follow(Progress::new(Snapshot::default()).subscribe());
        assert_eq!(meter.look().total(&is::CHANGES), 15.0, "what nobody asked for in time counts, too");
        assert!(meter.look().total(&is::MEMORY_BYTES) > 1e6);
    }

    #[test]
    fn confirming_what_may_not_be_is_a_violation() {
        let meter = Meter::new("main");
        let start = Snapshot { anchored: Lsn(50), loaded: Loaded(Lsn(50)), ..Snapshot::default() };
        let progress = Progress::new(start).counting(meter.registry());
        progress.staged(re_dms_shared::lsn::Staged(Lsn(60)));
        progress.confirmed(Confirmed(Lsn(50)));
        progress.confirmed(Confirmed(Lsn(40)));
        assert_eq!(meter.look().total(&is::INVARIANT_VIOLATIONS), 0.0);
        progress.confirmed(Confirmed(Lsn(51)));
        assert_eq!(meter.look().total(&is::INVARIANT_VIOLATIONS), 1.0);
    }

    #[test]
    fn a_load_is_counted_by_table_operation_and_policy() {
        let registry = Registry::default();
        let file = |bytes| DataFile { key: "k".into(), rows: 3, bytes, sha256: String::new() };
        let load = Load {
            copy_manifest: "m".into(),
            files: vec![file(10), file(20)],
            compression: re_dms_shared::manifest::Compression::Gzip,
            tagged_keys: false,
            rows: RowCounts { inserts: 2, deletes: 4, ..RowCounts::default() },
            present_sets: Vec::new(),
            altered: vec![Altered { column: "c".into(), policy: "null".into(), values: 3 }],
        };
        count_load(&registry, "s.t", &load);
        let text = prometheus::text(&registry, "main");
        assert!(
            text.contains(r#"re_dms_rows_total{stream="main",table="s.t",operation="delete"} 4"#),
            "{text}"
        );
        assert_eq!((registry.total(&is::ROWS), registry.total(&is::BYTES)), (6.0, 30.0));
        assert_eq!(registry.total(&is::ALTERED_VALUES), 3.0);
    }
}
