//! The overview on one screen. What needs somebody comes last, nearest to the eye; nothing is said by colour.

use std::fmt::{self, Display, Formatter};

use re_dms_shared::status::{CaptureState, CaptureStatus};
use re_dms_shared::table_log::QuarantinedTable;

use super::{Overview, Rates, Segments};

/// The busiest tables that are shown.
const TABLES: usize = 15;

impl Display for Overview {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let epoch = self.epoch.as_deref().unwrap_or("(not begun: no capture has run it)");
        writeln!(f, "stream      {}", self.stream)?;
        writeln!(f, "epoch       {epoch}")?;
        match &self.capture {
            Some(capture) => self.positions(f, capture)?,
            None => writeln!(f, "capture     never heard of")?,
        }
        if let Some(segments) = &self.segments {
            segments.show(f, self)?;
        }
        self.rates.show(f)?;
        match &self.capture {
            Some(capture) => self.troubles(f, capture),
            None => Ok(()),
        }
    }
}

impl Overview {
    fn positions(&self, f: &mut Formatter<'_>, capture: &CaptureStatus) -> fmt::Result {
        let heard = self.heard_seconds_ago.map(duration).unwrap_or_default();
        let state = capture.state;
        let silent = if self.silent { ", SILENT since: dead, stuck, or cut off from S3" } else { "" };
        writeln!(f, "capture     {state}, heard {heard} ago (process {}){silent}", capture.pid)?;
        writeln!(f, "received    {}", capture.received)?;
        writeln!(f, "durable     {}", capture.durable)?;
        let (mut staged, mut loaded) = (capture.staged.0, capture.loaded.0);
        if let Some(segments) = &self.segments {
            (staged, loaded) = (staged.max(segments.staged_lsn), loaded.max(segments.loaded_lsn));
        }
        writeln!(f, "staged      {staged}")?;
        writeln!(f, "loaded      {loaded}")?;
        writeln!(f, "confirmed   {} (follows {})", capture.confirmed, capture.advance_on)?;
        let ahead = bytes(capture.server_wal_end.bytes_since(loaded));
        writeln!(f, "source      {} ({ahead} ahead of what is loaded)", capture.server_wal_end)?;
        let told = capture.state != CaptureState::Stopped && !self.silent;
        let seconds = if told { Some(capture.lag_seconds) } else { self.waiting_seconds() };
        let seconds = seconds.map_or_else(|| "unknown".to_owned(), duration);
        writeln!(f, "lag         {ahead}, {seconds}")?;
        let retained = capture.retained_bytes.map_or_else(|| "not asked yet".to_owned(), bytes);
        writeln!(f, "retained    {retained} of WAL, by the slot on the source")?;
        if let Some(verified) = &capture.verified {
            let (tables, different, unverified) =
                (verified.tables, verified.different.len(), verified.unverified.len());
            writeln!(
                f,
                "verified    {tables} tables, {different} different, {unverified} not comparable ({})",
                verified.at
            )?;
        }
        if let Some(copy) = &capture.copy {
            let left = copy.seconds_left.map(|left| format!(", about {} left", duration(left as f64)));
            let (done, expected) = (bytes(copy.bytes_done), bytes(copy.bytes_expected));
            let (tables_done, tables, left) = (copy.tables_done, copy.tables, left.unwrap_or_default());
            writeln!(f, "copy        {tables_done} of {tables} tables, {done} of {expected}{left}")?;
        }
        Ok(())
    }

    fn waiting_seconds(&self) -> Option<f64> {
        let since = self.segments.as_ref()?.waiting_since?;
        Some(self.at.duration_since(since).as_secs_f64().max(0.0))
    }

    fn troubles(&self, f: &mut Formatter<'_>, capture: &CaptureStatus) -> fmt::Result {
        for table in &capture.needs_resync {
            writeln!(f, "\nneeds a resync: {}\n  {}", table.table, table.reason)?;
        }
        if let Some(verified) = &capture.verified {
            for table in &verified.different {
                writeln!(f, "\nnot as on the source: {table}, as of {}", verified.at)?;
                writeln!(f, "  hint: `re_dms verify --repair --table {table}`")?;
            }
            if let Some(error) = &verified.error {
                writeln!(f, "\nthe last verification broke off ({})\n  {error}", verified.at)?;
            }
        }
        for table in &capture.quarantined {
            let (name, since) = (&table.table, table.since_seq);
            let what = match table {
                QuarantinedTable { resync: Some(_), .. } => "read anew",
                QuarantinedTable { paused: true, .. } => "paused",
                QuarantinedTable { held: true, .. } => "held",
                _ => "quarantined",
            };
            writeln!(
                f,
                "\n{what}: {name}, since segment {since}\n  {}\n  hint: {}",
                table.reason, table.hint
            )?;
        }
        if let Some(error) = &capture.resume_error {
            writeln!(f, "\nthe last resume did nothing ({})\n  {}", error.at, error.error)?;
        }
        let troubles = [
            ("warning", &capture.warning),
            ("held up", &capture.waits),
            ("error", &capture.last_error),
            ("STALLED", &capture.stalled),
        ];
        for (word, text) in troubles {
            if let Some(text) = text {
                writeln!(f, "\n{word}: {text}")?;
            }
        }
        Ok(())
    }
}

impl Segments {
    fn show(&self, f: &mut Formatter<'_>, overview: &Overview) -> fmt::Result {
        let Segments { staged, loaded, in_flight, .. } = self;
        let waiting =
            overview.waiting_seconds().map(|seconds| format!(", the oldest from {} ago", duration(seconds)));
        let waiting = waiting.unwrap_or_default();
        writeln!(f, "segments    {staged} staged, {loaded} loaded, {in_flight} in flight{waiting}")?;
        let Some(load) = &self.last_load else { return Ok(()) };
        let took = load.duration_ms.map(|took| format!(" in {}", duration(took as f64 / 1000.0)));
        let ago = duration(overview.at.duration_since(load.loaded_at).as_secs_f64().max(0.0));
        writeln!(
            f,
            "last load   segment {}, {} rows{}, {ago} ago",
            load.seq,
            load.rows,
            took.unwrap_or_default()
        )
    }
}

impl Rates {
    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.tables.is_empty() {
            return Ok(());
        }
        let over = format!("tables ({} segments, {})", self.segments, duration(self.seconds));
        writeln!(f, "\n{over:<40} {:>9} {:>10} {:>10} {:>10}", "rows/s", "inserts", "updates", "deletes")?;
        for rate in self.tables.iter().take(TABLES) {
            let (table, per_second) = (format!("  {}", rate.table), rate.rows_per_second);
            let (inserts, updates, deletes) = (rate.inserts, rate.updates, rate.deletes);
            writeln!(f, "{table:<40} {per_second:>9.1} {inserts:>10} {updates:>10} {deletes:>10}")?;
        }
        match self.tables.len().saturating_sub(TABLES) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more"),
        }
    }
}

/// With the unit that leaves few digits.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Likewise.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use re_dms_shared::status::{CopyStatus, NeedsResync};

    use super::super::{LastLoad, TableRate};
    use super::*;

    fn overview() -> Overview {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let json = r#"{"stream":"main","pid":7,"state":"streaming","received":"1/40","durable":"1/40","staged":"1/30",
            "loaded":"1/20","confirmed":"1/10","server_wal_end":"1/100020","advance_on":"loaded","lag_seconds":3.25,
            "retained_bytes":1610612736}"#;
        Overview {
            stream: "main".to_owned(),
            at,
            epoch: Some("7-1-re_dms_main-10".to_owned()),
            capture: Some(serde_json::from_str(json).unwrap()),
            heard_seconds_ago: Some(2.0),
            silent: false,
            segments: Some(Segments {
                staged: 42,
                loaded: 40,
                in_flight: 2,
                waiting_since: Some(at - SignedDuration::from_secs(90)),
                last_load: Some(LastLoad { seq: 40, loaded_at: at, rows: 7, duration_ms: Some(1_234) }),
                ..Segments::default()
            }),
            rates: Rates {
                segments: 20,
                seconds: 96.0,
                tables: vec![TableRate {
                    table: "public.orders".to_owned(),
                    rows: 960,
                    inserts: 900,
                    updates: 50,
                    deletes: 10,
                    rows_per_second: 10.0,
                }],
            },
        }
    }

    #[test]
    fn a_stream_that_is_well_fits_on_a_screen() {
        insta::assert_snapshot!(overview().to_string());
    }

    #[test]
    fn what_is_wrong_comes_last_with_its_hints() {
        let mut bad = overview();
        bad.silent = true;
        bad.heard_seconds_ago = Some(90_000.0);
        let capture = bad.capture.as_mut().unwrap();
        capture.copy =
            Some(CopyStatus { tables: 9, tables_done: 3, bytes_expected: 2048, ..CopyStatus::default() });
        capture.quarantined = vec![QuarantinedTable {
            table: "public.bad".to_owned(),
            since_seq: 4,
            since_epoch: "E".to_owned(),
            held: false,
            paused: false,
            resync: None,
            reason: "it lacks a column".to_owned(),
            hint: "add it".to_owned(),
        }];
        capture.needs_resync =
            vec![NeedsResync { table: "public.old".to_owned(), reason: "a default".to_owned() }];
        capture.warning = Some("the slot retains 12 GiB\n  hint: wake the loader".to_owned());
        capture.last_error = Some("S3: no access\n  hint: check the rights".to_owned());
        insta::assert_snapshot!(bad.to_string());
        let nothing = Overview { epoch: None, capture: None, segments: None, rates: Rates::default(), ..bad };
        insta::assert_snapshot!(nothing.to_string());
    }

    #[test]
    fn numbers_keep_few_digits() {
        assert_eq!([bytes(1023), bytes(1536), bytes(u64::MAX)], ["1023 B", "1.5 KiB", "16777216.0 TiB"]);
        let said = [0.04, 9.96, 119.0, 120.0, 7_200.0, 172_800.0].map(duration);
        assert_eq!(said, ["0.0 s", "10.0 s", "119 s", "2 min", "2.0 h", "2.0 days"]);
    }
}
