//! `[types]`, `[[columns]]` and the columns that `[source]` leaves out or hashes.

use re_dms_shared::columns::{ColumnPattern, Columns};
use re_dms_shared::types::RuleError;
use toml::Value;

use super::Secret;
use super::reader::Reader;

/// The shortest key of hashes: half of what SHA-256 gives.
const SHORTEST_KEY: usize = 16;

/// The rules in `[types]`, which `[[columns]]` override, with their keys' names.
const RULES: [(&str, &str); 9] = [
    ("types.numeric_scale", "numeric_scale"),
    ("types.inexact_numeric", "inexact_numeric"),
    ("types.nan", "nan"),
    ("types.date", "date"),
    ("types.end_of_day", "end_of_day"),
    ("types.long_text", "long_text"),
    ("types.long_bytes", "long_bytes"),
    ("types.json", "json"),
    ("types.super_null", "super_null"),
];

/// Columns and the key of their hashes, which is there if any are hashed.
pub(super) fn read(reader: &mut Reader) -> (Columns, Option<Secret>) {
    let pattern = |text: &str| text.parse::<ColumnPattern>();
    let mut columns = Columns {
        excluded: reader.list("source.exclude_columns", pattern, &[]),
        hashed: reader.list("source.hash_columns", pattern, &[]),
        ..Columns::default()
    };
    let key = reader.optional("source.hash_key", |text| {
        if text.len() < SHORTEST_KEY {
            return Err(format!("must have at least {SHORTEST_KEY} bytes"));
        }
        Ok(Secret::new(text.to_owned()))
    });
    if key.is_none() && !columns.hashed.is_empty() {
        reader.problem(
            "source.hash_key",
            "is missing, and source.hash_columns names columns".into(),
            "set it as RE_DMS_SOURCE__HASH_KEY: the hashes are worth what the key is",
        );
    }
    for (key, rule) in RULES {
        if let Some(value) = reader.optional(key, |text| Ok(text.to_owned()))
            && let Err(error) = columns.defaults.set(rule, &value)
        {
            reader.problem(key, error.to_string(), "see docs/configuration.md");
        }
    }
    for (number, mut entry) in reader.tables("columns").into_iter().enumerate() {
        let place = format!("columns[{number}]");
        let Some(pattern) = entry.remove("match").and_then(|pattern| pattern.as_str().map(str::to_owned))
        else {
            reader.problem(
                &place,
                "has no match".into(),
                "match = \"schema.table.column\" says which it is for",
            );
            continue;
        };
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let rules: Vec<(String, String)> =
            entry.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        for (name, value) in &rules {
            let mut tried = columns.defaults;
            if let Err(error) = tried.set(name, value) {
                let hint = match error {
                    RuleError::Unknown => "see docs/configuration.md for the rules",
                    RuleError::Value(_) => "see docs/types.md for what becomes of each type",
                };
                reader.problem(&format!("{place}.{name}"), error.to_string(), hint);
            }
        }
        match pattern.parse() {
            // What is wrong with its rules was told.
            Ok(pattern) => drop(columns.add_override(pattern, rules)),
            Err(what) => reader.problem(&format!("{place}.match"), what, "see docs/configuration.md"),
        }
    }
    (columns, key)
}
