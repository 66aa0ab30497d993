//! A stand-in for tests: a real PostgreSQL behind it, a real S3 beside it, all stopped when it goes out of scope.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use re_dms_sandbox::error::Part;
use re_dms_sandbox::postgres::{PostgresBinaries, PostgresOptions, PostgresServer, Wanted};
use re_dms_sandbox::processes::{Launch, StopOnDrop};
use re_dms_sandbox::redshift::{Addresses, StandInConfig, serve};
use re_dms_sandbox::{places, ports};
use rustix::process::Signal;
use tempfile::TempDir;

/// Removes a folder at the end of a test, also of one that failed.
struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The environment's tools: `RE_DMS_VENV`, else `.venv` beside the workspace's Cargo.toml.
pub(crate) fn venv() -> PathBuf {
    let venv = std::env::var_os(places::VENV_VARIABLE)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv"), PathBuf::from);
    let python = venv.join("bin/python");
    assert!(python.exists(), "{} is missing (hint: run `make setup`)", python.display());
    venv
}

/// The servers that stand-ins need; several may stand before them.
pub(crate) struct Servers {
    pub(crate) venv: PathBuf,
    pub(crate) aws_endpoint: String,
    pub(crate) warehouse: PostgresServer,
    pub(crate) binaries: PostgresBinaries,
    _guards: (StopOnDrop, StopOnDrop, Remove),
    _own: TempDir,
}

impl Servers {
    pub(crate) async fn start() -> Self {
        let venv = venv();
        let own = tempfile::tempdir().unwrap();
        let binaries = PostgresBinaries::find(Wanted::Warehouse, None, Some(&venv)).unwrap();
        let folder = binaries.account().data_folder(own.path()).unwrap();
        let remove = Remove(folder.clone());
        let options = PostgresOptions {
            part: Part::Warehouse,
            folder: folder.join("server"),
            port: None,
            database: "warehouse".into(),
            settings: vec![("fsync".into(), "off".into())],
            log: own.path().join("postgres.log"),
        };
        let warehouse = PostgresServer::init_and_start(&binaries, &options).await.unwrap();
        let stop_warehouse = warehouse.process.stop_on_drop(Signal::QUIT);
        let (aws_endpoint, stop_objects) = objects(&venv, own.path());
        let guards = (stop_warehouse, stop_objects, remove);
        Self { venv, aws_endpoint, warehouse, binaries, _guards: guards, _own: own }
    }

    /// A stand-in with the defaults, but for what `change` does.
    pub(crate) async fn stand_in(&self, change: impl FnOnce(&mut StandInConfig)) -> Served {
        let config = serde_json::json!({
            "listen": "127.0.0.1:0",
            "warehouse_url": self.warehouse.url(),
            "aws_endpoint": self.aws_endpoint,
            "log": "warn",
            "wire": { "listen": "127.0.0.1:0", "user": "awsuser", "password": "a password" },
        });
        let mut config: StandInConfig = serde_json::from_value(config).unwrap();
        change(&mut config);
        let (ready, address) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(serve(config, |addresses| {
            let _ = ready.send(addresses);
        }));
        let Addresses { http: address, wire } =
            tokio::time::timeout(Duration::from_secs(60), address).await.unwrap().unwrap();
        Served { address, wire: wire.unwrap(), task }
    }
}

/// A running stand-in.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) wire: SocketAddr,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Served {
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// ministack as S3; returns its endpoint.
fn objects(venv: &Path, own: &Path) -> (String, StopOnDrop) {
    let port = ports::free().unwrap();
    let environment = [("BIND_HOST", "127.0.0.1".to_owned()), ("GATEWAY_PORT", port.to_string())];
    let launch = Launch {
        program: venv.join("bin/ministack"),
        arguments: vec![],
        environment: environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        log: own.join("ministack.log"),
        account: None,
    };
    let process = launch.start().unwrap();
    let guard = process.stop_on_drop(Signal::TERM);
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline && process.is_alive(), "ministack does not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
    (format!("http://127.0.0.1:{port}"), guard)
}
