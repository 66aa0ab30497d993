//! The strict stand-in for Redshift: the Data API's wire protocol in front of a PostgreSQL database, with Redshift's SQL
//! checked and translated, and COPY from S3 done for real. What Redshift refuses is refused in Redshift's words, what
//! the stand-in does not know is refused too, and nothing passes unread.
//!
//! [`serve`] runs it. Inside: `api` is the protocol, `wire` PostgreSQL's beside it, `runner` the life of a statement, `sql`
//! the language, `copy` the loads, `transaction` locks and conflicts, `faults` what goes wrong on demand.

mod alter;
mod api;
mod catalog;
mod copy;
mod execute;
mod faults;
mod isolation;
mod results;
mod runner;
mod sessions;
mod settings;
mod sql;
mod statements;
mod transaction;
mod warehouse;
mod wire;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use serde::{Deserialize, Serialize};

pub use faults::{Cluster, FailExecutions, FaultSettings, LoseAnswers, Loss, RefuseRequests, RequestFault};
pub use settings::{Isolation, OpenPoints, Settings};
pub use statements::Memory;
pub use wire::WireConfig;

use copy::Objects;
use faults::Faults;
use isolation::History;
use sessions::Sessions;
use sql::CopyStrings;
use statements::Statements;
use warehouse::Warehouse;

/// How the stand-in is set up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandInConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The PostgreSQL database behind it, as its superuser.
    pub warehouse_url: String,
    /// Where S3 is.
    pub aws_endpoint: String,
    /// The region that S3 is asked in.
    #[serde(default = "default_region")]
    pub region: String,
    /// What to log, on stderr, as a `tracing` filter.
    #[serde(default = "default_log")]
    pub log: String,
    /// What goes wrong from the start.
    #[serde(default)]
    pub faults: FaultSettings,
    /// Its isolation and how it reads what is open.
    #[serde(default)]
    pub settings: Settings,
    /// PostgreSQL's protocol, if it is to be spoken.
    #[serde(default)]
    pub wire: Option<WireConfig>,
    /// How long it remembers.
    #[serde(default)]
    pub memory: Memory,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

fn default_log() -> String {
    "info".to_owned()
}

/// A running stand-in.
struct StandIn {
    warehouse: Warehouse,
    objects: Objects,
    statements: Mutex<Statements>,
    sessions: Sessions,
    faults: Faults,
    cancels: wire::Cancels,
    settings: Mutex<Settings>,
    /// Who changed what since when.
    history: Mutex<History>,
    /// Held over a commit and over the taking of a snapshot.
    commit_order: tokio::sync::Mutex<()>,
    /// The next `RedshiftQueryId`.
    query_ids: AtomicI64,
}

impl StandIn {
    fn settings(&self) -> Settings {
        *lock(&self.settings)
    }

    /// How the option strings of COPY are read.
    fn copy_strings(&self) -> CopyStrings {
        if self.settings().open_points.copy_strings_are_escaped {
            CopyStrings::Escaped
        } else {
            CopyStrings::Verbatim
        }
    }
}

/// Where a stand-in listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The Data API and the control endpoint.
    pub http: SocketAddr,
    /// PostgreSQL's protocol.
    pub wire: Option<SocketAddr>,
}

/// Serves until SIGTERM or ctrl-c. `ready` gets the addresses once requests are taken.
///
/// # Errors
/// The warehouse can't be reached or prepared, or the address can't be listened on.
pub async fn serve(config: StandInConfig, ready: impl FnOnce(Addresses)) -> anyhow::Result<()> {
    start_log(&config.log);
    let warehouse = Warehouse::prepare(&config.warehouse_url).await.context(
        "the warehouse can't be prepared (hint: is its PostgreSQL running, and the user a superuser?)",
    )?;
    let stand_in = Arc::new(StandIn {
        warehouse,
        objects: Objects::new(&config.aws_endpoint, &config.region),
        statements: Mutex::new(Statements::new(config.memory)),
        sessions: Sessions::default(),
        faults: Faults::new(config.faults),
        cancels: wire::Cancels::default(),
        settings: Mutex::new(config.settings),
        history: Mutex::default(),
        commit_order: tokio::sync::Mutex::default(),
        // Never the same after a restart: names that the translation makes hold it.
        query_ids: AtomicI64::new(jiff::Timestamp::now().as_millisecond()),
    });
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("can't listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    let mut addresses = Addresses { http: address, wire: None };
    let wire = match config.wire {
        None => None,
        Some(config) => {
            let listener = tokio::net::TcpListener::bind(config.listen)
                .await
                .with_context(|| format!("can't listen on {}", config.listen))?;
            addresses.wire = Some(listener.local_addr()?);
            Some(wire::serve(stand_in.clone(), listener, config))
        }
    };
    let wire = async {
        match wire {
            Some(wire) => wire.await,
            None => std::future::pending().await,
        }
    };
    tracing::info!(%address, "the stand-in for Redshift takes requests");
    ready(addresses);
    tokio::select! {
        () = wire => {}
        served = axum::serve(listener, api::router(stand_in)) => served.context("the server ended")?,
        () = asked_to_stop() => tracing::info!("the stand-in for Redshift stops"),
    }
    Ok(())
}

/// Whoever set a subscriber before keeps it.
fn start_log(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .try_init();
}

async fn asked_to_stop() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// A mutex that is never held across anything that panics midway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
