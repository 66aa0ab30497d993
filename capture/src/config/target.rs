//! `[target]`: where tables go in Redshift.

use std::collections::BTreeMap;

use re_dms_shared::names::{MAX_IDENTIFIER_BYTES, OWN_SCHEMA, target_name};

use super::reader::Reader;

/// Names in Redshift.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetNames {
    /// Source schema to target schema.
    schemas: BTreeMap<String, String>,
}

impl TargetNames {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut schemas = BTreeMap::new();
        for (source, target) in reader.entries("target.schemas") {
            let place = format!("target.schemas.{source}");
            let folded = target_name(&target);
            if folded.is_empty() || folded.len() > MAX_IDENTIFIER_BYTES || folded.contains('\0') {
                let what = format!("must be a name of 1 to {MAX_IDENTIFIER_BYTES} bytes");
                reader.problem(&place, what, "Redshift would cut a longer one");
            } else if folded == OWN_SCHEMA {
                let what = format!("can't be {OWN_SCHEMA}");
                reader.problem(&place, what, "re_dms keeps its ledgers there: choose another");
            }
            schemas.insert(source, folded);
        }
        Self { schemas }
    }

    /// Schema and name of a table in Redshift.
    #[must_use]
    pub fn table(&self, schema: &str, name: &str) -> (String, String) {
        let schema = self.schemas.get(schema).cloned().unwrap_or_else(|| target_name(schema));
        (schema, target_name(name))
    }
}
