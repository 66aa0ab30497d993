//! Log lines on stderr, and reports of errors to whom the configuration says.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use re_dms_capture::config::{Config, LogConfig, LogFormat};
use re_dms_capture::metrics::Meter;
use re_dms_shared::metrics::catalogue::ERROR_REPORTS_LOST;
use re_dms_telemetry::logs::Lines;
use re_dms_telemetry::reports::{self, About, Flush, ReportErrors, Reporter};
use re_dms_telemetry::{KeepFields, panics};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

use crate::bars;

/// The last reports may take so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// From now on the process logs.
pub(crate) fn start(config: &LogConfig) {
    begin(config, None, None);
}

/// From now on the process logs for this stream, and errors become reports, which are still to be sent.
pub(crate) fn start_with_reports(config: &Config) -> std::io::Result<Reports> {
    let services = config.errors.services();
    if services.is_empty() {
        begin(&config.log, Some(&config.stream), None);
        return Ok(Reports(None));
    }
    let about = About {
        environment: config.errors.environment.clone(),
        release: concat!("re_dms@", env!("CARGO_PKG_VERSION")).to_owned(),
        stream: Some(config.stream.clone()),
    };
    let (layer, reporter, flush) = reports::to(services, about)?;
    begin(&config.log, Some(&config.stream), Some(layer));
    Ok(Reports(Some((reporter, flush))))
}

fn begin(config: &LogConfig, stream: Option<&str>, reports: Option<ReportErrors>) {
    let stream = stream.map(str::to_owned);
    // The filter was checked with the rest of the configuration.
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (lines, ansi) = match config.format {
        LogFormat::Json => (Lines::Json { stream, timed: true }, false),
        LogFormat::Text => (Lines::Text { stream }, color),
    };
    let lines = fmt::layer().with_ansi(ansi).event_format(lines).with_writer(|| bars::AboveBars);
    tracing_subscriber::registry().with(filter).with(KeepFields).with(lines).with(reports).init();
    panics::log_them();
}

/// Reports that are still to be sent.
pub(crate) struct Reports(Option<(Reporter, Flush)>);

impl Reports {
    /// Does the work, and sends reports beside it; the last ones at its end.
    pub(crate) async fn beside<T>(self, meter: Arc<Meter>, work: impl Future<Output = T>) -> T {
        let Some((reporter, flush)) = self.0 else { return work.await };
        tokio::spawn(reporter.run(move || meter.registry().add(&ERROR_REPORTS_LOST, &[], 1)));
        let outcome = work.await;
        flush.wait(PATIENCE).await;
        outcome
    }
}
