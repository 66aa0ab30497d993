//! What can go wrong in the sandbox: who failed, why, and what to do about it.

use std::path::{Path, PathBuf};

/// One of the sandbox's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// PostgreSQL, the source.
    Source,
    /// PostgreSQL behind the stand-in.
    Warehouse,
    /// S3, SQS and Lambda.
    Aws,
    /// The Redshift stand-in.
    Redshift,
    /// `re_dms run`.
    Capture,
}

impl Part {
    /// In the order in which they start.
    pub const ALL: [Part; 5] = [Part::Source, Part::Warehouse, Part::Aws, Part::Redshift, Part::Capture];

    /// Its name in `sandbox.json` and of its log file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Part::Source => "source",
            Part::Warehouse => "warehouse",
            Part::Aws => "aws",
            Part::Redshift => "redshift",
            Part::Capture => "capture",
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a command of the sandbox failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part did not come up, or did not do what it was asked.
    #[error("{part}: {message}{}", log_tail(log.as_deref()))]
    Part {
        /// Which.
        part: Part,
        /// What happened.
        message: String,
        /// Its log, whose end is shown.
        log: Option<PathBuf>,
    },
    /// Something that the sandbox needs is not there.
    #[error("{what}\n  hint: {hint}")]
    Missing {
        /// What.
        what: String,
        /// Where to get it.
        hint: String,
    },
    /// The command can't be done as it was asked for.
    #[error("{what}\n  hint: {hint}")]
    Refused {
        /// Why.
        what: String,
        /// What to do instead.
        hint: String,
    },
    /// A file or folder could not be used.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was tried, as in "could not write".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A query failed on the source or on the warehouse.
    #[error("{side}: {source}{}", server_says(source))]
    Database {
        /// Which server.
        side: Part,
        /// What it said.
        source: tokio_postgres::Error,
    },
    /// Nothing failed, it only takes too long.
    #[error("{0}")]
    TimedOut(String),
    /// Ctrl-C or SIGTERM.
    #[error("stopped by a signal")]
    Interrupted,
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A file operation's error.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::File { action, path, source }
    }

    /// A query's error.
    pub(crate) fn database(side: Part) -> impl Fn(tokio_postgres::Error) -> Error {
        move |source| Error::Database { side, source }
    }
}

/// The server's own words, which the client library's message leaves out; its detail may hold row values and stays out.
fn server_says(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map(|db| format!(": {} ({})", db.message(), db.code().code())).unwrap_or_default()
}

/// The last lines of a log, with its path.
fn log_tail(log: Option<&Path>) -> String {
    const LINES: usize = 15;
    let Some(path) = log else { return String::new() };
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return format!("\n  its log {} is empty", path.display());
    }
    let tail = lines[lines.len().saturating_sub(LINES)..].join("\n  | ");
    format!("\n  the end of {}:\n  | {tail}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parts_error_shows_the_end_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("aws.log");
        let lines: Vec<String> = (1..=100).map(|n| format!("line {n}")).collect();
        std::fs::write(&log, lines.join("\n")).unwrap();
        let error = Error::Part { part: Part::Aws, message: "exited".into(), log: Some(log) };
        let text = error.to_string();
        assert!(text.starts_with("aws: exited"), "{text}");
        assert!(text.ends_with("| line 99\n  | line 100"), "{text}");
        assert!(!text.contains("line 85\n"), "{text}");
    }
}
