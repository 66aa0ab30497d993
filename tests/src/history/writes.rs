//! Changes of rows: each kind a few statements, and what they do to the model.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::model::{Model, SessionId, TableId};
use super::statement::Statement;
use super::tables::Table;
use super::values::Kind;

/// Few keys, so that changes meet.
const KEYS: u32 = 36;

/// One session's pen.
pub(super) struct Writer<'a> {
    pub(super) random: &'a mut StdRng,
    pub(super) model: &'a mut Model,
    pub(super) tables: &'a [Table],
    /// Where changes go now.
    pub(super) focus: &'a [TableId],
    pub(super) session: SessionId,
}

impl<'a> Writer<'a> {
    pub(super) fn table(&self, table: TableId) -> &'a Table {
        &self.tables[table]
    }

    /// Some change of the table's rows: never none, unless others hold them all.
    pub(super) fn write(&mut self, table: TableId) -> Vec<Statement> {
        if !self.table(table).takes_changes() {
            return self.insert(table);
        }
        let statements = match self.random.random_range(0..24) {
            0..=3 => self.insert(table),
            4..=5 => self.upsert(table),
            6..=11 => self.update(table),
            12..=14 => self.change_key(table),
            15 => self.swap_keys(table),
            16 => self.chain_of_keys(table),
            17..=19 => self.delete(table),
            20 => self.delete_and_insert(table),
            21 => self.come_and_go(table),
            22 => self.rescale_key(table),
            _ => self.update_twice(table),
        };
        if statements.is_empty() { self.insert(table) } else { statements }
    }

    /// Rows that are there and may be changed, up to so many.
    fn some_rows(&mut self, table: TableId, most: usize) -> Vec<u32> {
        let mut keys = self.model.rows(self.session, table, 0, KEYS);
        keys.shuffle(self.random);
        keys.truncate(self.random.random_range(1..=most));
        keys
    }

    /// Keys that have no row and may get one; of groups any that may be touched.
    fn some_gaps(&mut self, table: TableId, most: usize) -> Vec<u32> {
        let unique = self.table(table).is_unique();
        let mut keys: Vec<u32> = (0..KEYS)
            .filter(|&key| self.model.may_touch(self.session, table, key))
            .filter(|&key| !unique || !self.model.is_present(table, key))
            .collect();
        keys.shuffle(self.random);
        keys.truncate(self.random.random_range(1..=most));
        keys
    }

    fn key_values(&self, table: TableId, key: u32) -> String {
        self.table(table).key.values(key).join(", ")
    }

    /// The rows with these keys.
    fn with_keys(&self, table: TableId, keys: &[u32]) -> String {
        let columns = self.table(table).key_columns.join(", ");
        let keys: Vec<_> = keys.iter().map(|&key| format!("({})", self.key_values(table, key))).collect();
        format!("({columns}) IN ({})", keys.join(", "))
    }

    fn added_columns(&self, table: TableId) -> impl Iterator<Item = String> + use<> {
        (1..=self.model.added_columns(table)).map(|number| format!("extra_{number}"))
    }

    /// An INSERT without its end.
    fn insert_of(&mut self, table: TableId, keys: &[u32]) -> String {
        let extra: Vec<String> = self.added_columns(table).filter(|_| self.random.random_bool(0.7)).collect();
        let Table { name, key_columns, columns, .. } = self.table(table);
        let mut names: Vec<&str> = key_columns.to_vec();
        names.extend(columns.iter().map(|(name, _)| *name));
        names.extend(extra.iter().map(String::as_str));
        let rows: Vec<String> = keys
            .iter()
            .map(|&key| {
                let mut values = vec![self.key_values(table, key)];
                values.extend(columns.iter().map(|(_, kind)| kind.value(self.random)));
                values.extend(extra.iter().map(|_| Kind::Text.value(self.random)));
                format!("({})", values.join(", "))
            })
            .collect();
        format!("INSERT INTO {name} ({}) VALUES {}", names.join(", "), rows.join(", "))
    }

    pub(super) fn insert(&mut self, table: TableId) -> Vec<Statement> {
        let keys = self.some_gaps(table, 5);
        if keys.is_empty() {
            return Vec::new();
        }
        let sql = self.insert_of(table, &keys);
        for key in keys {
            self.model.insert(self.session, table, key);
        }
        vec![Statement::of(table, sql)]
    }

    /// An INSERT whose last row is there already: the rows before it leave traces in the WAL.
    pub(super) fn insert_in_vain(&mut self, table: TableId) -> Option<Statement> {
        if !self.table(table).is_unique() {
            return None;
        }
        let there = *self.some_rows(table, 1).first()?;
        let mut keys = self.some_gaps(table, 4);
        keys.push(there);
        for &key in &keys {
            self.model.lock(self.session, table, key);
        }
        Some(Statement::of(table, self.insert_of(table, &keys)).that_fails())
    }

    fn upsert(&mut self, table: TableId) -> Vec<Statement> {
        if !self.table(table).is_unique() {
            return self.insert(table);
        }
        let mut keys = self.some_rows(table, 3);
        keys.extend(self.some_gaps(table, 3));
        if keys.is_empty() {
            return Vec::new();
        }
        let insert = self.insert_of(table, &keys);
        let assignments = self.assignments(table);
        let target = self.table(table).key_columns.join(", ");
        let action = if self.random.random_bool(0.25) {
            "NOTHING".to_owned()
        } else {
            // The old row's columns are called by the table's name here.
            let old = format!("{}.", self.table(table).name);
            let assignments: Vec<_> = assignments.iter().map(|assignment| assignment.sql(&old)).collect();
            format!("UPDATE SET {}", assignments.join(", "))
        };
        for key in keys {
            self.model.insert(self.session, table, key);
        }
        vec![Statement::of(table, format!("{insert} ON CONFLICT ({target}) DO {action}"))]
    }

    /// What an update does to some of the columns, at least one.
    fn assignments(&mut self, table: TableId) -> Vec<Assignment> {
        let Table { columns, key_columns, .. } = self.table(table);
        let mut picked: Vec<(String, Kind)> =
            columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        picked.extend(self.added_columns(table).map(|name| (name, Kind::Text)));
        picked.shuffle(self.random);
        let count = self.random.random_range(1..=picked.len().clamp(1, 4));
        picked.truncate(count);
        if picked.is_empty() {
            return vec![Assignment::Same(key_columns[0].to_owned())];
        }
        let assign = |(name, kind): (String, Kind)| match (self.random.random_range(0..10), kind) {
            (0, _) => Assignment::Same(name),
            (1, Kind::Toast | Kind::Text) => Assignment::Longer(name),
            (2, Kind::Integer) => Assignment::More(name),
            _ => Assignment::Set(name, kind.value(self.random)),
        };
        picked.into_iter().map(assign).collect()
    }

    fn set(&mut self, table: TableId) -> String {
        let assignments: Vec<_> =
            self.assignments(table).iter().map(|assignment| assignment.sql("")).collect();
        assignments.join(", ")
    }

    fn update_of(&mut self, table: TableId, keys: &[u32]) -> Statement {
        let name = self.table(table).name;
        let set = if keys.len() > 1 && self.random.random_bool(0.3) {
            self.set_for_some(table, keys)
        } else {
            self.set(table)
        };
        for &key in keys {
            self.model.lock(self.session, table, key);
        }
        Statement::of(table, format!("UPDATE {name} SET {set} WHERE {}", self.with_keys(table, keys)))
    }

    /// Each column changes in some of the rows only: every row has another set of unchanged ones.
    fn set_for_some(&mut self, table: TableId, keys: &[u32]) -> String {
        let assignments = self.assignments(table);
        let mut parts = Vec::new();
        for assignment in assignments {
            let some = self.random.random_range(1..=keys.len());
            let (name, value) = assignment.parts("");
            parts.push(format!(
                "{name} = CASE WHEN {} THEN {value} ELSE {name} END",
                self.with_keys(table, &keys[..some])
            ));
        }
        parts.join(", ")
    }

    pub(super) fn update(&mut self, table: TableId) -> Vec<Statement> {
        let keys = self.some_rows(table, 6);
        if keys.is_empty() { Vec::new() } else { vec![self.update_of(table, &keys)] }
    }

    fn update_twice(&mut self, table: TableId) -> Vec<Statement> {
        let keys = self.some_rows(table, 3);
        if keys.is_empty() {
            Vec::new()
        } else {
            vec![self.update_of(table, &keys), self.update_of(table, &keys)]
        }
    }

    fn delete_of(&mut self, table: TableId, keys: &[u32]) -> Statement {
        for &key in keys {
            self.model.remove(self.session, table, key);
        }
        let name = self.table(table).name;
        Statement::of(table, format!("DELETE FROM {name} WHERE {}", self.with_keys(table, keys)))
    }

    fn delete(&mut self, table: TableId) -> Vec<Statement> {
        let keys = self.some_rows(table, 4);
        if keys.is_empty() { Vec::new() } else { vec![self.delete_of(table, &keys)] }
    }

    fn delete_and_insert(&mut self, table: TableId) -> Vec<Statement> {
        let keys = self.some_rows(table, 3);
        if keys.is_empty() {
            return Vec::new();
        }
        let delete = self.delete_of(table, &keys);
        let insert = Statement::of(table, self.insert_of(table, &keys));
        for key in keys {
            self.model.insert(self.session, table, key);
        }
        vec![delete, insert]
    }

    fn come_and_go(&mut self, table: TableId) -> Vec<Statement> {
        let keys = self.some_gaps(table, 2);
        if keys.is_empty() {
            return Vec::new();
        }
        let insert = Statement::of(table, self.insert_of(table, &keys));
        for &key in &keys {
            self.model.insert(self.session, table, key);
        }
        vec![insert, self.update_of(table, &keys), self.delete_of(table, &keys)]
    }

    /// One row gets another key, and perhaps other values.
    fn rekey(&mut self, table: TableId, from: u32, to: u32) -> Statement {
        let Table { name, key, key_columns, .. } = self.table(table);
        let mut set: Vec<String> = key_columns
            .iter()
            .zip(key.values(to))
            .map(|(column, value)| format!("{column} = {value}"))
            .collect();
        let name = *name;
        if self.random.random_bool(0.3) && !self.table(table).columns.is_empty() {
            set.push(self.set(table));
        }
        self.model.remove(self.session, table, from);
        self.model.insert(self.session, table, to);
        Statement::of(
            table,
            format!("UPDATE {name} SET {} WHERE {}", set.join(", "), self.with_keys(table, &[from])),
        )
    }

    fn change_key(&mut self, table: TableId) -> Vec<Statement> {
        let (from, to) = (self.some_rows(table, 1), self.some_gaps(table, 1));
        match (from.first(), to.first()) {
            (Some(&from), Some(&to)) if from != to => vec![self.rekey(table, from, to)],
            _ => Vec::new(),
        }
    }

    fn swap_keys(&mut self, table: TableId) -> Vec<Statement> {
        let rows = self.some_rows(table, 9);
        let gaps = self.some_gaps(table, 1);
        match (rows.as_slice(), gaps.first()) {
            ([one, other, ..], Some(&between)) if *one != between && *other != between => vec![
                self.rekey(table, *one, between),
                self.rekey(table, *other, *one),
                self.rekey(table, between, *other),
            ],
            _ => Vec::new(),
        }
    }

    /// Every row takes the key of the next one, the last one a new key.
    fn chain_of_keys(&mut self, table: TableId) -> Vec<Statement> {
        let rows = self.some_rows(table, 6);
        let Some(&end) = self.some_gaps(table, 1).first() else { return Vec::new() };
        if rows.contains(&end) {
            return Vec::new();
        }
        let mut to = end;
        let mut statements = Vec::new();
        for &from in &rows {
            statements.push(self.rekey(table, from, to));
            to = from;
        }
        statements
    }

    /// The key's value stays and its form changes, where a value has several.
    fn rescale_key(&mut self, table: TableId) -> Vec<Statement> {
        if self.table(table).key != super::keys::KeyKind::Numeric {
            return self.update(table);
        }
        let keys = self.some_rows(table, 3);
        if keys.is_empty() {
            return Vec::new();
        }
        for &key in &keys {
            self.model.lock(self.session, table, key);
        }
        let form = ["trim_scale(k)", "round(k, 4)", "k + 0.000"].choose(self.random).copied().unwrap_or("k");
        let name = self.table(table).name;
        vec![Statement::of(
            table,
            format!("UPDATE {name} SET k = {form} WHERE {}", self.with_keys(table, &keys)),
        )]
    }
}

/// What becomes of a column.
enum Assignment {
    /// It is written and stays.
    Same(String),
    Set(String, String),
    Longer(String),
    More(String),
}

impl Assignment {
    fn sql(&self, old: &str) -> String {
        let (name, value) = self.parts(old);
        format!("{name} = {value}")
    }

    /// Column and expression; `old` goes before names of columns there.
    fn parts(&self, old: &str) -> (&str, String) {
        match self {
            Assignment::Same(name) => (name, format!("{old}{name}")),
            Assignment::Set(name, value) => (name, value.clone()),
            Assignment::Longer(name) => (name, format!("left({old}{name} || 'x', 30000)")),
            Assignment::More(name) => (name, format!("{old}{name} % 1000 + 1")),
        }
    }
}
