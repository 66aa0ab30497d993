//! Work that blocks or takes the CPU: on threads of its own, not on those that serve sockets.

use std::thread;

use tokio::sync::oneshot;

use crate::error::{Error, Result, Who};

/// By how much other threads come before those of [`low_priority`]. The scale of `nice`: 0 to 19.
const NICENESS: i32 = 5;

/// Starts the work on a thread of this name; the future gives what it comes to.
///
/// # Errors
/// If there is no thread to be had; the future's, if the work panics.
pub(crate) fn start<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<impl Future<Output = Result<T>>> {
    let (done, outcome) = oneshot::channel();
    let started = thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody waits for it any more if the process is ending.
        let _ = done.send(work());
    });
    started.map_err(|error| {
        Error::fatal(Who::Machine, format!("no thread can be started: {error}"), "raise the limits")
    })?;
    Ok(async move {
        outcome.await.map_err(|_| {
            Error::fatal(
                Who::Machine,
                format!("the thread {name} broke off"),
                "report this as a bug, with the log",
            )
        })
    })
}

/// Does the work behind the threads that read the stream: where cores are scarce, the stream is read first, and files are
/// written with what is left.
///
/// # Errors
/// As [`start`] and its future.
pub(crate) async fn low_priority<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let work = move || {
        // On Linux it is the thread's own; a system that refuses it has only another order of work.
        let _ = rustix::process::nice(NICENESS);
        work()
    };
    start("renderer", work)?.await
}
