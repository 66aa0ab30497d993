//! What the demo shows while the workload runs: redrawn in place on a terminal, a line every few seconds elsewhere.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use re_dms_shared::status::CaptureStatus;

/// One moment.
pub(super) struct Frame {
    pub(super) elapsed: Duration,
    pub(super) duration: Duration,
    pub(super) pgbench_tps: f64,
    pub(super) wide_changes: u64,
    pub(super) status: CaptureStatus,
}

/// What has to be remembered between two frames.
pub(super) struct View {
    is_terminal: bool,
    colored: bool,
    drawn_lines: usize,
    shown: Option<(Instant, Counters)>,
}

/// Counters whose growth is shown as rates.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    wide_changes: u64,
    changes: u64,
    rows: u64,
    bytes: u64,
}

impl View {
    pub(super) fn new(is_terminal: bool) -> Self {
        let colored = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { is_terminal, colored, drawn_lines: 0, shown: None }
    }

    /// Time between two frames.
    pub(super) fn pace(&self) -> Duration {
        if self.is_terminal { Duration::from_millis(500) } else { Duration::from_secs(5) }
    }

    /// Is it time for another frame?
    pub(super) fn is_due(&self) -> bool {
        self.shown.is_none_or(|(at, _)| at.elapsed() >= self.pace())
    }

    /// Draws it.
    pub(super) fn show(&mut self, frame: &Frame) {
        let now = Counters {
            wide_changes: frame.wide_changes,
            changes: frame.status.changes,
            rows: frame.status.rows_written,
            bytes: frame.status.bytes_written,
        };
        let rates =
            self.shown.map_or_else(Rates::default, |(at, before)| Rates::of(before, now, at.elapsed()));
        self.shown = Some((Instant::now(), now));
        let mut out = String::new();
        if self.is_terminal {
            let lines = lines(frame, &rates);
            if self.drawn_lines > 0 {
                let _ = write!(out, "\x1b[{}A", self.drawn_lines);
            }
            for (number, line) in lines.iter().enumerate() {
                let (bold, plain) =
                    if number == 0 && self.colored { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
                let _ = writeln!(out, "\x1b[2K{bold}{line}{plain}");
            }
            self.drawn_lines = lines.len();
        } else {
            out = one_line(frame, &rates) + "\n";
        }
        let mut stdout = std::io::stdout();
        // Nobody looks any more: the demo's outcome is its exit code.
        let _ = stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush());
    }
}

/// Growth a second.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    wide_changes: f64,
    changes: f64,
    rows: f64,
    bytes: f64,
}

impl Rates {
    #[allow(clippy::cast_precision_loss)] // shown with two or three digits
    fn of(before: Counters, now: Counters, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64().max(0.001);
        let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        Self {
            wide_changes: rate(before.wide_changes, now.wide_changes),
            changes: rate(before.changes, now.changes),
            rows: rate(before.rows, now.rows),
            bytes: rate(before.bytes, now.bytes),
        }
    }
}

fn lines(frame: &Frame, rates: &Rates) -> Vec<String> {
    let Frame { elapsed, duration, pgbench_tps, status, .. } = frame;
    vec![
        format!("re_dms · {} s of {} s · capture is {}", elapsed.as_secs(), duration.as_secs(), status.state),
        format!(
            "  workload   pgbench {pgbench_tps:.0} tx/s · wide table {:.0} changes/s",
            rates.wide_changes
        ),
        format!(
            "  capture    {:.0} changes/s in · {:.0} rows/s and {}/s out",
            rates.changes,
            rates.rows,
            bytes(rates.bytes)
        ),
        format!("  received   {}", status.received),
        format!("  durable    {}", status.durable),
        format!("  staged     {}", status.staged),
        format!("  loaded     {}", status.loaded),
        format!("  confirmed  {}", status.confirmed),
        format!("  lag        {}", lag(status)),
        format!(
            "  segments   {} in flight · {} staged · {} loaded",
            status.segments_in_flight, status.segments_staged, status.segments_loaded
        ),
    ]
}

fn one_line(frame: &Frame, rates: &Rates) -> String {
    let Frame { elapsed, pgbench_tps, status, .. } = frame;
    format!(
        "{:>4} s  pgbench {pgbench_tps:.0} tx/s · wide {:.0} changes/s · received {} · durable {} · staged {} · \
         loaded {} · confirmed {} · lag {} · {} segments in flight",
        elapsed.as_secs(),
        rates.wide_changes,
        status.received,
        status.durable,
        status.staged,
        status.loaded,
        status.confirmed,
        lag(status),
        status.segments_in_flight
    )
}

#[allow(clippy::cast_precision_loss)] // shown with two digits
fn lag(status: &CaptureStatus) -> String {
    format!("{} and {:.1} s", bytes(status.lag_bytes as f64), status.lag_seconds)
}

/// Bytes with a unit that leaves at most three digits before the point.
fn bytes(count: f64) -> String {
    let units = ["kB", "MB", "GB"];
    if count < 1000.0 {
        return format!("{count:.0} B");
    }
    let mut scaled = count / 1000.0;
    let mut unit = 0;
    while scaled >= 1000.0 && unit + 1 < units.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use re_dms_shared::Lsn;
    use re_dms_shared::lsn::{Confirmed, Durable, Loaded, Received, Staged};
    use re_dms_shared::status::CaptureState;

    use super::*;

    fn frame() -> Frame {
        let status = CaptureStatus {
            state: CaptureState::Streaming,
            received: Received(Lsn(0x1_0000_0300)),
            durable: Durable(Lsn(0x1_0000_0300)),
            staged: Staged(Lsn(0x1_0000_0200)),
            loaded: Loaded(Lsn(0x1_0000_0100)),
            confirmed: Confirmed(Lsn(0x1_0000_0100)),
            lag_bytes: 1_250_000,
            lag_seconds: 2.34,
            segments_in_flight: 2,
            segments_staged: 7,
            segments_loaded: 5,
            ..CaptureStatus::default()
        };
        let (elapsed, duration) = (Duration::from_secs(12), Duration::from_secs(60));
        Frame { elapsed, duration, pgbench_tps: 2345.6, wide_changes: 300, status }
    }

    #[test]
    fn all_five_positions_and_the_lag_are_shown() {
        let before = Counters::default();
        let now = Counters { wide_changes: 300, changes: 9000, rows: 1200, bytes: 64_000 };
        let rates = Rates::of(before, now, Duration::from_secs(2));
        insta::assert_snapshot!(lines(&frame(), &rates).join("\n"), @r"
        re_dms · 12 s of 60 s · capture is streaming
          workload   pgbench 2346 tx/s · wide table 150 changes/s
          capture    4500 changes/s in · 600 rows/s and 32.0 kB/s out
          received   1/300
          durable    1/300
          staged     1/200
          loaded     1/100
          confirmed  1/100
          lag        1.2 MB and 2.3 s
          segments   2 in flight · 7 staged · 5 loaded
        ");
        insta::assert_snapshot!(one_line(&frame(), &rates), @"  12 s  pgbench 2346 tx/s · wide 150 changes/s · received 1/300 · durable 1/300 · staged 1/200 · loaded 1/100 · confirmed 1/100 · lag 1.2 MB and 2.3 s · 2 segments in flight");
    }
}
