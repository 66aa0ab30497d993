//! Where the CPU time goes: threads of their own, behind those that read the stream and serve sockets. On a machine that
//! is busy the stream is read first, and files are written with what is left.

use std::thread;

use tokio::sync::oneshot;

use crate::error::{Error, Result, Who};

/// By how much other threads come first. The scale of `nice`: 0 to 19.
const NICENESS: i32 = 5;

/// Does the work on a thread of its own.
///
/// # Errors
/// If there is no thread to be had, or the work panics.
pub(super) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (done, result) = oneshot::channel();
    let thread = thread::Builder::new().name("renderer".into()).spawn(move || {
        // On Linux it is the thread's own; a system that refuses it has only another order of work.
        let _ = rustix::process::nice(NICENESS);
        // Nobody waits any more at shutdown.
        let _ = done.send(work());
    });
    thread.map_err(|error| {
        Error::fatal(
            Who::Machine,
            format!("no thread to write files: {error}"),
            "is the limit of threads reached?",
        )
    })?;
    result.await.map_err(|_| Error::fatal(Who::Machine, "rendering a step broke off", "report this as a bug"))
}
