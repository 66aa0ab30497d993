//! What a run leaves behind when it fails, and what it says when it does not.

use std::fs::{File, create_dir_all, remove_dir_all};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use re_dms_shared::manifest::{Action, Manifest, RowCounts, sha256_hex};
use re_dms_tests::history::{Disturbance, schema};
use re_dms_tests::{Aws, Sandbox};

/// A history's SQL, as it runs.
pub(super) struct Record {
    folder: PathBuf,
    sql: BufWriter<File>,
}

impl Record {
    pub(super) fn begin(seed: u64) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/histories").join(seed.to_string());
        create_dir_all(&folder)?;
        let mut sql = BufWriter::new(File::create(folder.join("history.sql"))?);
        writeln!(sql, "{}", schema())?;
        Ok(Self { folder, sql })
    }

    pub(super) fn round(&mut self, number: u32) -> Result<()> {
        Ok(writeln!(self.sql, "-- round {number}")?)
    }

    pub(super) fn statement(&mut self, session: usize, sql: &str) -> Result<()> {
        Ok(writeln!(self.sql, "/* {session} */ {sql};")?)
    }

    pub(super) fn disturbance(&mut self, disturbance: &Disturbance) -> Result<()> {
        Ok(writeln!(self.sql, "-- {disturbance:?}")?)
    }

    /// Keeps it, with the sandbox's logs.
    pub(super) fn keep(mut self, sandbox: &Sandbox) -> Result<PathBuf> {
        self.sql.flush()?;
        let log = PathBuf::from(sandbox.text("capture_log")?);
        for entry in log.parent().map(std::fs::read_dir).into_iter().flatten().flatten().flatten() {
            if entry.file_type()?.is_file() {
                std::fs::copy(entry.path(), self.folder.join(entry.file_name()))?;
            }
        }
        Ok(self.folder)
    }

    pub(super) fn forget(self) -> Result<()> {
        Ok(remove_dir_all(&self.folder)?)
    }
}

/// What was staged, in numbers; and that the segments are one unbroken chain.
pub(super) async fn summary(aws: &Aws) -> Result<String> {
    let mut keys = aws.keys("/manifest.json").await?;
    keys.sort();
    let (mut rows, mut loads, mut truncates, mut several_files, mut most_sets) =
        (RowCounts::default(), 0, 0, 0, 0);
    let mut before: Option<(Manifest, String)> = None;
    for key in &keys {
        let json = aws.object(key).await?;
        let manifest = Manifest::from_json(&json)?;
        if let Some((last, sha256)) = &before {
            let named = manifest.predecessor.as_ref().map(|named| (named.seq, &named.sha256));
            ensure!(named == Some((last.seq, sha256)), "{key} does not name the segment before it");
            ensure!(manifest.seq == last.seq + 1 && manifest.start_lsn == last.end_lsn, "a gap before {key}");
        }
        for step in &manifest.steps {
            match &step.action {
                Action::Truncate => truncates += 1,
                Action::Schema(_) | Action::Resync | Action::Replace(_) | Action::Chunk(_) => {}
                Action::Load(load) => {
                    loads += 1;
                    several_files += u32::from(load.files.len() > 1);
                    most_sets = most_sets.max(load.present_sets.len());
                    rows.inserts += load.rows.inserts;
                    rows.replaces += load.rows.replaces;
                    rows.updates += load.rows.updates;
                    rows.deletes += load.rows.deletes;
                    rows.moves += load.rows.moves;
                }
            }
        }
        before = Some((manifest, sha256_hex(&json)));
    }
    Ok(format!(
        "{} segments, {loads} loads ({several_files} of several files, at most {most_sets} sets of columns), {truncates} truncates, {rows:?}",
        keys.len()
    ))
}
