//! A folder for what does not fit into memory: first of all each table's steps, a line each, in order.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::pin::pin;

use futures_util::stream::TryStreamExt as _;
use re_dms_shared::manifest::{Manifest, Step};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Who};
use crate::replay::{Base, Survey};
use crate::segments::Archive;

/// Lines that are held before they are appended.
const HELD: usize = 1000;

/// The folder, gone with this.
pub(super) struct Scratch {
    folder: PathBuf,
    held: BTreeMap<u32, Vec<u8>>,
    lines: usize,
}

/// A step, and whether its rows are the table's own alone.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredStep {
    pub(super) is_copy: bool,
    #[serde(flatten)]
    pub(super) step: Step,
}

impl StoredStep {
    /// In its files.
    pub(super) fn bytes(&self) -> u64 {
        self.step.action.load().map_or(0, |load| load.files.iter().map(|file| file.bytes).sum())
    }
}

pub(super) fn broken(folder: &Path, error: &std::io::Error) -> Error {
    let what = format!("the folder {} can't be used: {error}", folder.display());
    Error::fatal(Who::Machine, what, "give --scratch a folder with room for twice the tables' rows")
}

impl Scratch {
    pub(super) fn make(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).map_err(|error| broken(&folder, &error))?;
        Ok(Self { folder, held: BTreeMap::new(), lines: 0 })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts the steps of all tables that are meant aside.
    pub(super) async fn fill(&mut self, archive: &Archive, survey: &Survey, base: &Base) -> Result<()> {
        let mut derivation = survey.derivation(&archive.stream, None, base);
        let mut origins = pin!(base.origins(archive, survey.first));
        while let Some(manifest) = origins.try_next().await? {
            if manifest.seq > survey.to {
                break;
            }
            for Manifest { copy, steps, .. } in derivation.drafts(&manifest) {
                for step in steps {
                    self.add(&StoredStep { is_copy: copy.is_some(), step })?;
                }
            }
        }
        self.flush()
    }

    fn add(&mut self, step: &StoredStep) -> Result<()> {
        let lines = self.held.entry(step.step.table.oid).or_default();
        serde_json::to_writer(&mut *lines, step).map_err(|error| {
            Error::fatal(Who::Machine, format!("a step can't be written: {error}"), "report this as a bug")
        })?;
        lines.push(b'\n');
        self.lines += 1;
        if self.lines < HELD { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        self.lines = 0;
        for (oid, lines) in std::mem::take(&mut self.held) {
            let file = OpenOptions::new().create(true).append(true).open(self.file(oid));
            let written = file.and_then(|mut file| file.write_all(&lines));
            written.map_err(|error| broken(&self.folder, &error))?;
        }
        Ok(())
    }

    fn file(&self, oid: u32) -> PathBuf {
        self.folder.join(format!("{oid}.steps"))
    }

    /// A table's steps in order.
    pub(super) fn steps(&self, oid: u32) -> Result<impl Iterator<Item = Result<StoredStep>> + use<>> {
        let folder = self.folder.clone();
        let lines: Box<dyn Iterator<Item = std::io::Result<String>>> = match File::open(self.file(oid)) {
            Ok(file) => Box::new(BufReader::new(file).lines()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Box::new(std::iter::empty()),
            Err(error) => return Err(broken(&folder, &error)),
        };
        Ok(lines.map(move |line| {
            let line = line.map_err(|error| broken(&folder, &error))?;
            serde_json::from_str(&line).map_err(|error| {
                Error::fatal(
                    Who::Machine,
                    format!("a step can't be read back: {error}"),
                    "report this as a bug",
                )
            })
        }))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %error, "the folder stays");
        }
    }
}
