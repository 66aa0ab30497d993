//! The stand-in for Redshift, driven by AWS's own Python client (`boto3_data_api.py`), with a real PostgreSQL behind it and a
//! real S3 beside it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use re_dms_sandbox::error::Part;
use re_dms_sandbox::postgres::{PostgresBinaries, PostgresOptions, PostgresServer, Wanted};
use re_dms_sandbox::processes::{Launch, StopOnDrop};
use re_dms_sandbox::redshift::{FaultSettings, StandInConfig, serve};
use re_dms_sandbox::{places, ports};
use rustix::process::Signal;

/// Removes a folder at the end of a test, also of one that failed.
struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The environment's tools: `RE_DMS_VENV`, else `.venv` beside the workspace's Cargo.toml.
fn venv() -> PathBuf {
    let venv = std::env::var_os(places::VENV_VARIABLE)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv"), PathBuf::from);
    let python = venv.join("bin/python");
    assert!(python.exists(), "{} is missing (hint: run `make setup`)", python.display());
    venv
}

async fn warehouse(venv: &Path, own: &Path) -> (PostgresServer, StopOnDrop, Remove) {
    let binaries = PostgresBinaries::find(Wanted::Warehouse, None, Some(venv)).unwrap();
    let folder = binaries.account().data_folder(own).unwrap();
    let remove = Remove(folder.clone());
    let options = PostgresOptions {
        part: Part::Warehouse,
        folder: folder.join("server"),
        port: None,
        database: "warehouse".into(),
        settings: vec![("fsync".into(), "off".into())],
        log: own.join("postgres.log"),
    };
    let server = PostgresServer::init_and_start(&binaries, &options).await.unwrap();
    let guard = server.process.stop_on_drop(Signal::QUIT);
    (server, guard, remove)
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

#[tokio::test(flavor = "multi_thread")]
async fn the_data_api_behaves_towards_boto3() {
    let venv = venv();
    let own = tempfile::tempdir().unwrap();
    let (server, _stop_warehouse, _remove) = warehouse(&venv, own.path()).await;
    let (aws_endpoint, _stop_objects) = objects(&venv, own.path());
    let config = StandInConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        warehouse_url: server.url(),
        aws_endpoint: aws_endpoint.clone(),
        region: "us-east-1".into(),
        log: "warn".into(),
        faults: FaultSettings::default(),
    };
    let (ready, address) = tokio::sync::oneshot::channel();
    let stand_in = tokio::spawn(serve(config, |address| {
        let _ = ready.send(address);
    }));
    let address = tokio::time::timeout(Duration::from_secs(60), address).await.unwrap().unwrap();
    let output = tokio::process::Command::new(venv.join("bin/python"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boto3_data_api.py"))
        .env("STAND_IN_ENDPOINT", format!("http://{address}"))
        .env("STAND_IN_DATABASE", "warehouse")
        .env("S3_ENDPOINT", aws_endpoint)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{errors}");
    assert!(told.lines().count() > 20, "too few tests ran:\n{told}");
    stand_in.abort();
}
