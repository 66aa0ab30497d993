//! Types that are not built in. pgoutput tells their names and nothing more, so the catalog is asked: a type's OID means
//! the same as long as there is a column of it, whenever that is.

use std::collections::HashMap;

use re_dms_shared::types::SourceType;
use re_dms_shared::types::catalog::{self, FIRST_UNKNOWN_OID};

use crate::error::Result;
use crate::pgoutput::Type;

/// Asks the source for types, by OIDs, and all that they are made of.
pub type AskTypes = Box<dyn FnMut(&[u32]) -> Result<Vec<catalog::Row>> + Send>;

/// What is known of types.
pub(super) struct Types {
    ask: AskTypes,
    known: HashMap<u32, SourceType>,
    /// Names that the stream told: a domain's is that of the type behind it.
    told: HashMap<u32, String>,
}

impl Default for Types {
    /// Nobody to ask.
    fn default() -> Self {
        Self::new(Box::new(|_| Ok(Vec::new())))
    }
}

impl Types {
    pub(super) fn new(ask: AskTypes) -> Self {
        Self { ask, known: HashMap::new(), told: HashMap::new() }
    }

    pub(super) fn told(&mut self, ty: &Type<'_>) {
        self.told.insert(ty.oid, ty.name.to_owned());
    }

    /// Gets to know the types of a table's columns.
    pub(super) fn learn(
        &mut self,
        (schema, table): (&str, &str),
        types: impl Iterator<Item = u32>,
    ) -> Result<()> {
        let unknown: Vec<u32> =
            types.filter(|oid| *oid >= FIRST_UNKNOWN_OID && !self.known.contains_key(oid)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let rows = (self.ask)(&unknown)?;
        for oid in unknown {
            let ty = if rows.iter().any(|row| row.oid == oid) {
                catalog::build(oid, &rows)
            } else {
                // It was dropped since, and its columns with it.
                let name = self.told.get(&oid).cloned();
                tracing::warn!(
                    table = %format!("{schema}.{table}"), type_oid = oid, name,
                    "a column's type is no longer in the catalog: its values travel as text"
                );
                name.map_or(SourceType::Oid(oid), SourceType::Extension)
            };
            self.known.insert(oid, ty);
        }
        Ok(())
    }

    pub(super) fn of(&self, oid: u32) -> SourceType {
        self.known.get(&oid).cloned().unwrap_or_else(|| SourceType::of_oid(oid))
    }
}
