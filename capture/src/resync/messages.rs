//! What is asked for tables through the source's own WAL: it reaches the capture wherever that runs, exactly once, and at a
//! place among the tables' changes.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Who};
use crate::relations::{KeyRanges, NamedTable};

/// The prefix of these messages.
pub const PREFIX: &str = "re_dms.tables";

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Whose tables; other streams of the source pass over it.
    pub stream: String,
    /// What is to be done.
    #[serde(flatten)]
    pub request: Request,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Read these tables anew.
    Resync {
        /// The wish's.
        id: String,
        /// Which.
        tables: Vec<NamedTable>,
    },
    /// Read some keys of a table anew.
    ResyncKeys {
        /// The wish's.
        id: String,
        /// Which table.
        table: NamedTable,
        /// Which of its keys.
        keys: KeyRanges,
    },
    /// As `Resync`, unless it is wished for or done already: nobody but the capture itself asks for it.
    ResyncIfDue {
        /// The wish's.
        id: String,
        /// Which.
        tables: Vec<NamedTable>,
    },
    /// These tables are not replicated from here on.
    Remove {
        /// Which.
        tables: Vec<NamedTable>,
    },
    /// Nothing: a transaction had to come.
    Mark,
    /// What was read before this was written belongs here.
    Place {
        /// Only who wrote it knows what that is.
        id: String,
    },
    /// A newer version's.
    #[serde(other)]
    Unknown,
}

impl Message {
    /// The text that goes into the WAL.
    ///
    /// # Errors
    /// Only if serde refuses, which it has no reason to.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| {
            Error::fatal(Who::Stream, format!("a request for tables: {error}"), "report this as a bug")
        })
    }

    /// What a message of the stream asks for; none if it is for another stream, or can't be read: anybody may write
    /// messages.
    #[must_use]
    pub fn of(stream: &str, content: &[u8]) -> Option<Request> {
        match serde_json::from_slice::<Self>(content) {
            Ok(message) => (message.stream == stream).then_some(message.request),
            Err(_) => {
                tracing::warn!(prefix = PREFIX, "a message of the stream can't be read: it is passed over");
                None
            }
        }
    }
}

/// Tells wishes apart.
#[must_use]
pub fn new_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_for_one_stream_and_what_is_not_known_is_passed_over() {
        let tables = vec![NamedTable { oid: 7, schema: "shop".into(), name: "orders".into() }];
        let request = Request::Resync { id: "ab".into(), tables };
        let message = Message { stream: "main".into(), request: request.clone() };
        let json = message.to_json().unwrap();
        assert_eq!(
            json,
            r#"{"stream":"main","request":"resync","id":"ab","tables":[{"oid":7,"schema":"shop","name":"orders"}]}"#
        );
        assert_eq!(Message::of("main", json.as_bytes()), Some(request));
        assert_eq!(Message::of("other", json.as_bytes()), None);
        assert_eq!(Message::of("main", b"nonsense"), None);
        let newer = br#"{"stream":"main","request":"polish","id":"ab"}"#;
        assert_eq!(Message::of("main", newer), Some(Request::Unknown));
    }
}
