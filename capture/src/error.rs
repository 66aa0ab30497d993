//! What can go wrong: who failed, whether to try again, what happened, and what to do about it.

use std::fmt;

/// Who failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// PostgreSQL, or the way to it.
    Source,
    /// S3, or the way to it.
    Storage,
    /// SQS, or the way to it.
    Queue,
    /// The loader, by its own words.
    Loader,
    /// This machine: its disk, its files.
    Machine,
    /// The stream's own state: what is on S3, on disk and in the slot do not fit together.
    Stream,
}

impl Who {
    /// In a word or two.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Who::Source => "source",
            Who::Storage => "S3",
            Who::Queue => "queue",
            Who::Loader => "loader",
            Who::Machine => "this machine",
            Who::Stream => "stream",
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure of the capture. Its text never holds a row value or a secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{who}: {what}\n  hint: {hint}")]
pub struct Error {
    /// Who failed.
    pub who: Who,
    /// The same may succeed later, without anybody changing anything.
    pub retry: bool,
    /// What happened, to what.
    pub what: String,
    /// What to do.
    pub hint: String,
    /// The stream is to be started over, from what S3, the disk and the source hold: what it took for granted is so no more.
    pub start_over: bool,
    /// The invariant of the design that was found broken, or would have been.
    pub invariant: Option<u8>,
}

impl Error {
    /// Something that stays wrong until somebody acts.
    pub fn fatal(who: Who, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { who, retry: false, what: what.into(), hint: hint.into(), start_over: false, invariant: None }
    }

    /// An error of one of our own pure parts, whose text ends in `(hint: …)` if it has one.
    pub fn told(who: Who, retry: bool, error: &dyn fmt::Display) -> Self {
        let text = error.to_string();
        let parts = text.strip_suffix(')').and_then(|text| text.rsplit_once(" (hint: "));
        let (what, hint) =
            parts.unwrap_or((&text, if retry { "it is tried again" } else { "see the log before this" }));
        Self { who, retry, what: what.to_owned(), hint: hint.to_owned(), start_over: false, invariant: None }
    }

    /// Something that may pass by itself.
    pub fn passing(who: Who, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { who, retry: true, what: what.into(), hint: hint.into(), start_over: false, invariant: None }
    }

    /// The same, for a stream that finds everything anew.
    #[must_use]
    pub fn starting_over(self) -> Self {
        Self { start_over: true, ..self }
    }

    /// The same, of what breaks this invariant.
    #[must_use]
    pub fn breaking(self, invariant: u8) -> Self {
        Self { invariant: Some(invariant), ..self }
    }

    /// The source was failed over, or set back, while we ran.
    #[must_use]
    pub fn new_timeline(from: u32, to: u32) -> Self {
        let what = format!("the source was on timeline {from} and is on timeline {to} now");
        let error = Self::fatal(Who::Source, what, "the stream is started over");
        error.starting_over()
    }
}

/// Short for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_in_the_text_becomes_the_hint() {
        let error = Error::told(Who::Machine, false, &"the disk (sda) is full (hint: make room)");
        assert_eq!((error.what.as_str(), error.hint.as_str()), ("the disk (sda) is full", "make room"));
        assert_eq!(error.to_string(), "this machine: the disk (sda) is full\n  hint: make room");
        let error = Error::told(Who::Source, true, &"gone");
        assert_eq!((error.what.as_str(), error.hint.as_str()), ("gone", "it is tried again"));
    }
}
