//! The source: what its transactions do, when they are seen, and what of it is in the stream.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use crate::pgoutput::{
    Cell, Change as RowChange, OldTuple, Relation, RelationColumn, ReplicaIdentity, Truncate, Tuple,
};
use crate::relations::{ColumnNow, NamedTable, TableNow};
use crate::resync::Visible;

pub(super) const OID: u32 = 7;
pub(super) const KEYS: u8 = 12;
/// An int, another one, and a text that is TOASTed.
const COLUMNS: [(&str, u32); 3] = [("id", 23), ("n", 23), ("body", 25)];

/// A change's old row and its new one.
pub(super) type Frames = (Option<Vec<u8>>, Option<Vec<u8>>);

/// A row but for its key.
type Values = (u8, u8);

/// A row as Redshift has it.
pub(super) type Row = (u8, Option<u8>, Option<u8>);

#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Inserts the key, or updates it; the text only if it is given.
    Write {
        key: u8,
        n: u8,
        body: Option<u8>,
    },
    Rekey {
        key: u8,
        to: u8,
        body: Option<u8>,
    },
    Delete {
        key: u8,
    },
}

impl Op {
    fn keys(&self) -> Vec<u8> {
        match *self {
            Op::Write { key, .. } | Op::Delete { key } => vec![key],
            Op::Rekey { key, to, .. } => vec![key, to],
        }
    }
}

/// The table.
pub(super) struct Source {
    /// As the stream has it.
    pub(super) rows: BTreeMap<u8, Values>,
    /// As everybody sees it.
    pub(super) seen: BTreeMap<u8, Values>,
    /// Transactions that nobody sees: number, keys, and what these hold after it.
    hidden: Vec<(u32, BTreeSet<u8>, BTreeMap<u8, Values>)>,
    next_xid: u32,
    described: bool,
    is_wide: bool,
}

impl Source {
    pub(super) fn new() -> Self {
        let rows: BTreeMap<u8, Values> =
            (0..KEYS).filter(|key| key % 3 != 2).map(|key| (key, (0, 9))).collect();
        Self {
            seen: rows.clone(),
            rows,
            hidden: Vec::new(),
            next_xid: 1000,
            described: false,
            is_wide: false,
        }
    }

    pub(super) fn xid(&mut self) -> u32 {
        self.next_xid += 1;
        self.next_xid - 1
    }

    pub(super) fn appear(&mut self) {
        if self.hidden.is_empty() {
            return;
        }
        let (_, keys, after) = self.hidden.remove(0);
        for key in keys {
            self.seen.remove(&key);
            self.seen.extend(after.get(&key).map(|values| (key, *values)));
        }
    }

    /// All that was committed is seen.
    pub(super) fn appear_all(&mut self) {
        while !self.hidden.is_empty() {
            self.appear();
        }
    }

    /// Its number, and what comes of it through the stream.
    pub(super) fn commit(&mut self, ops: &[Op], visible: bool) -> (u32, Vec<Frames>) {
        let keys: BTreeSet<u8> = ops.iter().flat_map(Op::keys).collect();
        // Whoever has changed a row is waited for.
        while self.hidden.iter().any(|(_, theirs, _)| !theirs.is_disjoint(&keys)) {
            self.appear();
        }
        let xid = self.xid();
        let mut frames: Vec<Frames> = Vec::new();
        for op in ops {
            match *op {
                Op::Write { key, n, body } => match self.rows.get(&key).copied() {
                    None => {
                        let body = body.unwrap_or(0);
                        self.rows.insert(key, (n, body));
                        frames.push((None, Some(row(key, Some(n), Some(Some(body))))));
                    }
                    Some((_, before)) => {
                        self.rows.insert(key, (n, body.unwrap_or(before)));
                        // An update without its old row: the mark is an empty one.
                        frames.push((Some(Vec::new()), Some(row(key, Some(n), Some(body)))));
                    }
                },
                Op::Rekey { key, to, body } => {
                    if let Some((n, before)) = self.rows.get(&key).copied()
                        && !self.rows.contains_key(&to)
                    {
                        self.rows.remove(&key);
                        self.rows.insert(to, (n, body.unwrap_or(before)));
                        frames.push((Some(row(key, None, None)), Some(row(to, Some(n), Some(body)))));
                    }
                }
                Op::Delete { key } => {
                    if self.rows.remove(&key).is_some() {
                        frames.push((Some(row(key, None, None)), None));
                    }
                }
            }
        }
        let after = keys.iter().filter_map(|key| Some((*key, *self.rows.get(key)?))).collect();
        self.hidden.push((xid, keys, after));
        if visible {
            let last = self.hidden.pop().unwrap();
            self.hidden.insert(0, last);
            self.appear();
        }
        (xid, frames)
    }

    /// Its number. A table that is truncated is locked: everybody sees it.
    pub(super) fn truncate(&mut self) -> u32 {
        self.appear_all();
        self.rows.clear();
        self.seen.clear();
        self.xid()
    }

    /// A column more, from here on.
    pub(super) fn widen(&mut self) {
        (self.described, self.is_wide) = (false, true);
    }

    pub(super) fn description(&mut self) -> Option<Message<'static>> {
        let column = |(name, type_oid): (&'static str, u32)| RelationColumn {
            key: name == "id",
            name,
            type_oid,
            type_modifier: -1,
        };
        let relation = Relation {
            xid: None,
            oid: OID,
            schema: "public",
            name: "t",
            replica_identity: ReplicaIdentity::Default,
            columns: columns(self.is_wide).map(column).collect(),
        };
        (!std::mem::replace(&mut self.described, true)).then_some(Message::Relation(relation))
    }

    pub(super) fn visible(&self) -> Visible {
        let numbers: Vec<_> = self.hidden.iter().map(|(xid, ..)| xid.to_string()).collect();
        Visible::read(&format!("1:{}:{}", self.next_xid, numbers.join(","))).unwrap()
    }
}

/// As the stream tells it.
pub(super) fn change((old, new): &Frames) -> Message<'_> {
    let kind = match (old, new) {
        (None, Some(new)) => ChangeKind::Insert { new: Tuple::from_checked(new) },
        (Some(old), Some(new)) => ChangeKind::Update {
            old: (!old.is_empty()).then(|| OldTuple::Key(Tuple::from_checked(old))),
            new: Tuple::from_checked(new),
        },
        (Some(old), None) => ChangeKind::Delete { old: OldTuple::Key(Tuple::from_checked(old)) },
        (None, None) => unreachable!(),
    };
    Message::Change(RowChange { xid: None, relation: OID, kind })
}

pub(super) fn truncation() -> Message<'static> {
    Message::Truncate(Truncate { xid: None, relations: vec![OID], cascade: false, restart_identity: false })
}

pub(super) fn row(key: u8, n: Option<u8>, body: Option<Option<u8>>) -> Vec<u8> {
    let texts =
        [Some(key.to_string()), n.map(|n| n.to_string()), body.flatten().map(|body| body.to_string())];
    let cells: Vec<_> = texts
        .iter()
        .zip([false, false, body == Some(None)])
        .map(|(text, unchanged)| match text {
            _ if unchanged => Cell::Unchanged,
            Some(text) => Cell::Text(text.as_bytes()),
            None => Cell::Null,
        })
        .collect();
    let mut out = Vec::new();
    Tuple::encode(cells.into_iter(), &mut out);
    out
}

fn columns(is_wide: bool) -> impl Iterator<Item = (&'static str, u32)> {
    COLUMNS.into_iter().chain(is_wide.then_some(("more", 23)))
}

pub(super) fn table_now(is_wide: bool) -> TableNow {
    let column = |((name, type_oid), number): ((&str, u32), i16)| ColumnNow {
        number,
        name: Some(name.to_owned()),
        type_oid,
        modifier: -1,
        published: true,
        default: false,
        missing: false,
        value: None,
        key: Some(number == 1),
        xid: 1,
    };
    let columns = columns(is_wide).zip(1..).map(column).collect();
    TableNow { oid: OID, schema: "public".into(), name: "t".into(), storage: 1, columns, leaves: None }
}

pub(super) fn named() -> NamedTable {
    NamedTable { oid: OID, schema: "public".into(), name: "t".into() }
}
