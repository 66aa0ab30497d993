//! Columns that are left out or hashed: what the local WAL and all that comes after it get to see of them is nothing, or
//! a keyed hash.
//!
//! Rows are rewritten before they are appended, and so are the Relation messages that describe them: from here on the
//! table has no such column, or one of the type [`HASHED`]. A NULL stays NULL, a value that PostgreSQL did not send stays
//! one, and equal values have equal hashes: a key stays a key.

use std::collections::HashMap;

use bytes::Bytes;
use re_dms_shared::columns::Columns;
use re_dms_shared::types::HASHED;

use crate::config::SourceConfig;
use crate::error::{Error, Result, Who};
use crate::hmac::Hmac;
use crate::pgoutput::{self, Cell, Message, Relation, ReplicaIdentity, Tuple};

/// Rewrites what the stream says of tables with such columns.
pub struct Cutter {
    columns: Columns,
    hmac: Hmac,
    /// By table, as it is outside of transactions in progress; none if it keeps all.
    tables: HashMap<u32, Option<Vec<Treatment>>>,
    /// The same within transactions in progress, by their number: it counts outside once they commit.
    in_progress: HashMap<u32, HashMap<u32, Option<Vec<Treatment>>>>,
}

/// What becomes of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Treatment {
    Keep,
    LeaveOut,
    Hash,
}

impl Cutter {
    /// None if every column is kept.
    #[must_use]
    pub fn new(config: &SourceConfig) -> Option<Self> {
        if config.columns.keeps_all() {
            return None;
        }
        let key = config.hash_key.as_ref().map(|key| key.reveal().as_bytes()).unwrap_or_default();
        Some(Self {
            columns: config.columns.clone(),
            hmac: Hmac::new(key),
            tables: HashMap::new(),
            in_progress: HashMap::new(),
        })
    }

    /// A new connection describes all tables again.
    pub(super) fn forget(&mut self) {
        self.tables.clear();
        self.in_progress.clear();
    }

    /// The frame as it may be stored. `block` is the transaction in progress that it came in a block of.
    pub(super) fn cut(&mut self, block: Option<u32>, payload: Bytes) -> Result<Bytes> {
        match payload.first() {
            Some(b'R') => self.relation(block, payload),
            Some(b'I' | b'U' | b'D') => self.change(block, payload),
            Some(b'c') if block.is_none() => {
                let xid = super::u32_at(&payload, 1).unwrap_or_default();
                self.tables.extend(self.in_progress.remove(&xid).unwrap_or_default());
                Ok(payload)
            }
            Some(b'A') if block.is_none() && super::u32_at(&payload, 1) == super::u32_at(&payload, 5) => {
                self.in_progress.remove(&super::u32_at(&payload, 1).unwrap_or_default());
                Ok(payload)
            }
            _ => Ok(payload),
        }
    }

    fn relation(&mut self, block: Option<u32>, payload: Bytes) -> Result<Bytes> {
        let Message::Relation(relation) =
            pgoutput::decode(&payload, block.is_some()).map_err(|error| unreadable(&error.to_string()))?
        else {
            return Err(unreadable("a table's description is none"));
        };
        let treatments = self.treatments(&relation)?;
        let oid = relation.oid;
        let out = treatments.as_deref().map(|treatments| rewrite_relation(&payload, &relation, treatments));
        match block {
            None => self.tables.insert(oid, treatments),
            Some(xid) => self.in_progress.entry(xid).or_default().insert(oid, treatments),
        };
        Ok(out.unwrap_or(payload))
    }

    fn treatments(&self, relation: &Relation<'_>) -> Result<Option<Vec<Treatment>>> {
        let (schema, table) = (relation.schema, relation.name);
        let mut treatments = Vec::with_capacity(relation.columns.len());
        for column in &relation.columns {
            treatments.push(if self.columns.is_excluded(schema, table, column.name) {
                // Under FULL every column is flagged, and rows are told apart by what is left.
                if column.key && relation.replica_identity != ReplicaIdentity::Full {
                    return Err(Error::fatal(
                        Who::Stream,
                        format!(
                            "table {schema}.{table}: its column {} is to be left out, and is part of its key",
                            column.name
                        ),
                        "hash the column instead (source.hash_columns), or choose another REPLICA IDENTITY",
                    ));
                }
                Treatment::LeaveOut
            } else if self.columns.is_hashed(schema, table, column.name) {
                Treatment::Hash
            } else {
                Treatment::Keep
            });
        }
        Ok(treatments.iter().any(|treatment| *treatment != Treatment::Keep).then_some(treatments))
    }

    fn change(&self, block: Option<u32>, payload: Bytes) -> Result<Bytes> {
        // tag, in a block the number of the (sub)transaction, the table
        let head = if block.is_some() { 9 } else { 5 };
        let oid = super::u32_at(&payload, head - 4).ok_or_else(|| unreadable("a change is too short"))?;
        let within = block.and_then(|xid| self.in_progress.get(&xid)?.get(&oid));
        let known = within.or_else(|| self.tables.get(&oid));
        // What nobody has described can't be known to hold nothing that must not be stored.
        let Some(treatments) =
            known.ok_or_else(|| unreadable("a change of a table that was not described"))?
        else {
            return Ok(payload);
        };
        let mut out = Vec::with_capacity(payload.len());
        out.extend_from_slice(&payload[..head]);
        let mut rest = &payload[head..];
        // One or two rows, each behind a tag.
        while let Some((&tag, after)) = rest.split_first() {
            let (tuple, after) = Tuple::parse(after).map_err(|error| unreadable(&error.to_string()))?;
            if tuple.columns() != treatments.len() {
                return Err(unreadable("a row has another number of columns than its table"));
            }
            out.push(tag);
            self.rewrite_row(tuple, treatments, &mut out);
            rest = after;
        }
        Ok(out.into())
    }

    fn rewrite_row(&self, tuple: Tuple<'_>, treatments: &[Treatment], out: &mut Vec<u8>) {
        let cells =
            || tuple.cells().zip(treatments).filter(|(_, treatment)| **treatment != Treatment::LeaveOut);
        let hashes: Vec<Option<String>> = cells()
            .map(|(cell, treatment)| match (cell, treatment) {
                (Cell::Text(value), Treatment::Hash) => Some(self.hmac.hex(value)),
                _ => None,
            })
            .collect();
        let stored: Vec<Cell<'_>> = cells()
            .zip(&hashes)
            .map(|((cell, _), hash)| hash.as_ref().map_or(cell, |hash| Cell::Text(hash.as_bytes())))
            .collect();
        Tuple::encode(stored.into_iter(), out);
    }
}

/// The description without the columns that are left out, and with the hashed ones' own type. Form: PostgreSQL
/// documentation, "Logical Replication Message Formats".
fn rewrite_relation(payload: &Bytes, relation: &Relation<'_>, treatments: &[Treatment]) -> Bytes {
    // Columns come last: name, a zero, and ten bytes each, behind their number. What is before them stays.
    let columns: usize = relation.columns.iter().map(|column| column.name.len() + 10).sum();
    let mut out = payload[..payload.len() - columns - 2].to_vec();
    let kept: Vec<_> = relation
        .columns
        .iter()
        .zip(treatments)
        .filter(|(_, treatment)| **treatment != Treatment::LeaveOut)
        .collect();
    out.extend_from_slice(&u16::try_from(kept.len()).unwrap_or(u16::MAX).to_be_bytes());
    for (column, treatment) in kept {
        let hashed = *treatment == Treatment::Hash;
        let (oid, modifier) = if hashed { (HASHED, -1) } else { (column.type_oid, column.type_modifier) };
        out.push(u8::from(column.key));
        out.extend_from_slice(column.name.as_bytes());
        out.push(0);
        out.extend_from_slice(&oid.to_be_bytes());
        out.extend_from_slice(&modifier.to_be_bytes());
    }
    out.into()
}

fn unreadable(what: &str) -> Error {
    Error::fatal(
        Who::Source,
        format!("columns can't be left out of what the stream holds: {what}"),
        "report this with the server's version",
    )
}

#[cfg(test)]
mod tests;
