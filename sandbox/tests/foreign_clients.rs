//! The stand-in towards clients that nobody here wrote: AWS's Python driver, awswrangler and psql.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod stand_in;

use std::path::Path;

use stand_in::{Served, Servers};
use tokio::process::Command;

/// Runs a client to its end; what it printed.
async fn run(command: &mut Command) -> (bool, String) {
    let output = command.kill_on_drop(true).output().await.unwrap();
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let ended = if output.status.success() { String::new() } else { format!("{}\n", output.status) };
    (output.status.success(), format!("{told}{errors}{ended}"))
}

fn python(servers: &Servers, stand_in: &Served, script: &str) -> Command {
    let mut command = Command::new(servers.venv.join("bin/python"));
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script))
        .env("AWS_ENDPOINT_URL_REDSHIFT_DATA", stand_in.endpoint())
        .env("STAND_IN_WIRE", stand_in.wire.to_string())
        .env("STAND_IN_USER", "awsuser")
        .env("STAND_IN_PASSWORD", "a password")
        .env("S3_ENDPOINT", &servers.aws_endpoint);
    command
}

fn psql(servers: &Servers, stand_in: &Served, arguments: &[&str]) -> Command {
    let mut command = Command::new(servers.binaries.folder().join("psql"));
    let port = stand_in.wire.port().to_string();
    command
        .args(["-X", "-A", "-t", "-q", "-h", "127.0.0.1", "-p", &port, "-U", "awsuser", "-d", "warehouse"])
        .args(["-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"])
        .args(arguments)
        .env("PGPASSWORD", "a password");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_clients_are_served() {
    let servers = Servers::start().await;
    let stand_in = servers.stand_in(|_| {}).await;
    for script in ["with_redshift_connector.py", "with_awswrangler.py"] {
        let (ok, told) = run(&mut python(&servers, &stand_in, script)).await;
        assert!(ok && told.contains("done"), "{script}:\n{told}");
    }

    let text = "CREATE TABLE p (a INT, b VARCHAR(9)); INSERT INTO p VALUES (1, 'x;y'), (2, NULL); SELECT a, b FROM p ORDER BY a";
    let (ok, told) = run(&mut psql(&servers, &stand_in, &["-c", text])).await;
    assert!(ok && told == "1|x;y\n2|\n", "{told}");
    // Several statements at once are one transaction.
    let (ok, told) = run(&mut psql(&servers, &stand_in, &["-c", "DELETE FROM p; SELECT 1 / 0"])).await;
    assert!(!ok && told.contains("division by zero"), "{told}");
    let (ok, told) = run(&mut psql(&servers, &stand_in, &["-c", "SELECT COUNT(*) FROM p"])).await;
    assert!(ok && told == "2\n", "{told}");
    let (ok, told) = run(&mut psql(&servers, &stand_in, &["-c", "SELECT ARRAY[1]"])).await;
    assert!(!ok && told.contains("42601") && told.contains("syntax error at or near \"ARRAY\""), "{told}");
    let (ok, told) =
        run(&mut psql(&servers, &stand_in, &["-c", "BEGIN", "-c", "SELECT tag", "-c", "SELECT 1"])).await;
    assert!(!ok, "{told}");
    let (ok, told) = run(psql(&servers, &stand_in, &["-c", "SELECT 1"]).env("PGPASSWORD", "wrong")).await;
    assert!(!ok && told.contains("password authentication failed"), "{told}");
    // A backslash is an escape, and psql's own variables come through its quoting.
    let (ok, told) = run(&mut psql(&servers, &stand_in, &["-c", r"SELECT 'a\'b', LEN('\\')"])).await;
    assert!(ok && told == "a'b|1\n", "{told}");
}
