//! A part of the capture that hangs is told from one that waits, and from idleness: parts are stopped for real.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use re_dms_tests::{Sandbox, Signal, signal, wait_for_end};
use serde_json::Value;

use crate::metrics::get;

/// Stops threads of a process by ptrace, for as long as it lives.
const HANG: &str = include_str!("hang_threads.py");

/// Threads that do not get on.
struct Hanging(Child);

impl Hanging {
    /// Threads of the process whose name begins so.
    fn stop(pid: u32, name: &str) -> Result<Self> {
        let mut child = Command::new("python3")
            .args(["-c", HANG, &pid.to_string(), name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("its output")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
        ensure!(line.starts_with("stopped"), "the thread {name} can't be stopped: {line}");
        Ok(Self(child))
    }

    fn go_on(mut self) -> Result<()> {
        self.0.stdin.take().context("its input")?.write_all(b"\n")?;
        ensure!(self.0.wait()?.success());
        Ok(())
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !holds().await? {
        if started.elapsed() > Duration::from_secs(90) {
            bail!("it never came to this: {what}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// A field of the status that is a text as long as something is wrong.
fn told(sandbox: &Sandbox, field: &str) -> Result<Option<String>> {
    let status: Value = sandbox.capture_status()?;
    Ok(status[field].as_str().map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hangs_is_told_from_what_waits_and_from_idleness() -> Result<()> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut sandbox = Sandbox::up_with(&format!(
        "batch.interval = \"300ms\"\n[watchdog]\npatience = \"4s\"\n[metrics]\nprometheus_listen = \"127.0.0.1:{port}\"\n"
    ))?;
    // The supervisor's socket.
    let folder = sandbox.capture_data_dir()?;
    let socket = UnixDatagram::bind(folder.join("notify"))?;
    socket.set_nonblocking(true)?;
    sandbox.restart_capture_with(&[
        ("NOTIFY_SOCKET", &folder.join("notify").display().to_string()),
        ("WATCHDOG_USEC", "600000"),
    ])?;
    // Whether a sign of life came within a second, of those that are sent from now on.
    let lives = async || -> Result<bool> {
        let mut bytes = [0; 500];
        while socket.recv(&mut bytes).is_ok() {}
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut lives = false;
        while let Ok(length) = socket.recv(&mut bytes) {
            lives |= bytes[..length].starts_with(b"WATCHDOG=1");
        }
        Ok(lives)
    };
    let source = sandbox.source().await?;
    source.batch_execute("CREATE TABLE t (id serial PRIMARY KEY, v text)").await?;
    let write =
        async || source.batch_execute("INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 50)").await;
    write().await?;
    sandbox.wait_and_compare()?;

    // Idle for longer than the patience is no stall.
    tokio::time::sleep(Duration::from_secs(6)).await;
    ensure!(told(&sandbox, "stalled")?.is_none() && told(&sandbox, "waits")?.is_none());
    ensure!(get(port, "/healthz").await?.0 == 200 && get(port, "/readyz").await?.0 == 200 && lives().await?);

    // Threads of the pipeline that hang while the source moves.
    let pid = sandbox.pid("capture")?;
    for (thread, part) in [("collector", "the collector has"), ("local-wal", "the local WAL has")] {
        let hanging = Hanging::stop(pid, thread)?;
        until(part, async || {
            write().await?;
            Ok(told(&sandbox, "stalled")?.is_some_and(|text| text.contains(part) && text.contains("hint: ")))
        })
        .await?;
        for path in ["/healthz", "/readyz"] {
            let (code, text) = get(port, path).await?;
            ensure!(code == 503 && text.contains(part), "{path} says {code}: {text}");
        }
        ensure!(get(port, "/metrics").await?.1.contains("re_dms_stalled{stream=\"main\"} 1"));
        ensure!(!lives().await?, "the supervisor is told that it lives");
        hanging.go_on()?;
        until("it goes on", async || Ok(told(&sandbox, "stalled")?.is_none() && lives().await?)).await?;
        ensure!(get(port, "/healthz").await?.0 == 200);
    }
    sandbox.wait_and_compare()?;

    // All of the runtime: nobody answers, and the supervisor hears nothing.
    let hanging = Hanging::stop(pid, "tokio-")?;
    let asked = tokio::time::timeout(Duration::from_secs(2), get(port, "/healthz")).await;
    ensure!(!matches!(asked, Ok(Ok((200, _)))), "somebody answers");
    ensure!(!lives().await?);
    hanging.go_on()?;
    until("it lives", async || lives().await).await?;

    // S3 that does not answer: waited for, and no stall.
    let aws = sandbox.pid("aws")?;
    signal(aws, Signal::STOP)?;
    until("S3 is waited for", async || {
        write().await?;
        Ok(told(&sandbox, "waits")?.is_some_and(|text| text.contains("the stager has waited for S3")))
    })
    .await?;
    ensure!(told(&sandbox, "stalled")?.is_none() && get(port, "/healthz").await?.0 == 200 && lives().await?);
    signal(aws, Signal::CONT)?;
    until("S3 answers", async || Ok(told(&sandbox, "waits")?.is_none())).await?;

    // A WAL sender that is stopped: the source moves, and sends nothing.
    let sender: i32 =
        source.query_one("SELECT active_pid FROM pg_replication_slots WHERE active", &[]).await?.get(0);
    let sender = u32::try_from(sender)?;
    signal(sender, Signal::STOP)?;
    until("the source is silent", async || {
        write().await?;
        Ok(told(&sandbox, "waits")?.is_some_and(|text| text.contains("nothing came behind")))
    })
    .await?;
    ensure!(told(&sandbox, "stalled")?.is_none() && get(port, "/healthz").await?.0 == 200 && lives().await?);
    signal(sender, Signal::CONT)?;
    sandbox.wait_and_compare()?;
    signal(pid, Signal::TERM)?;
    wait_for_end(pid)
}
