//! Finding and killing processes, by their ids only.

use rustix::process::{Pid, Signal, kill_process};

/// kill -9, and waits until it is gone. No error if there is no such process.
pub fn kill(pid: u32) {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let _ = kill_process(raw, Signal::KILL);
    for _ in 0..500 {
        if !is_running(pid) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Sends a signal.
pub fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let raw = raw.ok_or_else(|| anyhow::anyhow!("{pid} is no process id"))?;
    Ok(kill_process(raw, signal)?)
}

/// Waits up to half a minute until the process is gone.
pub fn wait_for_end(pid: u32) -> anyhow::Result<()> {
    for _ in 0..300 {
        if !is_running(pid) {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    anyhow::bail!("process {pid} does not end")
}

/// The most memory that the process has had resident, in bytes; none if it is gone.
#[must_use]
pub fn peak_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Is there such a process, and is it no zombie?
pub(crate) fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

/// The loader's processes: `bootstrap` children, near or far, of the local AWS.
pub fn loader_pids(aws: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&pid| is_bootstrap(pid) && descends_from(pid, aws)).collect()
}

fn is_bootstrap(pid: u32) -> bool {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let program = command.split(|&byte| byte == 0).next().unwrap_or_default();
    program.ends_with(b"bootstrap")
}

fn descends_from(mut pid: u32, ancestor: u32) -> bool {
    while let Some((_, parent)) = stat(pid) {
        if parent == ancestor {
            return true;
        }
        pid = parent;
    }
    false
}

/// State and parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the name before may hold blanks and parentheses
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}
