//! What goes wrong around a history.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Something that must make no difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// kill -9 of the capture; `lose_disk`: its folder goes too.
    KillCapture {
        /// Its folder goes too.
        lose_disk: bool,
    },
    /// SIGTERM to the capture, which stages what it has.
    EndCapture,
    /// Whatever ended the capture, it runs again.
    StartCapture,
    /// `pg_terminate_backend` of the slot's connection.
    CutConnection,
    /// PostgreSQL stops and starts. Open transactions are lost.
    RestartSource {
        /// Without a checkpoint: it recovers from its WAL.
        immediate: bool,
    },
    /// kill -9 of the loader, wherever it is.
    KillLoader,
    /// No message is delivered to the loader until [`Deliver`](Disturbance::Deliver).
    HoldDeliveries,
    /// Messages are delivered again.
    Deliver,
    /// S3 and the queues hang for so many milliseconds.
    FreezeAws {
        /// How long.
        millis: u64,
    },
    /// The warehouse's API misbehaves: settings of the stand-in's faults.
    WarehouseFaults(&'static str),
}

/// The capture's two ways to end, as often as all the others.
pub(super) fn draw(random: &mut StdRng, disk_may_be_lost: bool) -> Disturbance {
    const FAULTS: [&str; 5] = [
        r#"{"throttle_requests": 4}"#,
        r#"{"lose_answers": {"count": 2, "by": "connection"}}"#,
        r#"{"lose_answers": {"count": 1, "by": "internal_error"}}"#,
        r#"{"fail_executions": {"count": 1, "error": "connection to the database was lost", "after_commit": true}}"#,
        r#"{"fail_executions": {"count": 1, "error": "connection to the database was lost", "after_commit": false}}"#,
    ];
    match random.random_range(0..16) {
        0..=3 => Disturbance::KillCapture { lose_disk: false },
        4..=5 => Disturbance::KillCapture { lose_disk: disk_may_be_lost },
        6 => Disturbance::EndCapture,
        7..=8 => Disturbance::CutConnection,
        9 => Disturbance::RestartSource { immediate: random.random_bool(0.5) },
        10..=11 => Disturbance::KillLoader,
        12 => Disturbance::HoldDeliveries,
        13 => Disturbance::FreezeAws { millis: random.random_range(100..1_500) },
        _ => Disturbance::WarehouseFaults(FAULTS.choose(random).copied().unwrap_or_default()),
    }
}
