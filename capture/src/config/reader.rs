//! Reads keys by their dotted path, collects every problem, and knows which keys were never asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::{Table, Value};

/// One mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key's dotted path, with the environment variable if the value came from one.
    pub key: String,
    /// What is wrong with it. Never holds the value.
    pub what: String,
    /// What to do.
    pub hint: String,
}

/// Everything that is wrong with the configuration; at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Problem>);

impl ConfigErrors {
    pub(super) fn single(key: &str, what: String, hint: &str) -> Self {
        Self(vec![Problem { key: key.to_owned(), what, hint: hint.to_owned() }])
    }

    /// The problems, in the order of the keys' reading.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "mistake" } else { "mistakes" };
        write!(f, "{} {plural} in the configuration", self.0.len())?;
        for Problem { key, what, hint } in &self.0 {
            write!(f, "\n  {key} {what}\n    hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

pub(super) struct Reader {
    file: BTreeMap<String, Value>,
    environment: BTreeMap<String, String>,
    known: BTreeSet<&'static str>,
    problems: Vec<Problem>,
}

type Parser<T> = fn(&str) -> Result<T, String>;

impl Reader {
    pub(super) fn new(text: &str, environment: Vec<(String, String)>) -> Result<Self, ConfigErrors> {
        // The parser's full message quotes the line, which may hold a secret; its first line does not.
        let table: Table = toml::from_str(text).map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            let what = format!("is not TOML, line {line}: {}", error.message());
            ConfigErrors::single("the file", what, "see docs/configuration.md for an example")
        })?;
        let mut file = BTreeMap::new();
        flatten("", table, &mut file);
        let environment = environment.into_iter().filter(|(name, _)| name.starts_with("RE_DMS_")).collect();
        Ok(Self { file, environment, known: BTreeSet::new(), problems: Vec::new() })
    }

    pub(super) fn problem(&mut self, key: &str, what: String, hint: &str) {
        self.problems.push(Problem { key: key.to_owned(), what, hint: hint.to_owned() });
    }

    pub(super) fn optional<T>(&mut self, key: &'static str, parse: Parser<T>) -> Option<T> {
        let (place, text) = self.text(key)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(what) => {
                self.problem(&place, what, "see docs/configuration.md");
                None
            }
        }
    }

    pub(super) fn or_default<T>(&mut self, key: &'static str, parse: Parser<T>, default: T) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    pub(super) fn required<T>(&mut self, key: &'static str, parse: Parser<T>) -> Option<T> {
        let problems = self.problems.len();
        let value = self.optional(key, parse);
        if value.is_none() && self.problems.len() == problems {
            let hint = format!("set it in the file or as {}", variable(key));
            self.problem(key, "is missing".into(), &hint);
        }
        value
    }

    /// A list of texts; from the environment separated by commas.
    pub(super) fn list<T>(&mut self, key: &'static str, parse: Parser<T>, default: &[&str]) -> Vec<T> {
        self.known.insert(key);
        let (place, items) = if let Some(text) = self.environment.get(&variable(key)) {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            (variable(key), items.map(str::to_owned).collect())
        } else {
            let items = match self.file.get(key) {
                None => default.iter().map(|&item| item.to_owned()).collect(),
                Some(Value::Array(items)) if items.iter().all(Value::is_str) => {
                    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
                }
                Some(_) => {
                    self.problem(key, "must be a list of texts".into(), "for example [\"public.*\"]");
                    Vec::new()
                }
            };
            (key.to_owned(), items)
        };
        let mut values = Vec::new();
        for item in items {
            match parse(&item) {
                Ok(value) => values.push(value),
                Err(what) => self.problem(&place, what, "see docs/configuration.md"),
            }
        }
        values
    }

    /// A list of tables (`[[key]]`).
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Table> {
        self.known.insert(key);
        match self.file.get(key) {
            None => Vec::new(),
            Some(Value::Array(items)) if items.iter().all(Value::is_table) => {
                items.iter().filter_map(Value::as_table).cloned().collect()
            }
            Some(_) => {
                self.problem(key, "must be a list of tables".into(), &format!("each begins with [[{key}]]"));
                Vec::new()
            }
        }
    }

    /// A table of texts with any keys.
    pub(super) fn entries(&mut self, key: &'static str) -> Vec<(String, String)> {
        self.known.insert(key);
        let prefix = format!("{key}.");
        let below = self.file.extract_if(prefix.clone().., |name, _| name.starts_with(&prefix));
        let found: Vec<_> = below.collect();
        let mut entries = Vec::new();
        for (name, value) in found {
            match value {
                Value::String(text) => entries.push((name[prefix.len()..].to_owned(), text)),
                _ => self.problem(&name, "must be a text".into(), "see docs/configuration.md"),
            }
        }
        entries
    }

    /// A scalar as text, with the place it came from.
    fn text(&mut self, key: &'static str) -> Option<(String, String)> {
        self.known.insert(key);
        if let Some(text) = self.environment.get(&variable(key)) {
            return Some((variable(key), text.clone()));
        }
        let text = match self.file.get(key)? {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(value) => value.to_string(),
            Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
                self.problem(key, "must be a single text or number".into(), "see docs/configuration.md");
                return None;
            }
        };
        Some((key.to_owned(), text))
    }

    /// The keys that were asked for so far.
    #[cfg(test)]
    pub(super) fn known(&self) -> &BTreeSet<&'static str> {
        &self.known
    }

    /// Reports keys that nobody asked for, and all problems.
    pub(super) fn finish(mut self) -> Result<(), ConfigErrors> {
        let unknown: Vec<String> =
            self.file.keys().filter(|key| !self.known.contains(key.as_str())).cloned().collect();
        for key in unknown {
            let hint = self.nearest(&key);
            self.problem(&key, "is no key that re_dms knows".into(), &hint);
        }
        let variables: BTreeSet<String> = self.known.iter().map(|key| variable(key)).collect();
        // Names without a level are left alone: other programs of ours have some (RE_DMS_LOG).
        let misspelt: Vec<String> = self
            .environment
            .keys()
            .filter(|name| name.contains("__") && !variables.contains(*name))
            .cloned()
            .collect();
        for name in misspelt {
            let key = name.trim_start_matches("RE_DMS_").to_lowercase().replace("__", ".");
            let hint = self.nearest(&key);
            self.problem(&name, "names no key that re_dms knows".into(), &hint);
        }
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigErrors(self.problems)) }
    }

    /// "did you mean", if a known key is near.
    fn nearest(&self, key: &str) -> String {
        let near = self.known.iter().map(|known| (edit_distance(key, known), known)).min();
        match near {
            Some((distance, known)) if distance <= 3 => format!("did you mean {known}?"),
            _ => "see docs/configuration.md for all keys".into(),
        }
    }
}

/// `batch.max_bytes` → `RE_DMS_BATCH__MAX_BYTES`
pub(super) fn variable(key: &str) -> String {
    format!("RE_DMS_{}", key.to_uppercase().replace('.', "__"))
}

/// Leaves by dotted path. Arrays are leaves.
fn flatten(prefix: &str, table: Table, into: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(table) => flatten(&path, table, into),
            leaf => {
                into.insert(path, leaf);
            }
        }
    }
}

/// Levenshtein's distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
