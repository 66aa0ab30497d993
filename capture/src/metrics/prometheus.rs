//! Prometheus's text format.

use std::fmt::{self, Write as _};

use re_dms_shared::metrics::{Kind, Metric, Registry, Sample, Value};

/// The type of a page of it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All values of the registry, each with the stream's label.
#[must_use]
pub fn text(registry: &Registry, stream: &str) -> String {
    let mut page = String::new();
    for (metric, samples) in registry.samples() {
        // Writing to a text can't fail.
        let _ = write_metric(&mut page, metric, &samples, stream);
    }
    page
}

fn write_metric(page: &mut String, metric: &Metric, samples: &[Sample], stream: &str) -> fmt::Result {
    let (kind, suffix) = match metric.kind {
        Kind::Counter => ("counter", "_total"),
        Kind::Gauge => ("gauge", ""),
        Kind::Distribution(_) => ("histogram", ""),
    };
    let name = format!("re_dms_{}{suffix}", metric.name);
    writeln!(page, "# HELP {name} {}\n# TYPE {name} {kind}", metric.meaning)?;
    for sample in samples {
        let mut labels = format!("stream=\"{}\"", Escaped(stream));
        for (label, value) in metric.labels.iter().zip(&sample.labels) {
            write!(labels, ",{label}=\"{}\"", Escaped(value))?;
        }
        match (&sample.value, metric.kind) {
            (Value::Many(many), Kind::Distribution(bounds)) => {
                for (bound, count) in bounds.iter().zip(&many.up_to) {
                    writeln!(page, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}")?;
                }
                writeln!(page, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", many.count)?;
                writeln!(page, "{name}_sum{{{labels}}} {}", many.sum)?;
                writeln!(page, "{name}_count{{{labels}}} {}", many.count)?;
            }
            (Value::Number(number), _) => writeln!(page, "{name}{{{labels}}} {number}")?,
            (Value::Many(_), _) => {}
        }
    }
    Ok(())
}

/// A label's value: tables may be called anything.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_parse::{Scrape, Value as Parsed};
    use re_dms_shared::metrics::catalogue::{CAPTURE, LAG_SECONDS, LOADED_LSN, ROWS, UPLOAD_SECONDS};

    use super::*;

    #[test]
    fn a_parser_reads_what_is_written() {
        let registry = Registry::new(CAPTURE);
        registry.set(&LAG_SECONDS, 0.125);
        registry.set(&LOADED_LSN, 24_543_616_072.0);
        registry.add(&ROWS, &["shop.it's \"odd\"\\\n", "insert"], 3);
        registry.observe(&UPLOAD_SECONDS, 0.2);
        registry.observe(&UPLOAD_SECONDS, 1000.0);
        let page = text(&registry, "main");
        assert!(page.contains(r#"table="shop.it's \"odd\"\\\n""#), "{page}");

        let scrape = Scrape::parse(page.lines().map(|line| Ok(line.to_owned()))).unwrap();
        let find = |name: &str| {
            let found = scrape.samples.iter().find(|sample| sample.metric == name);
            found.unwrap_or_else(|| panic!("{name} is not in {page}"))
        };
        assert_eq!(find("re_dms_lag_seconds").value, Parsed::Gauge(0.125));
        assert_eq!(find("re_dms_loaded_lsn").value, Parsed::Gauge(24_543_616_072.0));
        assert_eq!(find("re_dms_changes_total").value, Parsed::Counter(0.0));
        let rows = find("re_dms_rows_total");
        assert_eq!((&rows.value, rows.labels.get("operation")), (&Parsed::Counter(3.0), Some("insert")));
        let Parsed::Histogram(buckets) = &find("re_dms_upload_seconds").value else { panic!("a histogram") };
        let counts: Vec<_> = buckets.iter().map(|bucket| bucket.count).collect();
        assert_eq!(buckets.last().map(|bucket| bucket.less_than), Some(f64::INFINITY));
        assert_eq!((counts[0], counts[3], counts[11], counts[12]), (0.0, 1.0, 1.0, 2.0));
        assert_eq!(find("re_dms_upload_seconds_count").value, Parsed::Untyped(2.0));
        assert_eq!(scrape.docs["re_dms_lag_seconds"], LAG_SECONDS.meaning);
    }
}
