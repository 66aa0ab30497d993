//! What the capture's config says of columns and names, as far as it changes what arrives.

use std::collections::BTreeMap;

use re_dms_shared::columns::Columns;
use re_dms_shared::names::target_name;
use sha2::{Digest, Sha256};
use toml::Value;

use crate::capture_config::CaptureConfig;
use crate::error::{Error, Result};

/// The rules of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub(super) columns: Columns,
    schemas: BTreeMap<String, String>,
    pub(super) hash: Option<Hash>,
}

impl Rules {
    /// From the file that the capture reads, which must be one that it takes.
    ///
    /// # Errors
    /// If there is something in it that the capture would refuse.
    pub fn of(config: &CaptureConfig) -> Result<Self> {
        let refused = |what: String| Error::Refused { what, hint: "see docs/configuration.md".into() };
        let patterns = |key: &str| -> Result<_> {
            let texts = config.texts(key).unwrap_or_default();
            texts.iter().map(|text| text.parse().map_err(|what| refused(format!("{key} {what}")))).collect()
        };
        let mut columns = Columns {
            excluded: patterns("source.exclude_columns")?,
            hashed: patterns("source.hash_columns")?,
            ..Columns::default()
        };
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        for (name, value) in config.value("types").and_then(Value::as_table).into_iter().flatten() {
            let set = columns.defaults.set(name, &text(value));
            set.map_err(|error| refused(format!("types.{name} {error}")))?;
        }
        for entry in config.value("columns").and_then(Value::as_array).into_iter().flatten() {
            let pattern = entry.get("match").and_then(Value::as_str).unwrap_or_default();
            let pattern = pattern.parse().map_err(|what| refused(format!("columns.match {what}")))?;
            let rules = entry.as_table().into_iter().flatten().filter(|(name, _)| *name != "match");
            let rules = rules.map(|(name, value)| (name.clone(), text(value))).collect();
            columns.add_override(pattern, rules).map_err(|error| refused(format!("columns {error}")))?;
        }
        let schemas = config.value("target.schemas").and_then(Value::as_table).into_iter().flatten();
        Ok(Self {
            columns,
            schemas: schemas.map(|(source, target)| (source.clone(), target_name(&text(target)))).collect(),
            hash: config.text("source.hash_key").map(Hash::new),
        })
    }

    pub(super) fn target_schema(&self, schema: &str) -> String {
        self.schemas.get(schema).cloned().unwrap_or_else(|| target_name(schema))
    }
}

/// HMAC-SHA-256 as an SQL expression, which PostgreSQL computes for itself.
#[derive(Clone, Debug)]
pub(super) struct Hash {
    inner: String,
    outer: String,
}

impl Hash {
    fn new(key: &str) -> Self {
        let mut block = [0_u8; 64];
        let key = key.as_bytes();
        if key.len() > block.len() {
            block[..32].copy_from_slice(&Sha256::digest(key));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let padded = |pad: u8| hex::encode(block.map(|byte| byte ^ pad));
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// The hash of a text, in hex.
    pub(super) fn expression(&self, text: &str) -> String {
        let Self { inner, outer } = self;
        let first = format!("sha256('\\x{inner}'::bytea || convert_to({text}, 'UTF8'))");
        format!("encode(sha256('\\x{outer}'::bytea || {first}), 'hex')")
    }
}
