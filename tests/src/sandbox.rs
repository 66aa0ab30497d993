//! One sandbox, taken down when it goes out of scope.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::processes::{is_running, kill, signal, wait_for_end};

/// A sandbox of its own for one test.
pub struct Sandbox {
    dir: TempDir,
    info: Value,
    /// For `sandbox up` and what it starts.
    environment: &'static [(&'static str, &'static str)],
}

impl Sandbox {
    /// Starts one with the defaults.
    pub fn up() -> Result<Self> {
        Self::up_with("")
    }

    /// Starts one with a capture config merged in.
    pub fn up_with(config: &str) -> Result<Self> {
        let mut sandbox = Self::nothing()?;
        let file = sandbox.dir.path().join("merge.toml");
        std::fs::write(&file, config)?;
        sandbox.start_what_is_down(&["--config", &file.display().to_string()])?;
        Ok(sandbox)
    }

    /// As [`Sandbox::up_with`], with a source that runs these programs.
    pub fn up_with_source(pg_bin: &Path, config: &str) -> Result<Self> {
        let mut sandbox = Self::nothing()?;
        let file = sandbox.dir.path().join("merge.toml");
        std::fs::write(&file, config)?;
        let (programs, file) = (pg_bin.display().to_string(), file.display().to_string());
        sandbox.start_what_is_down(&["--pg-bin", &programs, "--config", &file])?;
        Ok(sandbox)
    }

    /// Ends the stream that runs and begins another one of this name, with a capture config merged in.
    pub fn new_stream(&mut self, name: &str, config: &str) -> Result<()> {
        self.kill_capture()?;
        let file = self.dir.path().join(format!("{name}.toml"));
        let data_dir = self.dir.path().join(name);
        std::fs::write(
            &file,
            format!("stream = \"{name}\"\ndata_dir = \"{}\"\n{config}", data_dir.display()),
        )?;
        self.start_what_is_down(&["--config", &file.display().to_string()])
    }

    /// As [`Sandbox::up_with`], with a stand-in for Redshift that has other settings or faults.
    pub fn up_with_redshift(redshift: &Value, config: &str) -> Result<Self> {
        let mut sandbox = Self::nothing()?;
        std::fs::write(sandbox.dir.path().join("redshift.json"), redshift.to_string())?;
        let file = sandbox.dir.path().join("merge.toml");
        std::fs::write(&file, config)?;
        sandbox.start_what_is_down(&["--config", &file.display().to_string()])?;
        Ok(sandbox)
    }

    /// As [`Sandbox::up_with_redshift`], with a loader that has further environment variables.
    pub fn up_with_loader(loader: &Value, redshift: &Value) -> Result<Self> {
        let mut sandbox = Self::nothing()?;
        std::fs::write(sandbox.dir.path().join("loader.json"), loader.to_string())?;
        std::fs::write(sandbox.dir.path().join("redshift.json"), redshift.to_string())?;
        sandbox.start_what_is_down(&[])?;
        Ok(sandbox)
    }

    /// Gives the loader other environment variables, whatever it is doing.
    pub fn restart_with_loader(&mut self, loader: &Value) -> Result<()> {
        std::fs::write(self.dir.path().join("loader.json"), loader.to_string())?;
        self.up_again()
    }

    fn nothing() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("re_dms-test-").tempdir()?;
        Ok(Self { dir, info: Value::Null, environment: &[] })
    }

    /// `sandbox up` on the same folder: starts what does not run.
    pub fn up_again(&mut self) -> Result<()> {
        self.start_what_is_down(&[])
    }

    /// From now on the local AWS checks signatures and evaluates IAM's policies. The sandbox's own key may do everything all
    /// the same; its function's role must be there.
    pub fn evaluate_iam(&mut self) -> Result<()> {
        self.stop()?;
        self.environment = &[("AUTH", "true")];
        self.up_again()
    }

    fn start_what_is_down(&mut self, more: &[&str]) -> Result<()> {
        self.start_with(more, &[])
    }

    fn start_with(&mut self, more: &[&str], environment: &[(&str, &str)]) -> Result<()> {
        let dir = self.dir();
        let mut arguments = vec!["up", "--dir", &dir];
        arguments.extend(more);
        let mut command = Command::new(binary("sandbox"));
        command.args(&arguments).envs(self.environment.iter().copied()).envs(environment.iter().copied());
        let output = finish(command)?;
        ensure!(output.status.success(), "sandbox up failed:\n{}", text(&output));
        let json = std::fs::read_to_string(self.dir.path().join("sandbox.json"))?;
        self.info = serde_json::from_str(&json)?;
        Ok(())
    }

    fn dir(&self) -> String {
        self.dir.path().display().to_string()
    }

    /// A text of `sandbox.json`.
    pub fn text(&self, key: &str) -> Result<&str> {
        self.info[key].as_str().with_context(|| format!("sandbox.json has no {key}"))
    }

    /// A part's process id.
    pub fn pid(&self, part: &str) -> Result<u32> {
        let pid =
            self.info["pids"][part].as_u64().with_context(|| format!("sandbox.json has no pid of {part}"))?;
        Ok(u32::try_from(pid)?)
    }

    /// Does the part run?
    pub fn runs(&self, part: &str) -> Result<bool> {
        Ok(is_running(self.pid(part)?))
    }

    /// The ports that its parts listen on.
    pub fn ports(&self) -> Result<Vec<u16>> {
        let ports = self.info["ports"].as_object().context("sandbox.json has no ports")?;
        let port =
            |port: &Value| u16::try_from(port.as_u64().context("a port is a number")?).map_err(Into::into);
        ports.values().map(port).collect()
    }

    /// The source, as its superuser.
    pub async fn source(&self) -> Result<Client> {
        connect(self.text("source_url")?).await
    }

    /// The PostgreSQL behind the stand-in.
    pub async fn warehouse(&self) -> Result<Client> {
        connect(self.text("warehouse_url")?).await
    }

    /// Waits until everything committed so far is loaded, and compares both sides.
    pub fn wait_and_compare(&self) -> Result<()> {
        self.wait(120)?;
        let output = run("sandbox", &["diff", "--dir", &self.dir()])?;
        ensure!(output.status.success(), "the sides differ:\n{}\n{}", text(&output), self.capture_log());
        Ok(())
    }

    /// Waits until everything committed so far is loaded.
    pub fn wait(&self, seconds: u32) -> Result<()> {
        let output = run("sandbox", &["wait", "--dir", &self.dir(), "--timeout", &seconds.to_string()])?;
        ensure!(output.status.success(), "not loaded in time:\n{}\n{}", text(&output), self.capture_log());
        Ok(())
    }

    /// What `sandbox diff` prints and how it exits.
    pub fn diff(&self) -> Result<(bool, String)> {
        let output = run("sandbox", &["diff", "--dir", &self.dir()])?;
        Ok((output.status.success(), text(&output)))
    }

    /// Kills the capture without warning (kill -9), if it runs.
    pub fn kill_capture(&self) -> Result<()> {
        kill(self.pid("capture")?);
        Ok(())
    }

    /// Redshift dies without warning, with all that it was doing: the stand-in and the PostgreSQL behind it.
    pub fn crash_redshift(&self) -> Result<()> {
        kill(self.pid("redshift")?);
        let warehouse = self.pid("warehouse")?;
        signal(warehouse, Signal::QUIT)?;
        wait_for_end(warehouse)
    }

    /// Starts the capture again the way `sandbox up` does.
    pub fn restart_capture(&mut self) -> Result<()> {
        self.kill_capture()?;
        self.up_again()
    }

    /// As [`Sandbox::restart_capture`], with further environment variables, for this once.
    pub fn restart_capture_with(&mut self, environment: &[(&str, &str)]) -> Result<()> {
        self.kill_capture()?;
        self.start_with(&[], environment)
    }

    /// The capture's data folder, from its config.
    pub fn capture_data_dir(&self) -> Result<PathBuf> {
        let config = std::fs::read_to_string(self.text("capture_config")?)?;
        let line = config.lines().find_map(|line| line.strip_prefix("data_dir = "));
        Ok(PathBuf::from(line.context("the config has no data_dir")?.trim_matches('"')))
    }

    /// The source's data folder.
    pub fn source_folder(&self) -> Result<PathBuf> {
        let folder = PathBuf::from(self.text("postgres_folder")?).join("source");
        ensure!(folder.is_dir(), "no data folder at {}", folder.display());
        Ok(folder)
    }

    /// The capture's status file.
    pub fn capture_status(&self) -> Result<Value> {
        let json = std::fs::read(self.capture_data_dir()?.join("status.json"))?;
        Ok(serde_json::from_slice(&json)?)
    }

    /// The end of the capture's log.
    pub fn capture_log(&self) -> String {
        let log = self.text("capture_log").ok().and_then(|path| std::fs::read_to_string(path).ok());
        let log = log.unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(40).collect();
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Takes it down and checks that nothing of it is left running.
    pub fn down(self) -> Result<()> {
        self.stop()
    }

    /// Stops and starts the source alone, in order (fast shutdown); the rest goes on running.
    pub fn restart_source(&mut self) -> Result<()> {
        let source = self.pid("source")?;
        signal(source, Signal::INT)?;
        wait_for_end(source)?;
        self.up_again()
    }

    /// Stops all parts and keeps the data.
    pub fn stop(&self) -> Result<()> {
        let parts = ["source", "warehouse", "aws", "redshift", "capture"];
        let pids: Vec<u32> = parts.iter().filter_map(|part| self.pid(part).ok()).collect();
        let output = run("sandbox", &["down", "--dir", &self.dir()])?;
        ensure!(output.status.success(), "sandbox down failed:\n{}", text(&output));
        for (part, pid) in parts.iter().zip(pids) {
            ensure!(!is_running(pid), "{part} is still running");
        }
        Ok(())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Whatever the test found, nothing is left behind.
        let _ = run("sandbox", &["down", "--dir", &self.dir(), "--wipe"]);
    }
}

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A program of the release build.
pub fn binary(name: &str) -> PathBuf {
    let folder = std::env::var_os("RE_DMS_BIN_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release"), PathBuf::from);
    folder.join(name)
}

/// Runs a program of ours to its end, within three minutes.
pub fn run(name: &str, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary(name));
    command.args(arguments);
    finish(command)
}

fn finish(mut command: Command) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?} can't be started (hint: make build)"))?;
    let deadline = Instant::now() + Duration::from_secs(180);
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            let output = child.wait_with_output()?;
            bail!("{command:?} did not end:\n{}", text(&output));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(child.wait_with_output()?)
}

/// All that a program printed.
fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
