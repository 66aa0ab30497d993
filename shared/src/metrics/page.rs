//! Holds `docs/metrics.md` and the catalogue together: its tables are written from it (`UPDATE_DOCS=1 cargo test`).

use std::fmt::Write as _;
use std::path::Path;

use super::catalogue::{CAPTURE, Kind, LOADER, Metric};

fn table(metrics: &[&Metric], prometheus: bool) -> String {
    let mut table = String::from("| name | kind | unit | labels | meaning |\n|---|---|---|---|---|\n");
    for metric in metrics {
        let (kind, suffix) = match metric.kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
            Kind::Distribution(_) => ("distribution", ""),
        };
        // The loader is asked by nobody: it has no other names than CloudWatch's.
        let name =
            if prometheus { format!("re_dms_{}{suffix}", metric.name) } else { metric.name.to_owned() };
        let unit = metric.unit.as_str().to_ascii_lowercase();
        let unit = if unit == "none" { "–" } else { &unit };
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        let _ = writeln!(table, "| `{name}` | {kind} | {unit} | {labels} | {} |", metric.meaning);
    }
    table
}

#[test]
fn the_page_says_what_the_catalogue_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let mut written = page.clone();
    for (name, table) in [("capture", table(CAPTURE, true)), ("loader", table(LOADER, false))] {
        let (begin, end) =
            (format!("<!-- {name}: from the catalogue -->\n"), format!("<!-- end of {name} -->"));
        let (before, rest) = written.split_once(&begin).expect("the table's beginning is marked");
        let (_, after) = rest.split_once(&end).expect("the table's end is marked");
        written = format!("{before}{begin}\n{table}\n{end}{after}");
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    assert!(
        page == written,
        "docs/metrics.md is not what the catalogue says: run UPDATE_DOCS=1 cargo test -p re_dms_shared"
    );
}
