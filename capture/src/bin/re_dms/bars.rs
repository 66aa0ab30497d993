//! Progress bars of the initial copy, for who watches on a terminal: one for all of it, one for each table that is being
//! read. Log lines go above them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use re_dms_capture::metrics::Meter;
use re_dms_shared::status::CopyStatus;

/// How often they are drawn anew.
const INTERVAL: Duration = Duration::from_millis(250);

/// Where they are: below what is logged. Hidden where stderr is no terminal.
static SCREEN: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Writes to stderr, above the bars if there are any.
pub(crate) struct AboveBars;

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SCREEN.suspend(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Shows how far the copy is for as long as the process runs.
pub(crate) async fn follow(meter: Arc<Meter>) {
    let mut bars = Bars::on(SCREEN.clone());
    loop {
        tokio::time::sleep(INTERVAL).await;
        bars.show(meter.copy().as_ref());
    }
}

/// What is on the screen.
struct Bars {
    screen: MultiProgress,
    all: Option<ProgressBar>,
    tables: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn on(screen: MultiProgress) -> Self {
        Self { screen, all: None, tables: BTreeMap::new() }
    }

    fn show(&mut self, copy: Option<&CopyStatus>) {
        let reading = copy.map(|copy| copy.reading.as_slice()).unwrap_or_default();
        self.tables.retain(|name, bar| {
            let goes_on = reading.iter().any(|table| table.table == *name);
            if !goes_on {
                bar.finish_and_clear();
            }
            goes_on
        });
        let Some(copy) = copy else {
            if let Some(all) = self.all.take() {
                all.finish_and_clear();
            }
            return;
        };
        let all = self.all.get_or_insert_with(|| self.screen.add(bar("initial copy", true)));
        let under_way: u64 = reading.iter().map(|table| table.bytes_done).sum();
        all.set_length(copy.bytes_expected);
        all.set_position((copy.bytes_done + under_way).min(copy.bytes_expected));
        let left =
            copy.seconds_left.map(|seconds| format!(", {} left", humantime(seconds))).unwrap_or_default();
        all.set_message(format!("{} of {} tables, {} rows{left}", copy.tables_done, copy.tables, copy.rows));
        for table in reading {
            let screen = &self.screen;
            let shown = self.tables.entry(table.table.clone());
            let shown = shown.or_insert_with(|| screen.insert_before(all, bar(&table.table, false)));
            shown.set_length(table.bytes_expected);
            shown.set_position(table.bytes_done.min(table.bytes_expected));
            shown.set_message(format!("{} rows", table.rows));
        }
    }
}

fn bar(name: &str, bold: bool) -> ProgressBar {
    let name_style = if bold { "{prefix:30!.bold}" } else { "{prefix:30!}" };
    let template = format!("{name_style} [{{wide_bar}}] {{percent:>3}}% {{bytes}}/{{total_bytes}}  {{msg}}");
    // The template is checked by a test; the library's own is not wrong either.
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::hidden().with_style(style.progress_chars("=> "));
    bar.set_prefix(name.to_owned());
    bar
}

fn humantime(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    if hours > 0 { format!("{hours}h {minutes:02}m") } else { format!("{minutes}m {:02}s", seconds % 60) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use indicatif::{ProgressDrawTarget, TermLike};
    use re_dms_shared::status::TableCopyStatus;

    use super::*;

    /// Keeps what is written, as lines.
    #[derive(Clone, Debug, Default)]
    struct Terminal(Arc<Mutex<String>>);

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            120
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(&format!("{text}\n"))
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_tables_that_are_read_and_all_of_them_are_shown_and_go() {
        let terminal = Terminal::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), 255);
        let mut bars = Bars::on(MultiProgress::with_draw_target(target));
        let table = |name: &str, done| TableCopyStatus {
            table: name.into(),
            bytes_expected: 1 << 20,
            bytes_done: done,
            rows: 17,
        };
        let mut copy = CopyStatus {
            tables: 7,
            tables_done: 3,
            rows: 1234,
            bytes_expected: 8 << 20,
            bytes_done: 3 << 20,
            seconds_left: Some(3725),
            reading: vec![table("shop.orders", 1 << 19), table("shop.lines", 1 << 19)],
        };
        // What is drawn too soon after the time before is not drawn.
        let mut shown = |copy: Option<&CopyStatus>| {
            std::thread::sleep(Duration::from_millis(50));
            terminal.0.lock().unwrap().clear();
            bars.show(copy);
            terminal.0.lock().unwrap().clone()
        };
        shown(Some(&copy));
        let text = shown(Some(&copy));
        for part in ["shop.orders", "shop.lines", " 50% 512.00 KiB/1.00 MiB  17 rows", "initial copy"] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert!(text.contains(" 50% 4.00 MiB/8.00 MiB  3 of 7 tables, 1234 rows, 1h 02m left"), "{text}");
        copy.reading.remove(0);
        shown(Some(&copy));
        let text = shown(Some(&copy));
        assert!(text.contains("shop.lines") && !text.contains("shop.orders"), "{text}");
        shown(None);
        assert_eq!(shown(None), "");
    }
}
