//! `[[tables]]`: what is said of single tables: how they lie in Redshift, and what becomes of changes of their definitions.

use std::collections::BTreeMap;

use re_dms_shared::columns::glob;
use re_dms_shared::manifest::Encoding;
use toml::Value;

use super::patterns::{Pattern, pattern};
use super::reader::Reader;

/// The entries, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableSettings {
    entries: Vec<(Pattern, Entry)>,
}

/// What one entry says; what it does not name is left to those before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    distribution: Option<WantedDistribution>,
    sort_key: Option<Vec<String>>,
    encodings: BTreeMap<String, Encoding>,
    primary_key: Option<bool>,
    schema_changes: Option<SchemaChanges>,
    keep_columns: Option<bool>,
    keep_tables: Option<bool>,
    resync: Option<bool>,
    resync_whole: Option<bool>,
}

/// What all entries together say of a table. Columns are called by their names on the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableRules {
    /// `distkey`, `diststyle`
    pub distribution: WantedDistribution,
    /// `sortkey`; empty for AUTO.
    pub sort_key: Vec<String>,
    /// `encode`
    pub encodings: BTreeMap<String, Encoding>,
    /// Declare the key as primary key.
    pub primary_key: bool,
    /// What becomes of changes of its definition.
    pub schema_changes: SchemaChanges,
    /// Columns that are dropped on the source stay.
    pub keep_columns: bool,
    /// So does the table.
    pub keep_table: bool,
    /// Rows that can't be known without reading them again are left to `re_dms tables resync`.
    pub manual_resync: bool,
    /// It is read anew as a whole, under a snapshot, also where its key would do.
    pub resync_whole: bool,
}

/// How rows are to be distributed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // as in the manifest's `Distribution`
pub enum WantedDistribution {
    #[default]
    Auto,
    Even,
    All,
    /// By this column.
    Key(String),
}

/// What becomes of changes of a table's definition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchemaChanges {
    /// Redshift's table follows.
    #[default]
    Apply,
    /// The table stands still until somebody approves.
    Hold,
    /// Redshift's table stays as it is.
    Ignore,
}

const RULES: &str = "there are match, distkey, diststyle, sortkey, encode, primary_key, schema_changes, dropped_columns, \
                     dropped_tables, resync and resync_by";

impl TableSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut entries = Vec::new();
        for (number, mut table) in reader.tables("tables").into_iter().enumerate() {
            let place = format!("tables[{number}]");
            let matched = table.remove("match").and_then(|value| value.as_str().map(str::to_owned));
            let matched = match matched.as_deref().map(pattern) {
                Some(Ok(matched)) => Some(matched),
                Some(Err(what)) => {
                    reader.problem(&format!("{place}.match"), what, "see docs/configuration.md");
                    None
                }
                None => {
                    let hint = "match = \"schema.table\", with * and ?, says which it is for";
                    reader.problem(&place, "has no match".into(), hint);
                    None
                }
            };
            let mut entry = Entry::default();
            let style = table.remove("diststyle");
            for (name, value) in table {
                if let Err(what) = entry.set(&name, &value) {
                    reader.problem(&format!("{place}.{name}"), what, "see docs/configuration.md");
                }
            }
            if let Some(Err(what)) = style.map(|style| entry.set_style(style.as_str().unwrap_or_default())) {
                reader.problem(&format!("{place}.diststyle"), what, "see docs/configuration.md");
            }
            entries.extend(matched.map(|matched| (matched, entry)));
        }
        Self { entries }
    }

    /// What is said of a table: of several entries that match, the last one that names a rule counts.
    #[must_use]
    pub fn of(&self, schema: &str, table: &str) -> TableRules {
        let mut rules = TableRules::default();
        let matching =
            |(pattern, _): &&(Pattern, Entry)| glob(&pattern.schema, schema) && glob(&pattern.table, table);
        for (_, entry) in self.entries.iter().filter(matching) {
            let Entry { distribution, sort_key, encodings, .. } = entry.clone();
            rules.distribution = distribution.unwrap_or(rules.distribution);
            rules.sort_key = sort_key.unwrap_or(rules.sort_key);
            rules.encodings.extend(encodings);
            rules.primary_key = entry.primary_key.unwrap_or(rules.primary_key);
            rules.schema_changes = entry.schema_changes.unwrap_or(rules.schema_changes);
            rules.keep_columns = entry.keep_columns.unwrap_or(rules.keep_columns);
            rules.keep_table = entry.keep_tables.unwrap_or(rules.keep_table);
            rules.resync_whole = entry.resync_whole.unwrap_or(rules.resync_whole);
            rules.manual_resync = entry.resync.map_or(rules.manual_resync, |auto| !auto);
        }
        rules
    }
}

impl Entry {
    fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let text = || value.as_str().filter(|text| !text.is_empty());
        match name {
            "distkey" => {
                let column =
                    text().ok_or("must be the name of one column: Redshift distributes by no more")?;
                self.distribution = Some(WantedDistribution::Key(column.to_owned()));
            }
            "sortkey" => {
                self.sort_key = Some(columns(value).ok_or("must be a column's name, or a list of them")?);
            }
            "encode" => {
                let encodings = value.as_table().ok_or("must be a table: { column = \"zstd\" }")?;
                for (column, encoding) in encodings {
                    let encoding = encoding.as_str().unwrap_or_default().parse::<Encoding>();
                    let encoding = encoding.map_err(|error| format!("of {column} {error}"))?;
                    self.encodings.insert(column.clone(), encoding);
                }
            }
            "primary_key" => self.primary_key = Some(value.as_bool().ok_or("must be true or false")?),
            "schema_changes" => {
                self.schema_changes = Some(match text() {
                    Some("apply") => SchemaChanges::Apply,
                    Some("hold") => SchemaChanges::Hold,
                    Some("ignore") => SchemaChanges::Ignore,
                    _ => return Err("must be apply, hold or ignore".to_owned()),
                });
            }
            "dropped_columns" => self.keep_columns = Some(keeps(text())?),
            "dropped_tables" => self.keep_tables = Some(keeps(text())?),
            "resync_by" => {
                self.resync_whole = Some(match text() {
                    Some("key") => false,
                    Some("snapshot") => true,
                    _ => return Err("must be key or snapshot".to_owned()),
                });
            }
            "resync" => {
                self.resync = Some(match text() {
                    Some("auto") => true,
                    Some("manual") => false,
                    _ => return Err("must be auto or manual".to_owned()),
                });
            }
            "interleaved" | "interleaved_sortkey" => {
                return Err(
                    "can't be: Redshift can't alter interleaved sort keys, so columns could not be dropped"
                        .into(),
                );
            }
            _ => return Err(format!("is no rule: {RULES}")),
        }
        Ok(())
    }

    /// After `distkey`, which it must fit.
    fn set_style(&mut self, style: &str) -> Result<(), String> {
        let by_key = matches!(self.distribution, Some(WantedDistribution::Key(_)));
        self.distribution = Some(match style {
            "key" if by_key => return Ok(()),
            "key" => return Err("is key, and there is no distkey".to_owned()),
            "auto" | "even" | "all" if by_key => return Err("contradicts distkey".to_owned()),
            "auto" => WantedDistribution::Auto,
            "even" => WantedDistribution::Even,
            "all" => WantedDistribution::All,
            _ => return Err("must be auto, even, all or key".to_owned()),
        });
        Ok(())
    }
}

fn columns(value: &Value) -> Option<Vec<String>> {
    let names = match value {
        Value::String(name) => vec![name.clone()],
        Value::Array(names) => {
            names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>()?
        }
        _ => return None,
    };
    names.iter().all(|name| !name.is_empty()).then_some(names)
}

fn keeps(text: Option<&str>) -> Result<bool, String> {
    match text {
        Some("keep") => Ok(true),
        Some("drop") => Ok(false),
        _ => Err("must be drop or keep".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (TableSettings, String) {
        let mut reader = Reader::new(text, Vec::new()).unwrap();
        let settings = TableSettings::read(&mut reader);
        (settings, reader.finish().err().map(|errors| errors.to_string()).unwrap_or_default())
    }

    #[test]
    fn the_last_entry_that_names_a_rule_counts() {
        let (settings, problems) = read(
            r#"
            [[tables]]
            match = "shop.*"
            distkey = "customer_id"
            sortkey = ["at", "id"]
            encode = { note = "ZSTD", total = "raw" }
            dropped_columns = "keep"
            resync = "manual"
            [[tables]]
            match = "*.orders"
            diststyle = "all"
            encode = { total = "az64" }
            primary_key = true
            schema_changes = "hold"
            resync = "auto"
            "#,
        );
        assert_eq!(problems, "");
        let carts = settings.of("shop", "carts");
        assert_eq!(carts.distribution, WantedDistribution::Key("customer_id".into()));
        assert_eq!(carts.sort_key, ["at", "id"]);
        assert!(carts.keep_columns && !carts.keep_table && !carts.primary_key && carts.manual_resync);
        let orders = settings.of("shop", "orders");
        assert_eq!(orders.distribution, WantedDistribution::All);
        assert_eq!(orders.schema_changes, SchemaChanges::Hold);
        assert!(!orders.manual_resync);
        let encodings = BTreeMap::from([("note".into(), Encoding::Zstd), ("total".into(), Encoding::Az64)]);
        assert_eq!(orders.encodings, encodings);
        assert_eq!(settings.of("public", "carts"), TableRules::default());
    }

    #[test]
    fn all_mistakes_are_told() {
        let (_, problems) = read(
            r#"
            [[tables]]
            distkey = ["a", "b"]
            [[tables]]
            match = "orders"
            diststyle = "key"
            [[tables]]
            match = "a.b"
            distkey = "a"
            diststyle = "even"
            sortkey = 7
            encode = { a = "gzip" }
            primary_key = "yes"
            interleaved = true
            schema_changes = "stop"
            dropped_columns = "rename"
            colour = "red"
            "#,
        );
        insta::assert_snapshot!(problems);
    }
}
