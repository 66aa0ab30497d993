//! One contender, in a process of its own: it drains one slot up to a position and says what that took.

mod capture;
mod folder;
mod recvlogical;

use std::path::PathBuf;

use anyhow::Result;
use re_dms_shared::Lsn;
use serde::{Deserialize, Serialize};

/// What drains the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// `pg_recvlogical` to /dev/null: what all ratios are to.
    Recvlogical,
    /// The same with streaming of in-progress transactions, which is not its default.
    RecvlogicalStreaming,
    /// The capture up to its durable local WAL.
    Durable,
    /// The capture up to finished gzip files and manifests, in a folder instead of S3.
    Files,
    /// The same with `batch.compression = "zstd"`.
    FilesZstd,
    /// The capture up to its durable local WAL, on a quiet stream.
    Latency,
}

impl Kind {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Kind::Recvlogical => "pg_recvlogical",
            Kind::RecvlogicalStreaming => "pg_recvlogical, streaming",
            Kind::Durable => "capture to durable WAL",
            Kind::Files => "capture to gzip files",
            Kind::FilesZstd => "capture to zstd files",
            Kind::Latency => "lone commits",
        }
    }
}

/// What to drain.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Task {
    #[arg(long)]
    pub(crate) kind: Kind,
    #[arg(long)]
    pub(crate) url: String,
    #[arg(long)]
    pub(crate) slot: String,
    /// The position at which it ends.
    #[arg(long)]
    pub(crate) end: Lsn,
    /// An empty folder for its files.
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Where `pg_recvlogical` is.
    #[arg(long)]
    pub(crate) recvlogical: PathBuf,
    /// `batch.max_memory` in bytes.
    #[arg(long)]
    pub(crate) max_memory: u64,
}

/// What it took. Printed as JSON on standard output.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// CPU seconds, user and system.
    pub(crate) cpu: f64,
    /// Peak resident memory in bytes.
    pub(crate) peak_rss: u64,
    /// Row changes received, where they are counted.
    pub(crate) changes: Option<u64>,
    /// Rows written to files after compaction.
    pub(crate) rows_written: Option<u64>,
    /// Compressed bytes.
    pub(crate) bytes_written: Option<u64>,
    pub(crate) segments: Option<u64>,
    /// Milliseconds of each lone commit, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) latencies: Vec<f64>,
}

pub(crate) async fn run(task: Task) -> Result<()> {
    let figures = match task.kind {
        Kind::Recvlogical | Kind::RecvlogicalStreaming => recvlogical::drain(&task)?,
        Kind::Durable => capture::drain_to_wal(&task).await?,
        Kind::Latency => capture::lone_commits(&task).await?,
        Kind::Files | Kind::FilesZstd => capture::drain_to_files(&task).await?,
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
