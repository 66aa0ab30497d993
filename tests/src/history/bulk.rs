//! Changes of many rows by one statement, in ranges of integer keys: what PostgreSQL streams before it is committed, and
//! what the capture can't hold in memory.

use rand::RngExt;

use super::keys::KeyKind;
use super::model::TableId;
use super::statement::Statement;
use super::values::Kind;
use super::writes::Writer;

/// Ranges lie beyond the keys of single rows.
const FIRST: u32 = 10_000;
const LENGTH: u32 = 3_000;
const RANGES: u32 = 6;

impl Writer<'_> {
    pub(super) fn takes_ranges(&self, table: TableId) -> bool {
        self.table(table).key == KeyKind::Integer
    }

    /// Fills a range, or changes one that is filled. None if others are at it.
    pub(super) fn write_range(&mut self, table: TableId) -> Option<Statement> {
        let from = FIRST + self.random.random_range(0..RANGES) * LENGTH;
        if !self.model.may_touch_all(self.session, table, from, from + LENGTH) {
            return None;
        }
        let rows = self.model.rows(self.session, table, from, from + LENGTH);
        Some(match (rows.is_empty(), self.random.random_range(0..5)) {
            (true, _) => self.fill_range(table, from),
            (_, 0..=1) => self.update_range(table, &rows),
            (_, 2) => self.move_range(table, from, &rows)?,
            _ => self.empty_range(table, from, &rows),
        })
    }

    fn fill_range(&mut self, table: TableId, from: u32) -> Statement {
        let most = if self.table(table).name == "wide" { 300 } else { LENGTH };
        let to = from + self.random.random_range(20..most);
        let salt: u32 = self.random.random_range(0..1_000_000);
        let table_at = self.table(table);
        let columns: Vec<&str> = table_at.columns.iter().map(|(name, _)| *name).collect();
        let values: Vec<String> =
            table_at.columns.iter().map(|(_, kind)| of_many(*kind, "g", salt)).collect();
        let sql = format!(
            "INSERT INTO {} ({}, {}) SELECT g, {} FROM generate_series({from}, {}) g",
            table_at.name,
            table_at.key_columns[0],
            columns.join(", "),
            values.join(", "),
            to - 1
        );
        for key in from..to {
            self.model.insert(self.session, table, key);
        }
        Statement::of(table, sql)
    }

    /// One in a few rows of the range.
    fn part(&mut self, table: TableId, rows: &[u32]) -> (Vec<u32>, String) {
        let (step, rest) = (self.random.random_range(1..4), self.random.random_range(0..3));
        let key = self.table(table).key_columns[0];
        let picked = rows.iter().copied().filter(|row| row % step == rest % step).collect();
        let (first, last) = (rows.first().copied().unwrap_or(0), rows.last().copied().unwrap_or(0));
        (picked, format!("{key} BETWEEN {first} AND {last} AND {key} % {step} = {}", rest % step))
    }

    fn update_range(&mut self, table: TableId, rows: &[u32]) -> Statement {
        let (picked, condition) = self.part(table, rows);
        let column = self.random.random_range(0..self.table(table).columns.len());
        let salt: u32 = self.random.random_range(0..1_000_000);
        let table_at = self.table(table);
        let (name, kind) = table_at.columns[column];
        let value = of_many(kind, table_at.key_columns[0], salt);
        for key in picked {
            self.model.lock(self.session, table, key);
        }
        Statement::of(table, format!("UPDATE {} SET {name} = {value} WHERE {condition}", table_at.name))
    }

    /// Every key of a part changes to one in a range that is empty.
    fn move_range(&mut self, table: TableId, from: u32, rows: &[u32]) -> Option<Statement> {
        let to = FIRST + self.random.random_range(0..RANGES) * LENGTH;
        let is_free = self.model.may_touch_all(self.session, table, to, to + LENGTH)
            && self.model.rows(self.session, table, to, to + LENGTH).is_empty();
        if !is_free {
            return None;
        }
        let (picked, condition) = self.part(table, rows);
        for &key in &picked {
            self.model.remove(self.session, table, key);
            self.model.insert(self.session, table, key - from + to);
        }
        let key = self.table(table).key_columns[0];
        let sql =
            format!("UPDATE {} SET {key} = {key} - {from} + {to} WHERE {condition}", self.table(table).name);
        Some(Statement::of(table, sql))
    }

    fn empty_range(&mut self, table: TableId, from: u32, rows: &[u32]) -> Statement {
        let (picked, condition) = if self.random.random_bool(0.5) {
            self.part(table, rows)
        } else {
            let key = self.table(table).key_columns[0];
            (rows.to_vec(), format!("{key} BETWEEN {from} AND {}", from + LENGTH - 1))
        };
        for key in picked {
            self.model.remove(self.session, table, key);
        }
        Statement::of(table, format!("DELETE FROM {} WHERE {condition}", self.table(table).name))
    }
}

/// A value for each of many rows, by the key's column; few of them TOASTed.
fn of_many(kind: Kind, key: &str, salt: u32) -> String {
    match kind {
        Kind::Integer => format!("{key} % 1000 + {salt}"),
        Kind::Boolean => format!("({key} + {salt}) % 3 = 0"),
        Kind::Text => format!("md5({key} || 'of {salt}')"),
        Kind::Toast | Kind::CompressedToast => {
            format!(
                "CASE WHEN {key} % 40 = {} THEN blob(75, {key} || 'of {salt}') ELSE md5({key} || 'of {salt}') END",
                salt % 40
            )
        }
        Kind::ToastJsonb => format!("jsonb_build_object('k', {key}, 's', {salt})"),
        _ => "NULL".to_owned(),
    }
}
