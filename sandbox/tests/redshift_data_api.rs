//! The stand-in for Redshift, driven by AWS's own Python client (`boto3_data_api.py`), with a real PostgreSQL behind it and a
//! real S3 beside it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod stand_in;

use std::path::Path;

use stand_in::Servers;

#[tokio::test(flavor = "multi_thread")]
async fn the_data_api_behaves_towards_boto3() {
    let servers = Servers::start().await;
    let stand_in = servers.stand_in(|_| {}).await;
    let output = tokio::process::Command::new(servers.venv.join("bin/python"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boto3_data_api.py"))
        .env("STAND_IN_ENDPOINT", stand_in.endpoint())
        .env("STAND_IN_DATABASE", "warehouse")
        .env("S3_ENDPOINT", &servers.aws_endpoint)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{errors}");
    assert!(told.lines().count() > 20, "too few tests ran:\n{told}");
}
