//! What processes take, from the kernel's accounting in /proc.

use anyhow::{Context, Result, anyhow};
use re_dms_tests::peak_memory;

use crate::contender::Figures;

/// The kernel's unit of CPU time in /proc is USER_HZ, which is 100 on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Adds this process's CPU time and peak memory.
pub(crate) fn own(figures: Figures) -> Result<Figures> {
    let pid = std::process::id();
    let peak_rss = peak_memory(pid).context("this process's memory")?;
    Ok(Figures { cpu: cpu(pid).context("this process's CPU time")?, peak_rss, ..figures })
}

/// CPU seconds of a process so far; none if it is gone.
pub(crate) fn cpu(pid: u32) -> Option<f64> {
    times(pid).map(|[user, system, _, _]| user + system)
}

/// CPU seconds of this process's ended children.
pub(crate) fn cpu_of_children() -> Result<f64> {
    let [_, _, user, system] = times(std::process::id()).ok_or_else(|| anyhow!("no /proc/self/stat"))?;
    Ok(user + system)
}

/// Own user and system time, then the ended children's, in seconds (proc(5), fields 14 to 17 of `stat`).
fn times(pid: u32) -> Option<[f64; 4]> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold blanks and parentheses; field 3 follows it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11).map(|field| field.parse::<f64>().ok());
    let mut next = || Some(fields.next()?? / TICKS_PER_SECOND);
    Some([next()?, next()?, next()?, next()?])
}
