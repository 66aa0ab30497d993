//! Doing what a history's disturbances say to a sandbox.

use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use re_dms_tests::history::Disturbance;
use re_dms_tests::{Aws, Sandbox, Signal, kill, loader_pids, signal, wait_for_end};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A sandbox, and what is wrong with it now.
pub(super) struct Disturber {
    pub(super) sandbox: Sandbox,
    aws: Aws,
    calm: bool,
    /// Nobody but a disturbance ends the capture.
    capture_runs: bool,
    thawing: Option<JoinHandle<Result<()>>>,
}

impl Disturber {
    pub(super) async fn new(sandbox: Sandbox, calm: bool) -> Result<Self> {
        let aws = Aws::of(&sandbox).await?;
        Ok(Self { sandbox, aws, calm, capture_runs: true, thawing: None })
    }

    /// Returns whether connections to the source are lost.
    pub(super) async fn disturb(&mut self, disturbance: &Disturbance) -> Result<bool> {
        if self.calm {
            return Ok(matches!(disturbance, Disturbance::RestartSource { .. }));
        }
        self.calm_down()?;
        match disturbance {
            Disturbance::KillCapture { lose_disk } => {
                self.sandbox.kill_capture()?;
                self.capture_runs = false;
                let folder = self.sandbox.capture_data_dir()?;
                if *lose_disk && folder.exists() {
                    std::fs::remove_dir_all(folder)?;
                }
            }
            Disturbance::EndCapture if self.capture_runs => {
                let pid = self.sandbox.pid("capture")?;
                signal(pid, Signal::TERM)?;
                self.capture_runs = false;
                wait_for_end(pid)?;
            }
            Disturbance::EndCapture => {}
            Disturbance::StartCapture => self.start_what_is_down()?,
            Disturbance::CutConnection => {
                let cut = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active";
                self.sandbox.source().await?.batch_execute(cut).await?;
            }
            Disturbance::RestartSource { immediate } => {
                let pid = self.sandbox.pid("source")?;
                signal(pid, if *immediate { Signal::QUIT } else { Signal::INT })?;
                wait_for_end(pid)?;
                self.start_what_is_down()?;
                return Ok(true);
            }
            Disturbance::KillLoader => loader_pids(self.sandbox.pid("aws")?).into_iter().for_each(kill),
            Disturbance::HoldDeliveries => self.aws.deliver(false).await?,
            Disturbance::Deliver => self.aws.deliver(true).await?,
            Disturbance::FreezeAws { millis } => {
                let (pid, millis) = (self.sandbox.pid("aws")?, *millis);
                signal(pid, Signal::STOP)?;
                self.thawing = Some(std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(millis));
                    signal(pid, Signal::CONT)
                }));
            }
            Disturbance::WarehouseFaults(settings) => self.set_faults(settings).await?,
        }
        Ok(false)
    }

    /// What goes wrong for a while is over, and the capture has not ended by itself.
    pub(super) fn calm_down(&mut self) -> Result<()> {
        if let Some(thawing) = self.thawing.take() {
            thawing.join().map_err(|_| anyhow::anyhow!("the thread that thaws panicked"))??;
        }
        if self.capture_runs {
            ensure!(self.sandbox.runs("capture")?, "the capture has ended:\n{}", self.sandbox.capture_log());
        }
        Ok(())
    }

    fn start_what_is_down(&mut self) -> Result<()> {
        self.sandbox.up_again()?;
        self.capture_runs = true;
        Ok(())
    }

    /// One plain request; the stand-in closes the connection after its answer.
    async fn set_faults(&self, settings: &str) -> Result<()> {
        let endpoint = self.sandbox.text("redshift_data_endpoint")?.trim_start_matches("http://");
        let mut stream = TcpStream::connect(endpoint).await?;
        let request = format!(
            "POST /_standin/faults HTTP/1.1\r\nHost: {endpoint}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{settings}",
            settings.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        ensure!(answer.starts_with("HTTP/1.1 2"), "the stand-in does not take its faults: {answer}");
        Ok(())
    }
}

impl Drop for Disturber {
    fn drop(&mut self) {
        // A sandbox is not taken down while a part of it is frozen.
        if let Some(thawing) = self.thawing.take() {
            let _ = thawing.join();
        }
    }
}
