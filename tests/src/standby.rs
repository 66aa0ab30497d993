//! A physical standby of the sandbox's source, and what becomes of it when the source dies.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::{Client, NoTls};

use crate::Sandbox;

/// A server of the test's own, stopped when it goes out of scope.
pub struct Standby {
    programs: PathBuf,
    data: PathBuf,
    log: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Standby {
    /// Copies the data of a server that is stopped: a standby, to be started when its primary, on `primary_port`, runs
    /// again (else its slot synchronization waits a minute). `slot` is the physical slot that the primary keeps for it.
    pub fn of_stopped(sandbox: &Sandbox, primary: &Path, primary_port: u16, slot: &str) -> Result<Self> {
        let folder = sandbox.source_folder()?.with_extension(slot);
        let data = folder.join("data");
        let copied = Command::new("sh")
            .args(["-euc", "mkdir \"$2\"; chown --reference=\"$1\" \"$2\"; cp -a \"$1\" \"$2/data\"; rm -rf \"$2\"/data/pg_replslot/*", "sh"])
            .args([primary, &folder])
            .status()?;
        ensure!(copied.success(), "the primary's data could not be copied");
        fs::write(data.join("standby.signal"), "")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let settings = format!(
            "primary_conninfo = 'host=127.0.0.1 port={primary_port} user=postgres dbname=app'\n\
             primary_slot_name = '{slot}'\nhot_standby_feedback = on\nsync_replication_slots = on\n"
        );
        fs::write(data.join("postgresql.auto.conf"), settings)?;
        let programs = PathBuf::from(sandbox.text("source_programs")?);
        let log = folder.join("log");
        Ok(Self { programs, data, log, port, process: None })
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Starts it on another port than its own.
    pub fn start_on(&mut self, port: u16) -> Result<()> {
        self.port = port;
        self.start()
    }

    /// Starts it.
    pub fn start(&mut self) -> Result<()> {
        let owner = fs::metadata(&self.data)?;
        let log = fs::File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(self.programs.join("postgres"));
        command.arg("-D").arg(&self.data).args(["-p", &self.port.to_string(), "-k", ""]);
        command.current_dir("/").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if rustix::process::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        self.process = Some(command.spawn()?);
        Ok(())
    }

    /// A superuser's connection, once it answers.
    pub async fn connect(&self) -> Result<Client> {
        let url = format!("postgres://postgres@127.0.0.1:{}/app", self.port);
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match tokio_postgres::connect(&url, NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return Ok(client);
                }
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| self.said());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Waits until it has a copy of the slot that outlives a promotion. `primary` is where the slot is.
    pub async fn has_slot(&self, primary: &Client, slot: &str) -> Result<()> {
        let own = self.connect().await?;
        let sql =
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND synced AND NOT temporary";
        let deadline = Instant::now() + Duration::from_secs(90);
        while own.query_one(sql, &[&slot]).await?.get::<_, i64>(0) == 0 {
            ensure!(Instant::now() < deadline, "the slot is not on the standby:\n{}", self.said());
            primary.batch_execute("SELECT pg_log_standby_snapshot()").await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Stops it in order.
    pub fn stop(&mut self) -> Result<()> {
        self.end(Signal::INT)
    }

    /// Its end without warning.
    pub fn crash(&mut self) -> Result<()> {
        self.end(Signal::QUIT)
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            kill_process(Pid::from_child(&process), signal)?;
            process.wait()?;
        }
        Ok(())
    }

    /// The end of its log.
    #[must_use]
    pub fn said(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let _ = self.crash();
    }
}
