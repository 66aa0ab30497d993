//! The Lambda's `bootstrap`: reads the settings, makes the clients, and hands invocations to the handler.

// The future of an invocation is deep: the SDK's are, and ours hold them.
#![recursion_limit = "256"]

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;
use aws_config::timeout::TimeoutConfig;
use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{LambdaEvent, service_fn};
use re_dms_loader::apply::Loader;
use re_dms_loader::config::{Config, ConfigError};
use re_dms_loader::data_api::DataApi;
use re_dms_loader::deadline::Deadline;
use re_dms_loader::handler::Handler;
use re_dms_loader::metrics::Meter;
use re_dms_loader::objects::S3;
use re_dms_loader::queues::Sqs;
use re_dms_telemetry::logs::Lines;
use re_dms_telemetry::reports::{self, About, Flush};
use re_dms_telemetry::traces::{self, Collector, Service, Tracer};
use re_dms_telemetry::{KeepFields, panics};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// For a connection to any of AWS's services.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// For the beginning of an answer: longer than the longest wait that the Data API is asked for.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// An invocation ends at most so much later for reports of errors, and as much for traces.
const REPORT_PATIENCE: Duration = Duration::from_secs(3);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_env(|variable| std::env::var(variable).ok());
    let flush = log(&config)?;
    let config = config.inspect_err(|error| tracing::error!(%error, "the settings are wrong"))?;

    // Without a limit, a connection that went silent would use up the whole invocation.
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build();
    let aws = aws_config::from_env().timeout_config(timeouts).load().await;
    let s3 = aws_sdk_s3::config::Builder::from(&aws).force_path_style(config.s3_path_style).build();
    let api = DataApi::new(aws_sdk_redshiftdata::Client::new(&aws), config.warehouse);
    let objects = S3::new(aws_sdk_s3::Client::from_conf(s3));
    let queues = Sqs::new(aws_sdk_sqs::Client::new(&aws));
    let meter = config.metrics.as_deref().map(Meter::to_stdout);
    let tracer = traces(config.traces, config.errors.environment)?;
    let loader = Loader::new(api, objects, config.apply).traced(tracer.clone());
    let handler = Handler::new(loader, queues).measured_by(meter).traced(tracer.clone());

    let (handler, tracer) = (&handler, &tracer);
    let invocation = service_fn(async |event: LambdaEvent<SqsEvent>| {
        let deadline = Deadline::at(event.context.deadline());
        let response = handler.handle(event.payload, deadline).await;
        if let Some(flush) = &flush {
            // What is not sent before the answer waits until the function is thawed.
            flush.wait(REPORT_PATIENCE).await;
        }
        tracer.flush(REPORT_PATIENCE).await;
        Ok::<_, Infallible>(response)
    });
    lambda_runtime::run(invocation)
        .await
        .map_err(anyhow::Error::from_boxed)
        .context("the Lambda runtime ended")
}

/// Where spans are handed in; the one that takes none unless somebody wants traces.
fn traces(collector: Option<Collector>, environment: String) -> anyhow::Result<Tracer> {
    let Some(collector) = collector else { return Ok(Tracer::default()) };
    let service = Service { name: "re_dms_loader", version: env!("CARGO_PKG_VERSION"), environment };
    let (tracer, exporter) = traces::to(collector, service)?;
    tokio::spawn(exporter.run());
    Ok(tracer)
}

/// One JSON object a line; CloudWatch adds the time. Errors become reports, if there is somebody to report to.
fn log(config: &Result<Config, ConfigError>) -> anyhow::Result<Option<Flush>> {
    let filter = config.as_ref().map_or("info", |config| &config.log);
    let filter: Targets = filter.parse().unwrap_or_default();
    let reports = match config {
        Ok(config) if !config.errors.services.is_empty() => {
            let about = About {
                environment: config.errors.environment.clone(),
                release: concat!("re_dms_loader@", env!("CARGO_PKG_VERSION")).to_owned(),
                stream: None,
            };
            Some(reports::to(config.errors.services.clone(), about)?)
        }
        _ => None,
    };
    let (layer, flush) = match reports {
        Some((layer, reporter, flush)) => {
            tokio::spawn(reporter.run(|| ()));
            (Some(layer), Some(flush))
        }
        None => (None, None),
    };
    let lines = Lines::Json { stream: None, timed: false };
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).event_format(lines);
    tracing_subscriber::registry().with(filter).with(KeepFields).with(lines).with(layer).init();
    panics::log_them();
    Ok(flush)
}
