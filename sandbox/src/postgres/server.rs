//! One server: `initdb`, start, ready, fast shutdown.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio_postgres::NoTls;

use super::PostgresBinaries;
use crate::error::{Error, Part, Result};
use crate::ports;
use crate::processes::{Launch, Process};

/// A new database has every extension's and template's files to write: generous, for slow and busy machines.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The longest path of a Unix socket's folder that leaves room for the socket's name.
const LONGEST_SOCKET_FOLDER: usize = 80;

/// What a server should be like.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Whose errors its errors are.
    pub part: Part,
    /// The folder of its data, in one that its account may enter; made if it is not there.
    pub folder: PathBuf,
    /// The port that it had before, kept if possible.
    pub port: Option<u16>,
    /// Its one database, made if it is not there.
    pub database: String,
    /// Lines of `postgresql.conf` beyond the sandbox's own.
    pub settings: Vec<(String, String)>,
    /// Its log, appended.
    pub log: PathBuf,
}

/// A running server that listens on 127.0.0.1 and trusts everybody there. It goes on running when this is dropped; a test
/// holds [`Process::stop_on_drop`].
#[derive(Clone, Debug)]
pub struct PostgresServer {
    /// The postmaster.
    pub process: Process,
    /// Its port.
    pub port: u16,
    database: String,
}

impl PostgresServer {
    /// Starts a server, after making its data where there are none, and waits until it answers.
    ///
    /// # Errors
    /// It does not come up; nothing is left running.
    pub async fn init_and_start(binaries: &PostgresBinaries, options: &PostgresOptions) -> Result<Self> {
        let data = options.folder.join("data");
        if !data.join("PG_VERSION").exists() {
            initialize(binaries, options, &data).await?;
        }
        // Its processes outlive a killed postmaster for a moment, and while they do no other starts.
        let was_killed = data.join("postmaster.pid").exists();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let port = ports::free_preferably(options.port)?;
            match Self::start(binaries, options, &data, port).await {
                // Between choosing a port and listening on it another program may take it.
                Err(_) if attempts < 3 && !ports::is_free(port) => {}
                Err(_) if attempts < 10 && was_killed => tokio::time::sleep(Duration::from_millis(500)).await,
                outcome => return outcome,
            }
        }
    }

    async fn start(
        binaries: &PostgresBinaries,
        options: &PostgresOptions,
        data: &Path,
        port: u16,
    ) -> Result<Self> {
        write_settings(binaries, options, data, port)?;
        let launch = Launch {
            program: binaries.program("postgres"),
            arguments: vec!["-D".into(), data.display().to_string()],
            environment: Vec::new(),
            log: options.log.clone(),
            account: binaries.account().switch_to(),
        };
        let process = launch.start()?;
        let guard = process.stop_on_drop(Signal::INT);
        let server = Self { process, port, database: options.database.clone() };
        let outcome = server.become_ready(options).await;
        if outcome.is_err() {
            server.stop().await;
        }
        guard.release();
        outcome.map(|()| server)
    }

    async fn become_ready(&self, options: &PostgresOptions) -> Result<()> {
        let failed =
            |message: String| Error::Part { part: options.part, message, log: Some(options.log.clone()) };
        let deadline = Instant::now() + READY_WITHIN;
        let client = loop {
            match tokio_postgres::connect(&self.url_of("postgres"), NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    break client;
                }
                Err(_) if !self.process.is_alive() => {
                    return Err(failed("PostgreSQL ended while it was starting".into()));
                }
                Err(error) if Instant::now() > deadline => {
                    return Err(failed(format!(
                        "PostgreSQL did not answer within {} s: {error}",
                        READY_WITHIN.as_secs()
                    )));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(30)).await,
            }
        };
        let database_error = Error::database(options.part);
        let known = "SELECT 1 FROM pg_database WHERE datname = $1";
        if client.query_opt(known, &[&self.database]).await.map_err(&database_error)?.is_none() {
            let name = self.database.replace('"', "\"\"");
            client.batch_execute(&format!("CREATE DATABASE \"{name}\"")).await.map_err(&database_error)?;
        }
        Ok(())
    }

    /// A server that runs already.
    #[must_use]
    pub fn running(process: Process, port: u16, database: &str) -> Self {
        Self { process, port, database: database.to_owned() }
    }

    /// The URL of its database for its superuser.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(&self.database)
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Fast shutdown: open transactions are rolled back, a checkpoint is written, and logical replication gets all that
    /// was committed.
    pub async fn stop(&self) {
        stop(self.process).await;
    }
}

/// As [`PostgresServer::stop`], of a server that is known by its process alone.
pub(crate) async fn stop(process: Process) {
    process.signal(Signal::INT);
    let deadline = Instant::now() + Duration::from_secs(20);
    while process.is_alive() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Immediate shutdown: its backends go with it, which they would not at once after SIGKILL.
    process.stop(Signal::QUIT, Duration::from_secs(10)).await;
}

async fn initialize(binaries: &PostgresBinaries, options: &PostgresOptions, data: &Path) -> Result<()> {
    let account = binaries.account();
    account.own_folder(&options.folder)?;
    // What an interrupted attempt left.
    if data.exists() {
        fs::remove_dir_all(data).map_err(Error::file("could not remove", data))?;
    }
    let mut command = tokio::process::Command::from(account.command(&binaries.program("initdb")));
    command.arg("-D").arg(data).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]);
    command.args(["--no-sync", "--no-instructions"]);
    let output = command.kill_on_drop(true).output().await;
    let output = output.map_err(Error::file("could not start", &binaries.program("initdb")))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Part { part: options.part, message: format!("initdb failed: {words}"), log: None })
}

/// The sandbox's own settings, in a file of their own that `postgresql.conf` includes, so that `postgres -D` is all that
/// it takes to start the server by hand.
fn write_settings(
    binaries: &PostgresBinaries,
    options: &PostgresOptions,
    data: &Path,
    port: u16,
) -> Result<()> {
    let socket_folder = options.folder.display().to_string();
    // Without a socket it listens on TCP alone.
    let socket_folder =
        if socket_folder.len() <= LONGEST_SOCKET_FOLDER { socket_folder } else { String::new() };
    let own = [
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
        ("unix_socket_directories", socket_folder),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    let lines: String = own
        .chain(options.settings.iter().cloned())
        .map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''")))
        .collect();
    let path = data.join("sandbox.conf");
    fs::write(&path, lines).map_err(Error::file("could not write", &path))?;
    binaries.account().give(&path)?;
    let main = data.join("postgresql.conf");
    let text = fs::read_to_string(&main).map_err(Error::file("could not read", &main))?;
    let include = "include_if_exists = 'sandbox.conf'";
    if !text.contains(include) {
        fs::write(&main, format!("{text}\n{include}\n")).map_err(Error::file("could not write", &main))?;
    }
    Ok(())
}
