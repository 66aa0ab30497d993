//! The local AWS: ministack, one process that is S3, SQS and Lambda with its event-source mappings.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::error::{Error, Part, Result};
use crate::processes::{Launch, OWNER_VARIABLE, Process};
use crate::state::Folder;
use crate::{health, places, ports};

/// The region of everything in a sandbox.
pub const REGION: &str = "us-east-1";

const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running ministack.
#[derive(Clone, Copy, Debug)]
pub struct Ministack {
    /// Its process.
    pub process: Process,
    /// Its port.
    pub port: u16,
}

/// Where it is reached.
#[must_use]
pub fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Starts it on the port that it had before, if that is free, and waits until it answers. Objects and queues come back as
/// they were at the last clean stop; after a kill they are gone.
///
/// # Errors
/// It is not installed or does not come up; nothing is left running.
pub async fn start(folder: &Folder, earlier_port: Option<u16>) -> Result<Ministack> {
    let program = places::venv_program("ministack")?;
    let port = ports::free_preferably(earlier_port)?;
    let data = folder.aws_data();
    let (objects, state, temporary) = (data.join("s3"), data.join("state"), data.join("tmp"));
    for path in [&objects, &state, &temporary] {
        fs::create_dir_all(path).map_err(Error::file("could not make", path))?;
    }
    let log = folder.log(Part::Aws);
    let environment = [
        // Its own default is to listen to the whole network.
        ("BIND_HOST", "127.0.0.1".to_owned()),
        ("GATEWAY_PORT", port.to_string()),
        ("MINISTACK_REGION", REGION.to_owned()),
        ("S3_PERSIST", "1".to_owned()),
        ("S3_DATA_DIR", objects.display().to_string()),
        ("PERSIST_STATE", "1".to_owned()),
        ("STATE_DIR", state.display().to_string()),
        // Unpacked functions lie there.
        ("TMPDIR", temporary.display().to_string()),
        ("PYTHONUNBUFFERED", "1".to_owned()),
        (OWNER_VARIABLE, folder.root().display().to_string()),
    ];
    let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let process =
        Launch { program, arguments: vec![], environment, log: log.clone(), account: None }.start()?;
    let guard = process.stop_on_drop(Signal::TERM);
    let deadline = Instant::now() + READY_WITHIN;
    while !health::answers(port, "/_ministack/health").await {
        let message = if !process.is_alive() {
            "ministack ended while it was starting".to_owned()
        } else if Instant::now() > deadline {
            format!("ministack did not answer within {} s", READY_WITHIN.as_secs())
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        stop(process).await;
        return Err(Error::Part { part: Part::Aws, message, log: Some(log) });
    }
    guard.release();
    Ok(Ministack { process, port })
}

/// Stops it; it stops its functions and saves its state.
pub async fn stop(process: Process) {
    process.stop(Signal::TERM, Duration::from_secs(20)).await;
}
