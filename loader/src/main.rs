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
use re_dms_loader::config::Config;
use re_dms_loader::data_api::DataApi;
use re_dms_loader::deadline::Deadline;
use re_dms_loader::handler::Handler;
use re_dms_loader::objects::S3;
use re_dms_loader::queues::Sqs;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// For a connection to any of AWS's services.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// For the beginning of an answer: longer than the longest wait that the Data API is asked for.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_env(|variable| std::env::var(variable).ok());
    log_to_stdout(config.as_ref().map_or("info", |config| &config.log));
    let config = config.inspect_err(|error| tracing::error!(%error, "the settings are wrong"))?;

    // Without a limit, a connection that went silent would use up the whole invocation.
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build();
    let aws = aws_config::from_env().timeout_config(timeouts).load().await;
    let s3 = aws_sdk_s3::config::Builder::from(&aws).force_path_style(config.s3_path_style).build();
    let api = DataApi::new(aws_sdk_redshiftdata::Client::new(&aws), config.warehouse);
    let objects = S3::new(aws_sdk_s3::Client::from_conf(s3));
    let queues = Sqs::new(aws_sdk_sqs::Client::new(&aws));
    let handler = Handler::new(Loader::new(api, objects, config.apply), queues);

    let handler = &handler;
    let invocation = service_fn(async |event: LambdaEvent<SqsEvent>| {
        let deadline = Deadline::at(event.context.deadline());
        Ok::<_, Infallible>(handler.handle(event.payload, deadline).await)
    });
    lambda_runtime::run(invocation)
        .await
        .map_err(anyhow::Error::from_boxed)
        .context("the Lambda runtime ended")
}

/// One JSON object a line; CloudWatch adds the time.
fn log_to_stdout(filter: &str) {
    let filter: Targets = filter.parse().unwrap_or_default();
    let format = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(true);
    tracing_subscriber::registry().with(filter).with(format.without_time()).init();
}
