//! What the end-to-end tests share: a sandbox of their own each, ways to hurt it, and workloads.

mod aws;
pub mod history;
pub mod postgresql;
mod processes;
mod sandbox;
mod standby;
pub mod workload;

pub use aws::Aws;
pub use processes::{kill, loader_pids, peak_memory, signal, wait_for_end};
pub use rustix::process::Signal;
pub use sandbox::{Sandbox, binary, run};
pub use standby::Standby;
