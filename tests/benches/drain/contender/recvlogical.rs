//! PostgreSQL's own client.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Figures, Kind, Task};
use crate::server::PUBLICATION;
use crate::usage;

pub(super) fn drain(task: &Task) -> Result<Figures> {
    let mut command = Command::new(&task.recvlogical);
    command.args(["--start", "--no-loop", "--file", "/dev/null", "--dbname", &task.url]);
    command.args(["--slot", &task.slot, "--endpos", &task.end.to_string()]);
    let publication = format!("publication_names={PUBLICATION}");
    match task.kind {
        Kind::RecvlogicalStreaming => command.args(["-o", "proto_version=2", "-o", "streaming=on"]),
        _ => command.args(["-o", "proto_version=1"]),
    };
    command.args(["-o", &publication]).stdout(Stdio::null());
    let mut child =
        command.spawn().context("pg_recvlogical, which comes with PostgreSQL's client programs")?;
    let mut peak_rss = 0;
    let status = loop {
        peak_rss = re_dms_tests::peak_memory(child.id()).unwrap_or(peak_rss);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    ensure!(status.success(), "pg_recvlogical failed: {status}");
    Ok(Figures { cpu: usage::cpu_of_children()?, peak_rss, ..Figures::default() })
}
