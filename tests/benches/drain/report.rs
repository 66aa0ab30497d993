//! What came out: medians over the rounds, ratios within them, and whether the targets hold.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::contender::{Figures, Kind};
use crate::workloads::Workload;

const MEBIBYTE: f64 = (1 << 20) as f64;

/// One drain.
#[derive(Clone, Debug)]
pub(crate) struct Drained {
    /// Seconds.
    pub(crate) wall: f64,
    pub(crate) walsender_cpu: f64,
    pub(crate) figures: Figures,
}

/// All that is written to `results.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    postgresql: String,
    processor: String,
    cores: usize,
    scale: f64,
    max_memory: u64,
    workloads: Vec<WorkloadReport>,
    /// Milliseconds until a lone commit is durable, sorted.
    pub(crate) latencies: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct WorkloadReport {
    workload: &'static str,
    title: &'static str,
    wal_bytes: f64,
    /// Row changes, as the capture counts them.
    changes: Option<u64>,
    contenders: Vec<ContenderReport>,
}

/// Medians over the rounds.
#[derive(Debug, Serialize)]
struct ContenderReport {
    contender: Kind,
    wall_seconds: f64,
    /// To `pg_recvlogical` in the same round.
    wall_ratio: Option<f64>,
    cpu_seconds: f64,
    cpu_ratio: Option<f64>,
    walsender_cpu_seconds: f64,
    peak_rss: u64,
    changes_per_second: Option<f64>,
    wal_mb_per_second: f64,
    rows_written: Option<u64>,
    bytes_written: Option<u64>,
    segments: Option<u64>,
}

/// A promise, and what was measured.
#[derive(Debug)]
struct Target {
    what: String,
    value: f64,
    limit: f64,
}

impl Report {
    pub(crate) fn new(scale: f64, max_memory: u64, postgresql: String) -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            postgresql,
            processor: processor.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            scale,
            max_memory,
            workloads: Vec::new(),
            latencies: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, workload: Workload, wal_bytes: f64, rounds: &[Vec<(Kind, Drained)>]) {
        let mut kinds: Vec<Kind> =
            rounds.first().map(|round| round.iter().map(|(kind, _)| *kind).collect()).unwrap_or_default();
        kinds.sort_unstable();
        let all = || rounds.iter().flatten();
        let changes = all().find_map(|(_, drained)| drained.figures.changes);
        let contenders = kinds.into_iter().map(|kind| {
            let of = |value: &dyn Fn(&Drained) -> f64| {
                median(all().filter(|(other, _)| *other == kind).map(|(_, drained)| value(drained)))
            };
            let ratio = |value: &dyn Fn(&Drained) -> f64| {
                let pairs = rounds.iter().filter_map(|round| {
                    let find = |kind| round.iter().find(|(other, _)| *other == kind).map(|(_, it)| value(it));
                    Some(find(kind)? / find(Kind::Recvlogical)?.max(0.001))
                });
                let pairs: Vec<f64> = pairs.collect();
                (!pairs.is_empty()).then(|| median(pairs.into_iter()))
            };
            let last = rounds.last().and_then(|round| round.iter().find(|(other, _)| *other == kind));
            let figures = last.map(|(_, drained)| drained.figures.clone()).unwrap_or_default();
            let wall = of(&|drained| drained.wall);
            ContenderReport {
                contender: kind,
                wall_seconds: wall,
                wall_ratio: ratio(&|drained| drained.wall),
                cpu_seconds: of(&|drained| drained.figures.cpu),
                cpu_ratio: ratio(&|drained| drained.figures.cpu),
                walsender_cpu_seconds: of(&|drained| drained.walsender_cpu),
                peak_rss: all()
                    .filter(|(other, _)| *other == kind)
                    .map(|(_, drained)| drained.figures.peak_rss)
                    .max()
                    .unwrap_or(0),
                changes_per_second: changes.map(|changes| changes as f64 / wall),
                wal_mb_per_second: wal_bytes / MEBIBYTE / wall,
                rows_written: figures.rows_written,
                bytes_written: figures.bytes_written,
                segments: figures.segments,
            }
        });
        let contenders = contenders.collect();
        let (workload, title) = (workload.name(), workload.title());
        self.workloads.push(WorkloadReport { workload, title, wal_bytes, changes, contenders });
    }

    /// For a terminal, and for `docs/benchmarks.md`.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "PostgreSQL {}, {} cores ({}), scale {}, batch.max_memory {} MiB\n",
            self.postgresql,
            self.cores,
            self.processor,
            self.scale,
            self.max_memory >> 20
        );
        out.push_str(
            "|   | contender                 | wall s | ratio | CPU s | ratio | walsender s | peak MiB | k changes/s | WAL MB/s | rows written | MB written |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for workload in &self.workloads {
            for it in &workload.contenders {
                let _ = writeln!(
                    out,
                    "| {} | {:<25} | {:6.2} | {:>5} | {:5.2} | {:>5} | {:6.2} | {:4.0} | {:>6} | {:6.1} | {:>9} | {:>7} |",
                    workload.workload,
                    it.contender.title(),
                    it.wall_seconds,
                    cell(it.wall_ratio, 2),
                    it.cpu_seconds,
                    cell(it.cpu_ratio, 2),
                    it.walsender_cpu_seconds,
                    it.peak_rss as f64 / MEBIBYTE,
                    cell(it.changes_per_second.map(|rate| rate / 1000.0), 0),
                    it.wal_mb_per_second,
                    cell(it.rows_written.map(|rows| rows as f64), 0),
                    cell(it.bytes_written.map(|bytes| bytes as f64 / MEBIBYTE), 1),
                );
            }
        }
        out.push_str("\n| target | measured | at most | |\n|---|---|---|---|\n");
        for Target { what, value, limit } in self.targets() {
            let verdict = if value <= limit { "met" } else { "MISSED" };
            let _ = writeln!(out, "| {what} | {value:.2} | {limit:.2} | {verdict} |");
        }
        out
    }

    fn targets(&self) -> Vec<Target> {
        let find =
            |workload: &WorkloadReport, kind| workload.contenders.iter().position(|it| it.contender == kind);
        let mut targets = Vec::new();
        let mut push = |what: String, value: Option<f64>, limit| {
            targets.extend(value.map(|value| Target { what, value, limit }));
        };
        let mut durable = Vec::new();
        for workload in &self.workloads {
            let name = workload.workload;
            if let Some(position) = find(workload, Kind::Durable) {
                let it = &workload.contenders[position];
                durable.extend(it.wall_ratio);
                let limit = if name == "b" { 0.6 } else { 1.0 };
                push(format!("{name}: to durable WAL, wall"), it.wall_ratio, limit);
                if matches!(name, "a" | "b") {
                    push(format!("{name}: to durable WAL, CPU"), it.cpu_ratio, 1.0 / 3.0);
                }
            }
            for (kind, files) in [(Kind::Files, "gzip"), (Kind::FilesZstd, "zstd")] {
                if let Some(position) = find(workload, kind) {
                    let it = &workload.contenders[position];
                    push(format!("{name}: to {files} files, wall"), it.wall_ratio, 1.15);
                }
            }
            let bound = 1.3 * (self.max_memory as f64 + 64.0 * MEBIBYTE) / MEBIBYTE;
            let captures = [Kind::Durable, Kind::Files, Kind::FilesZstd];
            let peaks = workload.contenders.iter().filter(|it| captures.contains(&it.contender));
            let peak = peaks.map(|it| it.peak_rss).max().map(|peak| peak as f64 / MEBIBYTE);
            push(format!("{name}: peak memory, MiB"), peak, bound);
        }
        if !durable.is_empty() {
            let logarithms: f64 = durable.iter().map(|ratio| ratio.ln()).sum();
            let mean = (logarithms / durable.len() as f64).exp();
            push("to durable WAL, wall, geometric mean".to_owned(), Some(mean), 0.85);
        }
        if !self.latencies.is_empty() {
            let milliseconds = median(self.latencies.iter().copied());
            push("a lone commit is durable, median ms".to_owned(), Some(milliseconds), 20.0);
        }
        targets
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, serde_json::to_vec_pretty(self)?)?)
    }
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

/// 0 for nothing.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => 0.0,
        (count, middle) if count % 2 == 1 => values[middle],
        (_, middle) => f64::midpoint(values[middle - 1], values[middle]),
    }
}
