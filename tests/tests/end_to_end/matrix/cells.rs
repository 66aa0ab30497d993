//! The cells: every replica identity with every operation, every state of TOASTed values, in one transaction or two
//! batches. A table for each identity, operation and batching; its rows are the states of the TOASTed values.

/// The three columns that may be stored outside of the row.
pub(super) const TOASTED: [&str; 3] = ["a", "b", "c"];

/// Rows that nothing is done to have this added to their key.
const BYSTANDER: usize = 500;
/// Second rows of a state, where an operation has two ways.
const SECOND: usize = 100;
/// What changed keys have added.
const REKEYED: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    Default,
    Index,
    FullWithKey,
    FullAlone,
    Nothing,
    NoKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Insert,
    UpdatePlain,
    UpdateToasted,
    KeyChange,
    Delete,
    DeleteInsert,
    InsertUpdateDelete,
    TwoUpdates,
    TruncateBetween,
}

/// What the TOASTed columns hold, and what the operation does to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toast {
    /// They are short, and change.
    None,
    Unchanged,
    Changed,
    SetToNull,
    /// Those of the subset change.
    Subset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batching {
    /// The rows are made by the transaction that changes them.
    One,
    /// The rows are loaded before: what does not change is in the target only.
    Two,
}

const IDENTITIES: [Identity; 6] = [
    Identity::Default,
    Identity::Index,
    Identity::FullWithKey,
    Identity::FullAlone,
    Identity::Nothing,
    Identity::NoKey,
];
const OPERATIONS: [Operation; 9] = [
    Operation::Insert,
    Operation::UpdatePlain,
    Operation::UpdateToasted,
    Operation::KeyChange,
    Operation::Delete,
    Operation::DeleteInsert,
    Operation::InsertUpdateDelete,
    Operation::TwoUpdates,
    Operation::TruncateBetween,
];
pub(super) const TOASTS: [Toast; 5] =
    [Toast::None, Toast::Unchanged, Toast::Changed, Toast::SetToNull, Toast::Subset];
const BATCHINGS: [Batching; 2] = [Batching::One, Batching::Two];

impl Identity {
    /// Can rows be updated and deleted?
    fn takes_changes(self) -> bool {
        match self {
            Identity::Default | Identity::Index | Identity::FullWithKey | Identity::FullAlone => true,
            Identity::Nothing | Identity::NoKey => false,
        }
    }
}

/// One table of the matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct MatrixTable {
    identity: Identity,
    operation: Operation,
    batching: Batching,
}

/// All of them.
pub(super) fn matrix_tables() -> Vec<MatrixTable> {
    let mut tables = Vec::new();
    for identity in IDENTITIES {
        for operation in OPERATIONS {
            let only_adds = matches!(operation, Operation::Insert | Operation::TruncateBetween);
            if identity.takes_changes() || only_adds {
                tables.extend(BATCHINGS.map(|batching| MatrixTable { identity, operation, batching }));
            }
        }
    }
    tables
}

/// One row of a cell.
#[derive(Clone, Copy)]
struct Row {
    toast: Toast,
    /// Bits of [`TOASTED`].
    changes: u32,
    id: usize,
}

/// The rows of one table but for the bystanders: all states, the subsets each.
fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for toast in TOASTS {
        let subsets: Vec<u32> = match toast {
            Toast::Subset => (0..8).collect(),
            Toast::Unchanged => vec![0],
            Toast::None | Toast::Changed | Toast::SetToNull => vec![7],
        };
        for changes in subsets {
            rows.push(Row { toast, changes, id: rows.len() });
        }
    }
    rows
}

impl Row {
    fn value_before(self, column: usize) -> String {
        match self.toast {
            Toast::None => format!("'short {column}'"),
            _ => format!("matrix_blob('{} {column} before')", self.id),
        }
    }

    /// None if the column stays as it is.
    fn new_value(self, column: usize) -> Option<String> {
        let changes = self.changes & (1 << column) != 0;
        changes.then(|| match self.toast {
            Toast::None => format!("'changed {column}'"),
            Toast::SetToNull => "NULL".to_owned(),
            _ => format!("matrix_blob('{} {column} after')", self.id),
        })
    }

    fn values(self, after: bool) -> String {
        let value = |column| self.new_value(column).filter(|_| after).unwrap_or(self.value_before(column));
        (0..TOASTED.len()).map(value).collect::<Vec<_>>().join(", ")
    }

    /// Assignments of what changes, each with a comma before.
    fn set(self) -> String {
        let set = |column: usize| Some(format!(", {} = {}", TOASTED[column], self.new_value(column)?));
        (0..TOASTED.len()).filter_map(set).collect()
    }

    /// Whatever changes in this row does not, and the other way round.
    fn complement(self) -> Self {
        Self { changes: 7 & !self.changes, ..self }
    }
}

impl MatrixTable {
    pub(super) fn name(self) -> String {
        let words = format!("{:?} {:?} {:?}", self.identity, self.operation, self.batching);
        let mut name = String::new();
        let mut before = ' ';
        for letter in words.chars() {
            match letter {
                ' ' => name.push_str("__"),
                _ if letter.is_uppercase() && before != ' ' => {
                    name.push('_');
                    name.extend(letter.to_lowercase());
                }
                _ => name.extend(letter.to_lowercase()),
            }
            before = letter;
        }
        name
    }

    pub(super) fn create(self) -> String {
        let name = self.name();
        let key = match self.identity {
            Identity::Default | Identity::FullWithKey | Identity::Nothing => " PRIMARY KEY",
            Identity::Index => " NOT NULL UNIQUE",
            Identity::FullAlone | Identity::NoKey => "",
        };
        let mut sql = format!("CREATE TABLE {name} (a text, id int{key}, cell text, b text, n int, c text);");
        for column in TOASTED {
            sql.push_str(&format!("ALTER TABLE {name} ALTER {column} SET STORAGE EXTERNAL;"));
        }
        let identity = match self.identity {
            Identity::Index => format!("USING INDEX {name}_id_key"),
            Identity::FullWithKey | Identity::FullAlone => "FULL".to_owned(),
            Identity::Nothing => "NOTHING".to_owned(),
            Identity::Default | Identity::NoKey => return sql,
        };
        sql.push_str(&format!("ALTER TABLE {name} REPLICA IDENTITY {identity};"));
        sql
    }

    /// What is loaded before the changes.
    pub(super) fn first_batch(self) -> String {
        match self.batching {
            Batching::One => String::new(),
            Batching::Two => self.rows_before(),
        }
    }

    /// The changes, and the rows if they were not made before.
    pub(super) fn second_batch(self) -> String {
        match self.batching {
            Batching::One => self.rows_before() + &self.changes(),
            Batching::Two => self.changes(),
        }
    }

    /// The rows that the operation finds, and the bystanders.
    fn rows_before(self) -> String {
        let mut sql = String::new();
        for row in rows() {
            sql.push_str(&self.insert(row, row.id + BYSTANDER, false));
            let comes_with_the_operation = match self.operation {
                Operation::Insert => true,
                Operation::InsertUpdateDelete => self.batching == Batching::One,
                _ => false,
            };
            if !comes_with_the_operation {
                sql.push_str(&self.insert(row, row.id, false));
                sql.push_str(&self.insert(row, row.id + SECOND, false));
            }
        }
        sql
    }

    fn insert(self, row: Row, id: usize, after: bool) -> String {
        format!(
            "INSERT INTO {} (id, cell, n, a, b, c) VALUES ({id}, '{:?}', 0, {});",
            self.name(),
            row.toast,
            row.values(after)
        )
    }

    /// `set` goes behind a comma.
    fn update(self, id: usize, set: &str) -> String {
        format!("UPDATE {} SET {} WHERE id = {id};", self.name(), set.trim_start_matches(", "))
    }

    fn delete(self, id: usize) -> String {
        format!("DELETE FROM {} WHERE id = {id};", self.name())
    }

    fn changes(self) -> String {
        if self.operation == Operation::TruncateBetween {
            return self.truncate_between();
        }
        rows()
            .into_iter()
            .flat_map(|row| [self.change(row, row.id, false), self.change(row, row.id + SECOND, true)])
            .collect()
    }

    /// The operation on one row; some can be done in a second way.
    fn change(self, row: Row, id: usize, second: bool) -> String {
        let set = row.set();
        let plus_one = ", n = n + 1";
        let toasted_only = if set.is_empty() { ", a = a, b = b, c = c" } else { &set };
        match (self.operation, second) {
            (Operation::Insert, _) => self.insert(row, id, true),
            (Operation::UpdatePlain, _) => self.update(id, &format!("{plus_one}{set}")),
            (Operation::UpdateToasted, _) => self.update(id, toasted_only),
            (Operation::KeyChange, false) => self.update(id, &format!(", id = id + {REKEYED}{set}")),
            // What an update left unchanged moves on with the key, and back.
            (Operation::KeyChange, true) => {
                self.update(id, &format!("{plus_one}{set}"))
                    + &self.update(id, &format!(", id = id + {REKEYED}"))
                    + &self.update(id + REKEYED, plus_one)
                    + &self.update(id + REKEYED, &format!(", id = {id}"))
            }
            (Operation::Delete, false) => self.delete(id),
            (Operation::Delete, true) => self.update(id, toasted_only) + &self.delete(id),
            (Operation::DeleteInsert, false) => self.delete(id) + &self.insert(row, id, true),
            (Operation::DeleteInsert, true) => {
                self.delete(id) + &self.insert(row, id, true) + &self.update(id, plus_one)
            }
            (Operation::InsertUpdateDelete, _) => {
                let insert = match self.batching {
                    Batching::One => self.insert(row, id, false),
                    Batching::Two => String::new(),
                };
                insert + &self.update(id, toasted_only) + &self.delete(id)
            }
            (Operation::TwoUpdates, false) => self.update(id, plus_one) + &self.update(id, toasted_only),
            (Operation::TwoUpdates, true) => {
                let rest = row.complement().set();
                self.update(id, &format!("{plus_one}{set}")) + &self.update(id, &format!("{plus_one}{rest}"))
            }
            (Operation::TruncateBetween, _) => String::new(),
        }
    }

    /// Rows are changed, all go, and come again.
    fn truncate_between(self) -> String {
        let changed = rows().into_iter().filter(|_| self.identity.takes_changes());
        let updates: String =
            changed.map(|row| self.update(row.id, &format!(", n = n + 1{}", row.set()))).collect();
        let again: String = rows().into_iter().map(|row| self.insert(row, row.id, false)).collect();
        format!("{updates}TRUNCATE {};{again}{updates}", self.name())
    }
}
