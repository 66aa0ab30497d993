//! What is asked for through the source's own WAL, as for tables that are to be read anew: it reaches the capture wherever that
//! runs.

use serde::{Deserialize, Serialize};

/// The prefix of these messages.
pub const PREFIX: &str = "re_dms.verify";

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Whose tables; other streams of the source pass over it.
    pub stream: String,
    /// What is to be verified; none if a transaction had to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
}

/// What is to be verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Where the result goes: see `StreamLayout::verification`.
    pub id: String,
    /// Names on the source, with their schemas; none for all tables.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Per cent of the rows, about, from 1 to 100; all if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<u8>,
    /// Whether the values of keys that differ belong into the result.
    #[serde(default)]
    pub show_keys: bool,
    /// Whether what differs is to be read anew.
    #[serde(default)]
    pub repair: bool,
}

impl Message {
    /// What a message of the stream asks for; none if it is for another stream, for nothing, or can't be read: anybody may
    /// write messages.
    #[must_use]
    pub fn run_of(stream: &str, content: &[u8]) -> Option<Run> {
        let message: Self = serde_json::from_slice(content).ok()?;
        message.run.filter(|_| message.stream == stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_for_one_stream() {
        let run = Run {
            id: "ab".into(),
            tables: vec!["shop.orders".into()],
            sample: Some(5),
            show_keys: true,
            repair: true,
        };
        let message = Message { stream: "main".into(), run: Some(run.clone()) };
        let json = serde_json::to_vec(&message).unwrap();
        assert_eq!(Message::run_of("main", &json), Some(run));
        assert_eq!(Message::run_of("other", &json), None);
        assert_eq!(Message::run_of("main", br#"{"stream":"main"}"#), None);
        assert_eq!(Message::run_of("main", b"nonsense"), None);
    }
}
