//! `sandbox up`: starts what does not run, in the order of who needs whom.

use std::path::{Path, PathBuf};

use crate::capture_config::CaptureConfig;
use crate::deploy::{self, Deployment};
use crate::down::stop_part;
use crate::error::{Error, Part, Result};
use crate::postgres::{PostgresBinaries, PostgresOptions, PostgresServer, Wanted};
use crate::state::{Folder, State};
use crate::{capture, ministack, places, ports, stand_in};

/// The stand-in's second port, by its name among the ports.
const REDSHIFT_WIRE: &str = "redshift_wire";

/// What is asked for.
#[derive(Clone, Debug)]
pub struct UpOptions {
    /// The sandbox's folder.
    pub dir: PathBuf,
    /// PostgreSQL's programs for the source.
    pub pg_bin: Option<PathBuf>,
    /// A capture config to merge in.
    pub config: Option<PathBuf>,
}

/// Starts what does not run and returns when all is ready. If that fails, what was started is stopped again; data and logs
/// stay.
///
/// # Errors
/// Which part failed, with the end of its log.
pub async fn up(options: &UpOptions) -> Result<State> {
    let folder = Folder::make(&options.dir)?;
    let _held = folder.lock()?;
    let mut up = Up::prepare(folder, options)?;
    let outcome = tokio::select! {
        outcome = up.start_all(options) => outcome,
        () = interrupted() => Err(Error::Interrupted),
    };
    if outcome.is_err() {
        for part in std::mem::take(&mut up.started).into_iter().rev() {
            stop_part(&up.folder, &mut up.state, part).await;
        }
        up.state.save(&up.folder)?;
    }
    outcome.map(|()| up.state)
}

/// Ends at Ctrl-C or SIGTERM.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};

    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without handlers the signals end the process as they always do.
        _ => std::future::pending().await,
    }
}

struct Up {
    folder: Folder,
    state: State,
    /// What this call started, in order.
    started: Vec<Part>,
    source: PostgresBinaries,
    warehouse: PostgresBinaries,
    bootstrap: PathBuf,
}

impl Up {
    /// Finds all that is needed before anything is started.
    fn prepare(folder: Folder, options: &UpOptions) -> Result<Self> {
        let mut state = State::load(&folder)?.unwrap_or_default();
        let venv = places::venv();
        if let Some(chosen) = &options.pg_bin {
            state.pg_bin = Some(std::path::absolute(chosen).map_err(Error::file("could not find", chosen))?);
        }
        let source = PostgresBinaries::find(Wanted::Source, state.pg_bin.as_deref(), venv.as_deref())?;
        let warehouse = PostgresBinaries::find(Wanted::Warehouse, None, venv.as_deref())?;
        let bootstrap = places::program("bootstrap")?;
        places::program("re_dms")?;
        places::program("sandbox")?;
        places::venv_program("ministack")?;
        let logs = folder.logs();
        std::fs::create_dir_all(&logs).map_err(Error::file("could not make", &logs))?;
        if !state.postgres_folder.exists() || state.postgres_folder.as_os_str().is_empty() {
            state.postgres_folder = source.account().data_folder(folder.root())?;
        }
        state.source_programs = source.folder().to_owned();
        state.save(&folder)?;
        Ok(Self { folder, state, started: Vec::new(), source, warehouse, bootstrap })
    }

    async fn start_all(&mut self, options: &UpOptions) -> Result<()> {
        let aws_is_new = self.start_servers().await?;
        self.start_stand_in().await?;
        self.deploy(aws_is_new).await?;
        self.start_capture(options.config.as_deref()).await?;
        self.state.save(&self.folder)
    }

    /// The three that need nobody; says whether the local AWS is a new process.
    async fn start_servers(&mut self) -> Result<bool> {
        let source = self.postgres(Part::Source, &self.source, source_settings());
        let warehouse = self.postgres(Part::Warehouse, &self.warehouse, warehouse_settings());
        let aws_runs = self.state.running(Part::Aws).is_some();
        let aws = async {
            match aws_runs {
                true => Ok(None),
                false => ministack::start(&self.folder, self.state.port(Part::Aws)).await.map(Some),
            }
        };
        let (source, warehouse, aws) = tokio::join!(source, warehouse, aws);
        // All that came up are remembered before the first failure is looked at.
        let source = source.map(|(server, new)| self.took_up_postgres(Part::Source, &server, new));
        let warehouse = warehouse.map(|(server, new)| self.took_up_postgres(Part::Warehouse, &server, new));
        let aws = aws.map(|aws| {
            if let Some(aws) = aws {
                self.took_up(Part::Aws, aws.process, aws.port);
            }
        });
        self.state.save(&self.folder)?;
        self.state.source_url = source?;
        self.state.warehouse_url = warehouse?;
        aws?;
        self.state.aws_endpoint = ministack::endpoint(self.state.port(Part::Aws).unwrap_or_default());
        self.state.save(&self.folder)?;
        Ok(!aws_runs)
    }

    /// A server, and whether this call started it.
    async fn postgres(
        &self,
        part: Part,
        binaries: &PostgresBinaries,
        settings: Vec<(String, String)>,
    ) -> Result<(PostgresServer, bool)> {
        let database = if part == Part::Source { "app" } else { deploy::DATABASE };
        if let (Some(process), Some(port)) = (self.state.running(part), self.state.port(part)) {
            return Ok((PostgresServer::running(process, port, database), false));
        }
        let options = PostgresOptions {
            part,
            folder: self.state.postgres_folder.join(part.name()),
            port: self.state.port(part),
            database: database.to_owned(),
            settings,
            log: self.folder.log(part),
        };
        Ok((PostgresServer::init_and_start(binaries, &options).await?, true))
    }

    fn took_up_postgres(&mut self, part: Part, server: &PostgresServer, new: bool) -> String {
        if new {
            self.took_up(part, server.process, server.port);
        }
        server.url()
    }

    fn took_up(&mut self, part: Part, process: crate::processes::Process, port: u16) {
        self.started.push(part);
        self.state.started(part, process);
        self.state.ports.insert(part.name().to_owned(), port);
    }

    async fn start_stand_in(&mut self) -> Result<()> {
        let port = match (self.state.running(Part::Redshift), self.state.port(Part::Redshift)) {
            (Some(_), Some(port)) => port,
            (_, earlier) => ports::free_preferably(earlier)?,
        };
        let earlier = self.state.ports.get(REDSHIFT_WIRE).copied();
        let wire_port = match (self.state.running(Part::Redshift), earlier) {
            (Some(_), Some(port)) => port,
            _ => ports::free_preferably(earlier)?,
        };
        let changed = stand_in::configure(&self.folder, &self.state, port, wire_port)?;
        if changed {
            stop_part(&self.folder, &mut self.state, Part::Redshift).await;
        }
        if self.state.running(Part::Redshift).is_none() {
            let process = stand_in::start(&self.folder, port).await?;
            self.took_up(Part::Redshift, process, port);
        }
        self.state.ports.insert(REDSHIFT_WIRE.to_owned(), wire_port);
        self.state.redshift_data_endpoint = format!("http://127.0.0.1:{port}");
        self.state.redshift_control_endpoint = format!("http://127.0.0.1:{port}/_standin");
        self.state.redshift_url = stand_in::url(wire_port, deploy::DATABASE);
        self.state.save(&self.folder)
    }

    /// Not if all is as it was: a function that is at work would be disturbed.
    async fn deploy(&mut self, aws_is_new: bool) -> Result<()> {
        let deployment = Deployment {
            folder: &self.folder,
            aws_endpoint: self.state.aws_endpoint.clone(),
            redshift_data_endpoint: self.state.redshift_data_endpoint.clone(),
            bootstrap: self.bootstrap.clone(),
        };
        let fingerprint = deployment.fingerprint()?;
        if aws_is_new || self.state.deployed != fingerprint {
            let deployed = deployment.deploy().await?;
            self.state.queue_url = deployed.queue_url;
            self.state.ack_queue_url = deployed.ack_queue_url;
            deploy::BUCKET.clone_into(&mut self.state.bucket);
            deploy::FUNCTION.clone_into(&mut self.state.function_name);
            self.state.deployed = fingerprint;
        }
        self.state.save(&self.folder)
    }

    async fn start_capture(&mut self, changes: Option<&Path>) -> Result<()> {
        self.state.capture_config = self.folder.capture_config();
        self.state.capture_log = self.folder.log(Part::Capture);
        let before = std::fs::read(self.folder.capture_config()).unwrap_or_default();
        let config = CaptureConfig::write(&self.folder, &self.state, changes)?;
        let unchanged = std::fs::read(self.folder.capture_config()).is_ok_and(|after| after == before);
        self.state.save(&self.folder)?;
        let started = self.state.running(Part::Capture);
        match capture::running(&self.folder, &config, started) {
            // Perhaps somebody started it by hand: then it is ours now.
            Some(process) if unchanged => self.state.started(Part::Capture, process),
            _ => {
                stop_part(&self.folder, &mut self.state, Part::Capture).await;
                let process = capture::start(&self.folder, &config).await?;
                self.started.push(Part::Capture);
                self.state.started(Part::Capture, process);
            }
        }
        Ok(())
    }
}

fn source_settings() -> Vec<(String, String)> {
    settings(&[
        ("wal_level", "logical"),
        ("max_wal_senders", "20"),
        ("max_replication_slots", "20"),
        ("max_connections", "100"),
    ])
}

/// Redshift joins large tables by hash. PostgreSQL, without statistics, takes a key's range for a few rows and would look
/// through all of the other table for each.
fn warehouse_settings() -> Vec<(String, String)> {
    settings(&[("max_connections", "200"), ("max_wal_size", "2GB"), ("enable_nestloop", "off")])
}

fn settings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
