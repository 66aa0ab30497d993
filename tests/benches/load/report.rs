//! What came out, and whether the targets hold.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::cost::{self, Cost};
use crate::segments::Size;

const PACKAGE_BYTES: usize = 10_000_000;
const COLD_START_MS: f64 = 200.0;
const PEAK_BYTES: u64 = 128 << 20;

/// The program, and the archive that Lambda takes.
#[derive(Debug, Serialize)]
pub(crate) struct Package {
    program: String,
    program_bytes: usize,
    archive_bytes: usize,
}

impl Package {
    pub(crate) fn of(program: &Path, content: &[u8]) -> Result<Self> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(9));
        encoder.write_all(content)?;
        // Headers and directory of a ZIP archive with this one file.
        let archive_bytes = encoder.finish()?.len() + 120;
        Ok(Self { program: program.display().to_string(), program_bytes: content.len(), archive_bytes })
    }
}

/// One cold function that loaded one segment.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) size: Size,
    pub(crate) manifest_bytes: usize,
    pub(crate) first_call_ms: f64,
    pub(crate) invocation_ms: f64,
    pub(crate) cpu_ms: u64,
    pub(crate) data_api_calls: u64,
    pub(crate) s3_requests: u64,
    pub(crate) sqs_requests: u64,
    pub(crate) peak_bytes: u64,
}

impl Run {
    pub(crate) fn peak_mebibytes(&self) -> f64 {
        mebibytes(self.peak_bytes)
    }
}

fn mebibytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
}

/// All that is written to `load.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    package: Package,
    /// From the start of the process to the first call of the Data API, sorted.
    pub(crate) cold_starts_ms: Vec<f64>,
    pub(crate) runs: Vec<Run>,
    costs: Vec<Cost>,
}

impl Report {
    pub(crate) fn new(package: Package) -> Self {
        Self { package, cold_starts_ms: Vec::new(), runs: Vec::new(), costs: Vec::new() }
    }

    pub(crate) fn finish(&mut self) {
        self.cold_starts_ms.sort_by(f64::total_cmp);
        self.costs = self.runs.first().map(cost::costs).unwrap_or_default();
    }

    fn median_start(&self) -> f64 {
        self.cold_starts_ms.get(self.cold_starts_ms.len() / 2).copied().unwrap_or_default()
    }

    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let mark = |holds: bool| if holds { "holds" } else { "MISSED" };
        let Package { program_bytes, archive_bytes, .. } = self.package;
        let _ = writeln!(
            text,
            "archive: {archive_bytes} bytes, the program {program_bytes} (target {PACKAGE_BYTES}: {})",
            mark(archive_bytes < PACKAGE_BYTES)
        );
        let (median, worst) = (self.median_start(), self.cold_starts_ms.last().copied().unwrap_or_default());
        let _ = writeln!(
            text,
            "cold start to the first call of the Data API: median {median:.0} ms, worst {worst:.0} ms (target {COLD_START_MS}: {})",
            mark(median < COLD_START_MS)
        );
        for run in &self.runs {
            let Run { manifest_bytes, invocation_ms, cpu_ms, data_api_calls, peak_bytes, .. } = run;
            let _ = writeln!(
                text,
                "{}: manifest {manifest_bytes} bytes, {data_api_calls} calls of the Data API, {invocation_ms:.0} ms, \
                 CPU {cpu_ms} ms with the start, peak {:.1} MiB (target 128: {})",
                run.size.title(),
                run.peak_mebibytes(),
                mark(*peak_bytes < PEAK_BYTES)
            );
        }
        for Cost { changes_a_segment, dollars_a_million } in &self.costs {
            let _ = writeln!(
                text,
                "{changes_a_segment} changes a segment: ${dollars_a_million:.4} a million changes"
            );
        }
        text
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, serde_json::to_vec_pretty(self)?)?)
    }
}
