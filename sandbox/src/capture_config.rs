//! `capture.toml`: all that `re_dms run` needs to know, so that anybody can start it again by hand with that file alone.

use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::error::{Error, Result};
use crate::ministack::REGION;
use crate::state::{Folder, State};

/// The stream's name.
pub const STREAM: &str = "main";

/// Key and secret that the local AWS takes.
pub const CREDENTIAL: &str = "test";

/// A capture's config as a sandbox reads it.
#[derive(Clone, Debug)]
pub struct CaptureConfig {
    table: Table,
}

impl CaptureConfig {
    /// The sandbox's own config with somebody's changes merged in, written to the sandbox's folder.
    ///
    /// # Errors
    /// The changes are not TOML, or files can't be used.
    pub fn write(folder: &Folder, state: &State, changes: Option<&Path>) -> Result<Self> {
        if let Some(changes) = changes {
            // Read first: what is broken is not kept.
            read(changes)?;
            fs::copy(changes, folder.overlay()).map_err(Error::file("could not copy", changes))?;
        }
        let mut table = own(folder, state);
        if folder.overlay().exists() {
            merge(&mut table, read(&folder.overlay())?);
        }
        let path = folder.capture_config();
        let text = format!(
            "# Written by `sandbox up`; restart with: re_dms run --config {}\n{table}",
            path.display()
        );
        fs::write(&path, text).map_err(Error::file("could not write", &path))?;
        Ok(Self { table })
    }

    /// What was written.
    ///
    /// # Errors
    /// It is not there, or not TOML.
    pub fn load(path: &Path) -> Result<Self> {
        Ok(Self { table: read(path)? })
    }

    /// A text by its dotted path.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.value(path)?.as_str()
    }

    /// A list of texts by its dotted path.
    #[must_use]
    pub fn texts(&self, path: &str) -> Option<Vec<String>> {
        let list = self.value(path)?.as_array()?;
        Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// Any value by its dotted path.
    #[must_use]
    pub fn value(&self, path: &str) -> Option<&Value> {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let mut value = self.table.get(first)?;
        for key in rest.into_iter().flat_map(|rest| rest.split('.')) {
            value = value.get(key)?;
        }
        Some(value)
    }

    /// The stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        self.text("stream").unwrap_or(STREAM)
    }

    /// The slot's name.
    #[must_use]
    pub fn slot(&self) -> String {
        self.text("slot.name").map_or_else(|| format!("re_dms_{}", self.stream()), str::to_owned)
    }

    /// Does the slot wait for Redshift?
    #[must_use]
    pub fn advances_on_loaded(&self) -> bool {
        self.text("slot.advance_on").is_none_or(|policy| policy == "loaded")
    }

    /// Where the capture tells how far it is.
    #[must_use]
    pub fn status_file(&self) -> PathBuf {
        Path::new(self.text("data_dir").unwrap_or_default()).join("status.json")
    }
}

/// What a sandbox's capture runs with: a short interval, so that it is lively.
fn own(folder: &Folder, state: &State) -> Table {
    let text = |text: &str| Value::String(text.to_owned());
    let table = |entries: &[(&str, Value)]| {
        Value::Table(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
    };
    let aws = [
        ("region", text(REGION)),
        ("endpoint_url", text(&state.aws_endpoint)),
        ("access_key_id", text(CREDENTIAL)),
        ("secret_access_key", text(CREDENTIAL)),
        ("s3_path_style", Value::Boolean(true)),
    ];
    let entries = [
        ("stream", text(STREAM)),
        ("data_dir", text(&folder.capture_data().display().to_string())),
        ("source", table(&[("url", text(&state.source_url))])),
        ("batch", table(&[("interval", text("1s"))])),
        ("s3", table(&[("bucket", text(&state.bucket)), ("prefix", text("re_dms"))])),
        (
            "queues",
            table(&[("segments_url", text(&state.queue_url)), ("acks_url", text(&state.ack_queue_url))]),
        ),
        ("aws", table(&aws)),
    ];
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn read(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).map_err(Error::file("could not read", path))?;
    text.parse().map_err(|error: toml::de::Error| Error::Refused {
        // Its line may hold a secret: the message says what is wrong, the span where.
        what: format!("{} is not TOML: {}", path.display(), error.message()),
        hint: match error.span() {
            Some(span) => {
                format!("look at line {}", text[..span.start.min(text.len())].matches('\n').count() + 1)
            }
            None => "check it with any TOML tool".into(),
        },
    })
}

/// Tables are merged key by key, everything else is replaced.
fn merge(into: &mut Table, changes: Table) {
    for (key, change) in changes {
        match (into.get_mut(&key), change) {
            (Some(Value::Table(mine)), Value::Table(theirs)) => merge(mine, theirs),
            (_, change) => {
                into.insert(key, change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::make(root.path()).unwrap();
        (root, folder)
    }

    #[test]
    fn changes_are_merged_and_kept() {
        let (root, folder) = folder();
        let state = State { bucket: "b".into(), ..State::default() };
        let changes = root.path().join("changes.toml");
        let text = "exclude = []\n[source]\ninclude = ['sales.*']\n[batch]\ninterval = '5s'\n[slot]\nadvance_on = 'staged'";
        fs::write(&changes, text).unwrap();
        CaptureConfig::write(&folder, &state, Some(&changes)).unwrap();
        // a later `up` without changes
        CaptureConfig::write(&folder, &state, None).unwrap();
        let config = CaptureConfig::load(&folder.capture_config()).unwrap();
        assert_eq!(config.text("batch.interval"), Some("5s"));
        assert_eq!(config.text("s3.bucket"), Some("b"));
        assert_eq!(config.texts("source.include"), Some(vec!["sales.*".to_owned()]));
        assert!(!config.advances_on_loaded());
        assert_eq!(config.slot(), "re_dms_main");
        assert_eq!(config.status_file(), folder.root().join("capture/status.json"));
    }

    #[test]
    fn broken_changes_name_the_line_but_not_its_text() {
        let (root, folder) = folder();
        let changes = root.path().join("changes.toml");
        fs::write(&changes, "[source]\nurl = 'postgres://u:secret@h/d").unwrap();
        let error = CaptureConfig::write(&folder, &State::default(), Some(&changes)).unwrap_err().to_string();
        assert!(error.contains("changes.toml") && error.contains("line 2"), "{error}");
        assert!(!error.contains("secret"), "{error}");
        assert!(!folder.overlay().exists());
    }
}
