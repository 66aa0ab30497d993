//! `re_dms tables`: what is quarantined, from `status.json`, and the request to end it, through the segment queue.

use std::time::{Duration, Instant};

use re_dms_shared::message::{TableAction, TableRequest};
use re_dms_shared::status::CaptureStatus;
use re_dms_shared::table_log::{QuarantinedTable, Resync};

use crate::aws::{self, Queues};
use crate::config::Config;
use crate::error::{Error, Result, Who};

/// How often the status is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The stream's quarantined tables, for people or as JSON.
///
/// # Errors
/// If there is no status of the stream.
pub fn list(config: &Config, json: bool) -> Result<String> {
    let status = status(config)?;
    let tables = &status.quarantined;
    if json {
        return serde_json::to_string_pretty(tables).map_err(|error| {
            Error::fatal(Who::Machine, format!("the list can't be written: {error}"), "report this as a bug")
        });
    }
    let lines: Vec<_> = tables
        .iter()
        .map(|table| {
            let (name, since, reason, hint) = (&table.table, table.since_seq, &table.reason, &table.hint);
            let what = match table {
                QuarantinedTable { resync: Some(Resync::Reading), .. } => "read anew",
                QuarantinedTable { resync: Some(Resync::Loading), .. } => "read anew, and being loaded,",
                QuarantinedTable { paused: true, .. } => "paused",
                QuarantinedTable { held: true, .. } => "held",
                _ => "skipped",
            };
            format!("{name}  {what} since segment {since}\n  {reason}\n  hint: {hint}")
        })
        .collect();
    let resyncs =
        status.resyncs.iter().map(|resync| format!("{}  is to be read anew, or being read", resync.table));
    let lines: Vec<_> = lines.into_iter().chain(resyncs).collect();
    Ok(if lines.is_empty() { "no table is quarantined".to_owned() } else { lines.join("\n") })
}

/// Asks the loader to let a table stand still, and waits until it does.
///
/// # Errors
/// If it waits already, can't be asked for, or takes longer.
pub async fn pause(config: &Config, table: &str, timeout: Duration) -> Result<()> {
    let before = status(config)?;
    if is_quarantined(&before, table) {
        let hint = "`re_dms tables list` says why";
        return Err(Error::fatal(Who::Loader, format!("{table} stands still already"), hint));
    }
    if !table.contains('.') {
        let hint = "names are Redshift's, with their schema: public.orders";
        return Err(Error::fatal(Who::Loader, format!("{table} has no schema"), hint));
    }
    send(config, &before, TableAction::Pause, table).await?;
    let started = Instant::now();
    while started.elapsed() < timeout {
        tokio::time::sleep(LOOK).await;
        if is_quarantined(&status(config)?, table) {
            return Ok(());
        }
    }
    Err(Error::fatal(
        Who::Loader,
        format!("{table} does not stand still after {} s", timeout.as_secs()),
        "the request waits in the queue: `re_dms tables list` tells when it is done; is the capture running?",
    ))
}

async fn send(config: &Config, status: &CaptureStatus, action: TableAction, table: &str) -> Result<()> {
    let sdk = aws::sdk_config(&config.aws).await;
    let (stream, acks_url) = (&config.stream, &config.queues.acks_url);
    let request = TableRequest::new(action, stream, &status.epoch, table, acks_url);
    Queues::new(&sdk, &config.queues).request(&request).await
}

/// Asks the loader to load what was skipped of a table, and waits until it is loaded again. With
/// [`TableAction::Approve`] changes of its definition that are held are done, too.
///
/// # Errors
/// If it is not quarantined, can't be asked for, still can't be loaded, or takes longer.
pub async fn resume(config: &Config, action: TableAction, table: &str, timeout: Duration) -> Result<()> {
    let before = status(config)?;
    let Some(found) = before.quarantined.iter().find(|found| found.table == table) else {
        let hint = "`re_dms tables list` names those that are; names are Redshift's, with their schema";
        return Err(Error::fatal(Who::Loader, format!("{table} is not quarantined"), hint));
    };
    if found.held && action == TableAction::Resume {
        let hint = format!("look at it with `re_dms plan`, then `re_dms tables approve {table}`");
        return Err(Error::fatal(Who::Loader, format!("{table} is held: a change waits for approval"), hint));
    }
    if found.resync == Some(Resync::Reading) {
        let hint = "it comes back by itself; `re_dms tables list` shows how far it is";
        return Err(Error::fatal(Who::Loader, format!("{table} is being read anew"), hint));
    }
    send(config, &before, action, table).await?;
    let started = Instant::now();
    while started.elapsed() < timeout {
        tokio::time::sleep(LOOK).await;
        let now = status(config)?;
        if !is_quarantined(&now, table) {
            return Ok(());
        }
        if let Some(failed) = now.resume_error.filter(|failed| before.resume_error.as_ref() != Some(failed)) {
            return Err(Error::fatal(
                Who::Loader,
                format!("{table} stays quarantined: {}", failed.error),
                "remedy it and ask again",
            ));
        }
    }
    Err(Error::fatal(
        Who::Loader,
        format!("{table} is still quarantined after {} s", timeout.as_secs()),
        "the request waits in the queue or is worked at: `re_dms tables list` tells when it is done; is the capture running?",
    ))
}

fn is_quarantined(status: &CaptureStatus, table: &str) -> bool {
    status.quarantined.iter().any(|quarantined| quarantined.table == table)
}

pub(crate) fn status(config: &Config) -> Result<CaptureStatus> {
    let path = config.data_dir.join("status.json");
    let unreadable = |what: String| {
        let hint = "run this where the capture runs, with its config, as a user that may read data_dir";
        Error::fatal(Who::Machine, format!("{}: {what}", path.display()), hint)
    };
    let json = std::fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
    serde_json::from_slice(&json).map_err(|error| unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(data_dir: &std::path::Path) -> Config {
        let toml = format!(
            "stream = \"main\"\ndata_dir = \"{}\"\nsource.url = \"postgres://u@h/d\"\ns3.bucket = \"bucket\"\n\
             queues = {{ segments_url = \"http://h/1/s.fifo\", acks_url = \"http://h/1/a\" }}\n",
            data_dir.display()
        );
        let path = data_dir.join("main.toml");
        std::fs::write(&path, toml).unwrap();
        Config::load(&path).unwrap()
    }

    #[tokio::test]
    async fn the_list_tells_reason_and_hint_and_others_cannot_be_resumed() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        assert!(list(&config, false).unwrap_err().to_string().contains("hint:"));
        let status = r#"{"format":1,"stream":"main","epoch":"E","quarantined":[{"table":"public.t",
            "since_epoch":"E","since_seq":7,"reason":"it is odd","hint":"mend it"}]}"#;
        std::fs::write(folder.path().join("status.json"), status).unwrap();
        assert_eq!(
            list(&config, false).unwrap(),
            "public.t  skipped since segment 7\n  it is odd\n  hint: mend it"
        );
        assert!(list(&config, true).unwrap().contains("\"since_seq\": 7"));
        let error = resume(&config, TableAction::Resume, "public.T", Duration::ZERO).await.unwrap_err();
        assert!(error.to_string().contains("public.T is not quarantined"), "{error}");
    }
}
