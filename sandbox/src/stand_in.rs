//! The Redshift stand-in as a part of the sandbox: its config file, its start, its end.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Map, Value};

use crate::error::{Error, Part, Result};
use crate::ministack::REGION;
use crate::processes::{Launch, OWNER_VARIABLE, Process};
use crate::redshift::WireConfig;
use crate::state::{Folder, State};
use crate::{health, places};

/// Who may come in by PostgreSQL's protocol.
const USER: &str = "awsuser";
const PASSWORD: &str = "sandbox";

/// Where clients of PostgreSQL's protocol find it.
#[must_use]
pub fn url(wire_port: u16, database: &str) -> String {
    format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{wire_port}/{database}")
}

const READY_WITHIN: Duration = Duration::from_secs(30);

/// Writes where it listens, what it stands before and where its S3 is; other settings that somebody put there stay.
/// Returns whether anything changed.
///
/// # Errors
/// The file can't be used.
pub fn configure(folder: &Folder, state: &State, port: u16, wire_port: u16) -> Result<bool> {
    let path = folder.redshift_config();
    let before = fs::read(&path).unwrap_or_default();
    let mut config: Map<String, Value> = serde_json::from_slice(&before).unwrap_or_default();
    config.insert("listen".into(), format!("127.0.0.1:{port}").into());
    config.insert("warehouse_url".into(), state.warehouse_url.as_str().into());
    config.insert("aws_endpoint".into(), state.aws_endpoint.as_str().into());
    config.insert("region".into(), REGION.into());
    let wire = WireConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, wire_port)),
        user: USER.to_owned(),
        password: PASSWORD.to_owned(),
    };
    config.insert("wire".into(), serde_json::to_value(wire).unwrap_or_default());
    let after = format!("{:#}\n", Value::Object(config)).into_bytes();
    let changed = before != after;
    if changed {
        fs::write(&path, after).map_err(Error::file("could not write", &path))?;
    }
    Ok(changed)
}

/// Starts it and waits until it answers.
///
/// # Errors
/// It does not come up; nothing is left running.
pub async fn start(folder: &Folder, port: u16) -> Result<Process> {
    let log = folder.log(Part::Redshift);
    let launch = Launch {
        program: places::program("sandbox")?,
        arguments: vec!["redshift".into(), "--config".into(), folder.redshift_config().display().to_string()],
        environment: vec![(OWNER_VARIABLE.into(), folder.root().display().to_string())],
        log: log.clone(),
        account: None,
    };
    let process = launch.start()?;
    let guard = process.stop_on_drop(Signal::TERM);
    let deadline = Instant::now() + READY_WITHIN;
    while !health::answers(port, "/health").await {
        let message = if !process.is_alive() {
            "the stand-in ended while it was starting".to_owned()
        } else if Instant::now() > deadline {
            format!("the stand-in did not answer within {} s", READY_WITHIN.as_secs())
        } else {
            tokio::time::sleep(Duration::from_millis(30)).await;
            continue;
        };
        stop(process).await;
        return Err(Error::Part { part: Part::Redshift, message, log: Some(log) });
    }
    guard.release();
    Ok(process)
}

/// Stops it.
pub async fn stop(process: Process) {
    process.stop(Signal::TERM, Duration::from_secs(10)).await;
}
