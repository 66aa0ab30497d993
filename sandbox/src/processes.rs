//! Detached processes: started in a session of their own, known by process id and start time, so that a process id
//! that the system has given to somebody else is never signalled.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// In the environment of a sandbox's processes: whose they are. Functions inherit it from the local AWS.
pub const OWNER_VARIABLE: &str = "SANDBOX_OF_RE_DMS";

/// A process that was started here, also after a restart of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// When it started, in the kernel's ticks since boot: tells it from a later process with the same id.
    pub started: u64,
}

/// How to start a detached process.
#[derive(Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it finds in its environment beside what is inherited.
    pub environment: Vec<(String, String)>,
    /// Where its standard output and error go, appended.
    pub log: PathBuf,
    /// The user and group to run as, where it is not the own one.
    pub account: Option<(u32, u32)>,
}

impl Launch {
    /// Starts it in a session of its own, so that neither Ctrl-C nor a closed terminal reaches it. Settings of re_dms,
    /// of AWS and of PostgreSQL that the environment happens to hold do not go along: a sandbox is told all by its own
    /// files.
    ///
    /// # Errors
    /// The log can't be written, or the program can't be executed.
    pub fn start(&self) -> Result<Process> {
        let open = || File::options().create(true).append(true).open(&self.log);
        let output = open().map_err(Error::file("could not write", &self.log))?;
        let errors = output.try_clone().map_err(Error::file("could not write", &self.log))?;
        // setsid replaces itself by the program: the child is not a group leader, so no fork comes between.
        let mut command = Command::new("setsid");
        command.arg("--").arg(&self.program).args(&self.arguments);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["RE_DMS_", "AWS_", "PG"].iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(output).stderr(errors).current_dir("/");
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        let child = command.spawn().map_err(Error::file("could not start", &self.program))?;
        let pid = child.id();
        // Gone already: its own log says why, and whoever waits for it to be ready tells.
        let started = start_time(pid).unwrap_or(0);
        Ok(Process { pid, started })
    }
}

impl Process {
    /// The running process with this id.
    #[must_use]
    pub fn of_pid(pid: u32) -> Option<Self> {
        start_time(pid).map(|started| Process { pid, started })
    }

    /// Does it run? A zombie does not.
    #[must_use]
    pub fn is_alive(self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Sends a signal, unless it is gone.
    pub fn signal(self, signal: Signal) {
        if self.is_alive()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            // The only failure left is that it ended just now.
            let _ = kill_process(pid, signal);
        }
    }

    /// Sends `signal`, waits for the end, and after `patience` kills it.
    pub async fn stop(self, signal: Signal, patience: Duration) {
        self.signal(signal);
        if !self.ends_within(patience).await {
            self.signal(Signal::KILL);
            self.ends_within(Duration::from_secs(5)).await;
        }
    }

    /// Watches over a process that is still coming up.
    #[must_use]
    pub fn stop_on_drop(self, signal: Signal) -> StopOnDrop {
        StopOnDrop { process: Some(self), signal }
    }

    async fn ends_within(self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.is_alive() {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// The arguments that it was started with, the program first.
    #[must_use]
    pub fn arguments(self) -> Vec<String> {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        bytes.split(|&b| b == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    }
}

/// Sends its process a signal when it is dropped, as happens when Ctrl-C ends the wait for a part to be ready.
#[derive(Debug)]
pub struct StopOnDrop {
    process: Option<Process>,
    signal: Signal,
}

impl StopOnDrop {
    /// The process is up, or its end was seen to: leave it alone.
    pub fn release(mut self) {
        self.process = None;
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(process) = self.process {
            process.signal(self.signal);
        }
    }
}

/// All processes that carry this owner in their environment: those of a local AWS that was killed before it could stop
/// its functions, for instance.
#[must_use]
pub fn owned_by(owner: &Path) -> Vec<Process> {
    let wanted = format!("{OWNER_VARIABLE}={}", owner.display()).into_bytes();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&pid| pid != std::process::id())
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|&b| b == 0).any(|variable| variable == wanted)
        })
        .filter_map(Process::of_pid)
        .collect()
}

/// Field 22 of `/proc/{pid}/stat`; none if there is no such process, or nothing but its zombie.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may itself hold blanks and parentheses.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let state = *fields.first()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path, owner: &Path) -> Process {
        let launch = Launch {
            program: "/bin/sleep".into(),
            arguments: vec!["60".into()],
            environment: vec![(OWNER_VARIABLE.into(), owner.display().to_string())],
            log: folder.join("sleep.log"),
            account: None,
        };
        launch.start().unwrap()
    }

    #[tokio::test]
    async fn a_process_is_stopped_by_id_and_start_time() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path(), folder.path());
        assert!(process.is_alive());
        let impostor = Process { started: process.started + 1, ..process };
        impostor.stop(Signal::TERM, Duration::from_millis(100)).await;
        assert!(process.is_alive(), "a process with another start time was signalled");
        process.stop(Signal::TERM, Duration::from_secs(5)).await;
        assert!(!process.is_alive());
    }

    #[tokio::test]
    async fn owned_processes_are_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path(), folder.path());
        // While one program replaces another, the kernel shows neither's arguments nor environment.
        for _ in 0..500 {
            if process.arguments().first().is_some_and(|program| program == "/bin/sleep") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(owned_by(folder.path()), [process]);
        assert_eq!(owned_by(Path::new("/nowhere")), []);
        process.stop(Signal::TERM, Duration::from_secs(5)).await;
        assert_eq!(owned_by(folder.path()), []);
    }

    #[test]
    fn this_process_is_alive() {
        assert!(Process::of_pid(std::process::id()).unwrap().is_alive());
        assert!(Process::of_pid(u32::MAX).is_none());
    }
}
