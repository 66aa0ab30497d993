//! Traces beside the stream's work, to where the configuration says.

use std::time::Duration;

use re_dms_capture::config::Config;
use re_dms_telemetry::traces::{self, Exporter, Service, Tracer};

/// The last spans may take so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Spans that are still to be sent.
pub(crate) struct Traces {
    tracer: Tracer,
    exporter: Option<Exporter>,
}

impl Traces {
    pub(crate) fn new(config: &Config) -> std::io::Result<Self> {
        let Some(collector) = config.traces.collector.clone() else {
            return Ok(Self { tracer: Tracer::default(), exporter: None });
        };
        let environment = config.errors.environment.clone();
        let service = Service { name: "re_dms", version: env!("CARGO_PKG_VERSION"), environment };
        let (tracer, exporter) = traces::to(collector, service)?;
        Ok(Self { tracer, exporter: Some(exporter) })
    }

    /// Where spans are handed in.
    pub(crate) fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Does the work, and sends spans beside it; the last ones at its end.
    pub(crate) async fn beside<T>(self, work: impl Future<Output = T>) -> T {
        if let Some(exporter) = self.exporter {
            tokio::spawn(exporter.run());
        }
        let outcome = work.await;
        self.tracer.flush(PATIENCE).await;
        outcome
    }
}
