//! What the image holds, without Docker: the folder that the Dockerfile copies is made by the same script, and a stream runs
//! in it as the image's user, with no other file in sight, told all by its environment and telling its supervisor how it is.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use re_dms_tests::{Sandbox, Signal, binary, signal};
use tempfile::TempDir;

use crate::tools::{output, project, read};

#[tokio::test]
async fn a_stream_runs_on_the_images_files_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let root = root_of_image(&folder)?;
    let sandbox = Sandbox::up()?;
    // Its queue for acknowledgements has one reader.
    sandbox.kill_capture()?;
    let source = sandbox.source().await?;
    source
        .batch_execute(
            "CREATE TABLE packed (id int PRIMARY KEY); INSERT INTO packed SELECT generate_series(1, 1000)",
        )
        .await?;

    let name = format!("re_dms-test-{}", std::process::id());
    let supervisor = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    supervisor.set_read_timeout(Some(Duration::from_secs(60)))?;
    let settings = [
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("RE_DMS_CONFIG", "/etc/re_dms/stream.toml"),
        ("RE_DMS_STREAM", "packed"),
        ("RE_DMS_DATA_DIR", "/var/lib/re_dms/packed"),
        ("RE_DMS_SOURCE__URL", sandbox.text("source_url")?),
        ("RE_DMS_S3__BUCKET", sandbox.text("bucket")?),
        ("RE_DMS_QUEUES__SEGMENTS_URL", sandbox.text("queue_url")?),
        ("RE_DMS_QUEUES__ACKS_URL", sandbox.text("ack_queue_url")?),
        ("RE_DMS_BATCH__INTERVAL", "500ms"),
        ("RE_DMS_AWS__REGION", "us-east-1"),
        ("RE_DMS_AWS__ENDPOINT_URL", sandbox.text("aws_endpoint")?),
        ("RE_DMS_AWS__ACCESS_KEY_ID", "test"),
        ("RE_DMS_AWS__SECRET_ACCESS_KEY", "test"),
        ("RE_DMS_AWS__S3_PATH_STYLE", "true"),
        ("NOTIFY_SOCKET", &format!("@{name}")),
        ("WATCHDOG_USEC", "600000"),
    ];
    let mut capture = Running(in_image(&root).arg("run").env_clear().envs(settings).spawn()?);
    hear(&supervisor, "READY=1")?;
    hear(&supervisor, "STATUS=streaming;")?;

    let warehouse = sandbox.warehouse().await?;
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let arrived = warehouse.query_one("SELECT count(*) FROM packed", &[]).await;
        if arrived.is_ok_and(|row| row.get::<_, i64>(0) == 1000) {
            break;
        }
        ensure!(Instant::now() < deadline, "the rows did not arrive");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(root.join("var/lib/re_dms/packed/status.json").is_file(), "its data is elsewhere");

    // A process that hangs says nothing more.
    let pid = capture.0.id();
    signal(pid, Signal::STOP)?;
    supervisor.set_read_timeout(Some(Duration::from_secs(2)))?;
    // What was told before is read first.
    while supervisor.recv(&mut [0; 500]).is_ok() {}
    ensure!(supervisor.recv(&mut [0; 500]).is_err(), "a stopped process tells that it lives");
    signal(pid, Signal::CONT)?;
    supervisor.set_read_timeout(Some(Duration::from_secs(60)))?;
    hear(&supervisor, "WATCHDOG=1")?;

    signal(pid, Signal::TERM)?;
    hear(&supervisor, "STOPPING=1")?;
    let end = capture.0.wait()?;
    ensure!(end.success(), "it did not end well: {end}");
    sandbox.down()
}

#[test]
fn the_image_is_the_same_each_time() -> Result<()> {
    let (first, second) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let listing = |root: &Path| output(Command::new("sh").args(["-c", LISTING, "sh"]).arg(root));
    let listed = listing(&root_of_image(&first)?)?;
    assert_eq!(listed, listing(&root_of_image(&second)?)?);
    ensure!(listed.contains("./usr/local/bin/re_dms") && !listed.contains("bin/sh"), "{listed}");
    Ok(())
}

#[test]
fn dockerfile_template_and_script_name_one_user() -> Result<()> {
    ensure!(read("infra/docker/rootfs")?.contains("\nuser=10001\n"));
    ensure!(read("infra/docker/Dockerfile")?.contains("\nUSER 10001:10001\n"));
    ensure!(read("template.yaml")?.contains("User: \"10001:10001\""));
    Ok(())
}

/// Names, kinds, modes, times, sizes and contents.
const LISTING: &str = "cd \"$1\" && find . -printf '%P %y %m %U %G %s %T@\\n' | sort && find . -type f | sort | xargs sha256sum && find . | sort";

fn root_of_image(folder: &TempDir) -> Result<std::path::PathBuf> {
    let root = folder.path().join("root");
    output(Command::new(project().join("infra/docker/rootfs")).arg(&root).arg(binary("re_dms")))?;
    Ok(root)
}

/// The image's program as the image's user: an ordinary user needs a namespace of its own for that.
fn in_image(root: &Path) -> Command {
    let mut command;
    if rustix::process::geteuid().is_root() {
        command = Command::new("chroot");
        command.arg("--userspec=10001:10001").arg(root);
    } else {
        command = Command::new("unshare");
        command.args(["--map-user=10001", "--map-group=10001", "--root"]).arg(root);
    }
    command.arg("/usr/local/bin/re_dms");
    command
}

/// Waits for a message that begins so.
fn hear(supervisor: &UnixDatagram, beginning: &str) -> Result<()> {
    let mut heard = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(90);
    while Instant::now() < deadline {
        let mut bytes = [0; 500];
        let length =
            supervisor.recv(&mut bytes).with_context(|| format!("no {beginning} after {heard:?}"))?;
        let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if message.starts_with(beginning) {
            return Ok(());
        }
        heard.push(message);
    }
    anyhow::bail!("no {beginning} among {heard:?}")
}

/// Ended, however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
