//! Asking for it: `re_dms verify`, from any machine that reaches the source and the bucket.

use std::time::{Duration, Instant};

use re_dms_shared::s3_layout::StreamLayout;

use super::messages::{Message, Run};
use super::report::Report;
use super::{new_id, result_key};
use crate::aws::{self, Objects};
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::source::Source;

/// How often the result is looked for.
const LOOK: Duration = Duration::from_millis(500);

/// Has the capture verify, and waits for the result no longer than this. The run's id is made here.
///
/// # Errors
/// If nobody can be asked, or it takes longer.
pub async fn verify(config: &Config, run: Run, timeout: Duration) -> Result<Report> {
    let with_schema =
        |name: &String| if name.contains('.') { name.clone() } else { format!("public.{name}") };
    let run = Run { id: new_id(), tables: run.tables.iter().map(with_schema).collect(), ..run };
    let sdk = aws::sdk_config(&config.aws).await;
    let objects = Objects::new(&sdk, &config.s3.bucket, config.aws.s3_path_style);
    let key = result_key(&StreamLayout::new(&config.s3.prefix, &config.stream), &run.id);
    let source = Source::connect(&config.source).await?;
    if source.is_standby().await? {
        let hint = "let source.url lead to the primary";
        return Err(Error::fatal(
            Who::Source,
            "the server is a standby: nothing can be asked for through its WAL",
            hint,
        ));
    }
    source.ask_to_verify(&Message { stream: config.stream.clone(), run: Some(run) }).await?;
    let started = Instant::now();
    while started.elapsed() < timeout {
        if let Some(json) = objects.get(&key).await? {
            // It may hold values, and nobody else asked for it.
            if let Err(error) = objects.delete(&key).await {
                tracing::debug!(%error, "the result stays on S3");
            }
            return serde_json::from_slice(&json).map_err(|error| {
                let what = format!("the result can't be understood: {error}");
                Error::fatal(Who::Stream, what, "is the capture newer than this program?")
            });
        }
        tokio::time::sleep(LOOK).await;
    }
    let what = format!("no result after {} s", timeout.as_secs());
    Err(Error::fatal(Who::Stream, what, "does the capture run? See its log; a longer --timeout waits longer"))
}
