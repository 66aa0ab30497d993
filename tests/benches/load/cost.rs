//! What loading costs on AWS beside Redshift, by its list prices (us-east-1, x86_64), from what a segment was seen to need.

use serde::Serialize;

use crate::report::Run;

/// Dollars for a second of a function with a gigabyte of memory.
const GIGABYTE_SECOND: f64 = 0.000_016_666_7;
/// Dollars for an invocation.
const INVOCATION: f64 = 0.2e-6;
/// Dollars for a request to a FIFO queue, and to a standard one.
const FIFO_REQUEST: f64 = 0.5e-6;
const QUEUE_REQUEST: f64 = 0.4e-6;
/// Dollars for reading an object, and for writing one.
const GET: f64 = 0.4e-6;
const PUT: f64 = 5e-6;
/// The template's `MemorySize`, in gigabytes.
const MEMORY: f64 = 0.25;
/// Assumed: seconds for which Redshift is at work on a small segment, and waited for.
const REDSHIFT_SECONDS: f64 = 5.0;

/// Dollars for a million changes that come in segments of one size.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) changes_a_segment: u32,
    pub(crate) dollars_a_million: f64,
}

/// A segment as the run's, whatever the number of changes in it: that makes files larger, not more.
pub(crate) fn costs(run: &Run) -> Vec<Cost> {
    let invocation = run.invocation_ms / 1e3 + REDSHIFT_SECONDS;
    let function = INVOCATION + invocation * MEMORY * GIGABYTE_SECOND;
    // Announced, received, deleted; acknowledged, received, deleted.
    let queues = 3.0 * FIFO_REQUEST + 3.0 * QUEUE_REQUEST;
    // Data, COPY manifests, the manifest and the receipt are written, all but the receipt are read.
    let loads = f64::from(run.size.tables);
    let objects = (2.0 * loads + 2.0) * PUT + (2.0 * loads + 1.0) * GET;
    let segment = function + queues + objects;
    let of = |changes: u32| Cost {
        changes_a_segment: changes,
        dollars_a_million: segment * 1e6 / f64::from(changes),
    };
    [1_000, 10_000, 100_000, 1_000_000].map(of).into()
}
