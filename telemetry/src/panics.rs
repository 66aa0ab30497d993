//! Panics become log lines, and so reports. Their texts may quote what the program was looking at, so only those that were
//! written in the source are told.

use std::backtrace::Backtrace;
use std::panic::{self, PanicHookInfo};
use std::thread;

/// From now on panics are logged as errors, and nothing else is printed.
pub fn log_them() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = thread::current().name().unwrap_or("unnamed").to_owned();
        let backtrace = Backtrace::force_capture().to_string();
        tracing::error!(error = text(info), place, thread, backtrace, "panicked: report this as a bug");
    }));
}

fn text(info: &PanicHookInfo<'_>) -> &'static str {
    info.payload().downcast_ref::<&'static str>().copied().unwrap_or("(its text may hold values)")
}
