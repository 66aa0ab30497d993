//! `re_dms run`.

use std::io::IsTerminal as _;
use std::sync::Arc;

use clap::Args;
use re_dms_capture::metrics::Meter;

use crate::traces::Traces;
use crate::{ConfigFile, Outcome, bars, logging};

/// Run a stream: read its replication slot, stage segments on S3, follow the loader's acknowledgements.
///
/// Creates publication and slot the first time, and copies the rows that are there. Ends cleanly on SIGTERM and SIGINT;
/// may be killed at any time.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    config: ConfigFile,
    /// If the stream is new, do without the rows that its tables hold already, as copy.enabled = false does.
    #[arg(long)]
    no_copy: bool,
}

impl Run {
    pub(crate) fn execute(self) -> Outcome {
        let mut config = self.config.load()?;
        config.copy.enabled &= !self.no_copy;
        let reports = logging::start_with_reports(&config)?;
        let traces = Traces::new(&config)?;
        let meter = Arc::new(Meter::new(&config.stream).tracing(traces.tracer()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        if std::io::stderr().is_terminal() {
            runtime.spawn(bars::follow(Arc::clone(&meter)));
        }
        let work = traces.beside(re_dms_capture::run::run(config, Arc::clone(&meter)));
        let outcome = runtime.block_on(reports.beside(meter, work));
        // Threads that wait for S3 or PostgreSQL have nothing that the next start would not find again.
        runtime.shutdown_background();
        Ok(outcome?)
    }
}
