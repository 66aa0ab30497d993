//! What the end-to-end tests share: a sandbox of their own each, ways to hurt it, and workloads.

mod aws;
pub mod history;
mod processes;
mod sandbox;
pub mod workload;

pub use aws::Aws;
pub use processes::{kill, loader_pids, signal, wait_for_end};
pub use rustix::process::Signal;
pub use sandbox::{Sandbox, binary, run};
