//! Keys of every kind. To the model a key is a number; here it becomes a key's columns, each number others.

/// Texts that are told apart by case, blanks, quoting or encoding only.
const TEXTS: [&str; 12] =
    ["a", "A", "a ", " a", "ä", "a\u{308}", "a,b", "\"a\"", "it's", "\\N", "a\nb", "😀"];

/// What a key is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// One integer. The only kind that ranges of rows are made of.
    Integer,
    /// Negative and large numbers.
    Bigint,
    /// `(text, integer)`
    TextAndInteger,
    /// `(varchar, timestamp)`
    CodeAndTime,
    /// `(char(n), date)`
    CharAndDate,
    /// A uuid.
    Uuid,
    /// `numeric` without precision: one value has many forms.
    Numeric,
    /// `timestamptz`
    Instant,
    /// `bytea`
    Bytes,
    /// A text that is TOASTed itself.
    LongText,
    /// No key: rows are told apart by nothing, but belong to groups.
    Group,
}

impl KeyKind {
    /// The columns' types.
    pub(super) fn types(self) -> &'static [&'static str] {
        match self {
            KeyKind::Integer | KeyKind::Group => &["integer"],
            KeyKind::Bigint => &["bigint"],
            KeyKind::TextAndInteger => &["text", "integer"],
            KeyKind::CodeAndTime => &["varchar(40)", "timestamp"],
            KeyKind::CharAndDate => &["char(12)", "date"],
            KeyKind::Uuid => &["uuid"],
            KeyKind::Numeric => &["numeric"],
            KeyKind::Instant => &["timestamptz"],
            KeyKind::Bytes => &["bytea"],
            KeyKind::LongText => &["text"],
        }
    }

    /// The key's columns as SQL expressions.
    pub(super) fn values(self, key: u32) -> Vec<String> {
        let (rest, text) = (key as usize / TEXTS.len(), TEXTS[key as usize % TEXTS.len()]);
        match self {
            KeyKind::Integer | KeyKind::Group => vec![key.to_string()],
            KeyKind::Bigint => vec![(i64::from(key) * 1_000_000_007 - 9_000_000_000).to_string()],
            KeyKind::TextAndInteger => vec![quoted(text), rest.to_string()],
            KeyKind::CodeAndTime => {
                vec![
                    quoted(&format!("{text}{rest}")),
                    format!("'2024-02-29 00:00:00'::timestamp + '{key} ms'"),
                ]
            }
            KeyKind::CharAndDate => vec![format!("'c{rest}'"), format!("'1999-12-31'::date + {key}")],
            KeyKind::Uuid => vec![format!("'{key:08x}-0000-4000-8000-00000000000a'::uuid")],
            KeyKind::Numeric => vec![format!("{rest}.{:02}", key as usize % TEXTS.len())],
            KeyKind::Instant => vec![format!("'2024-03-31 00:30:00+00'::timestamptz + '{key} min 1 us'")],
            KeyKind::Bytes => vec![format!("'\\x{:04x}00ff'::bytea", key)],
            KeyKind::LongText => vec![format!("long_key({key})")],
        }
    }
}

/// A text as a literal.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_are_one() {
        let kinds = [
            KeyKind::Integer,
            KeyKind::Bigint,
            KeyKind::TextAndInteger,
            KeyKind::CodeAndTime,
            KeyKind::CharAndDate,
            KeyKind::Uuid,
            KeyKind::Numeric,
            KeyKind::Instant,
            KeyKind::Bytes,
            KeyKind::LongText,
        ];
        for kind in kinds {
            let keys: std::collections::HashSet<_> = (0..2_000).map(|key| kind.values(key)).collect();
            assert_eq!(keys.len(), 2_000, "{kind:?}");
            assert!(keys.iter().all(|key| key.len() == kind.types().len()), "{kind:?}");
        }
    }
}
