//! One session: transactions one after the other, with savepoints, rolled back now and then.

use std::collections::VecDeque;

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};

use super::model::TableId;
use super::statement::Statement;
use super::writes::Writer;

/// The most columns that are ever added to a table.
const MOST_ADDED_COLUMNS: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Session {
    /// Statements that are decided on, and what ends with them.
    queue: VecDeque<(Statement, Ends)>,
    transaction: Option<Transaction>,
}

/// What a statement ends. Until it has run, the transaction's locks are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Nothing,
    Committed,
    RolledBack,
}

#[derive(Debug)]
struct Transaction {
    /// Steps until it ends.
    left: u32,
    commits: bool,
    /// It changes many rows at a time.
    in_bulk: bool,
    /// Names and places, the inner ones last.
    savepoints: Vec<(String, usize)>,
    /// Its number, for those who look whether all of it is seen at once.
    mark: u64,
}

impl Session {
    /// Is it in a transaction, or going to be?
    pub(super) fn is_busy(&self) -> bool {
        self.transaction.is_some() || !self.queue.is_empty()
    }

    /// PostgreSQL has ended what was open.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// The next statement.
    pub(super) fn step(&mut self, writer: &mut Writer<'_>, next_mark: &mut u64) -> Statement {
        if self.queue.is_empty() {
            self.decide(writer, next_mark);
        }
        // Nothing can be done now where others hold what was picked.
        self.next(writer).unwrap_or_else(|| Statement::control("SELECT"))
    }

    /// The next statement on the way to the transaction's end; none if there is none open.
    pub(super) fn step_to_end(&mut self, writer: &mut Writer<'_>) -> Option<Statement> {
        if self.queue.is_empty()
            && let Some(transaction) = self.transaction.take()
        {
            self.end(&transaction);
        }
        self.next(writer)
    }

    fn next(&mut self, writer: &mut Writer<'_>) -> Option<Statement> {
        let (statement, ends) = self.queue.pop_front()?;
        match ends {
            Ends::Nothing => {}
            Ends::Committed => writer.model.commit(writer.session),
            Ends::RolledBack => writer.model.roll_back(writer.session),
        }
        Some(statement)
    }

    fn push(&mut self, statement: Statement) {
        self.queue.push_back((statement, Ends::Nothing));
    }

    fn push_all(&mut self, statements: impl IntoIterator<Item = Statement>) {
        self.queue.extend(statements.into_iter().map(|statement| (statement, Ends::Nothing)));
    }

    fn decide(&mut self, writer: &mut Writer<'_>, next_mark: &mut u64) {
        let Some(mut transaction) = self.transaction.take() else {
            if writer.random.random_bool(0.3) {
                self.single(writer);
            } else {
                self.begin(writer, next_mark);
            }
            return;
        };
        if transaction.left == 0 {
            self.end(&transaction);
            return;
        }
        transaction.left -= 1;
        let session = writer.session;
        match writer.random.random_range(0..40) {
            0..=4 => {
                let name = format!("s{}", transaction.savepoints.len());
                self.push(Statement::control(format!("SAVEPOINT {name}")));
                transaction.savepoints.push((name, writer.model.savepoint(session)));
            }
            5..=8 if !transaction.savepoints.is_empty() => {
                let at = writer.random.random_range(0..transaction.savepoints.len());
                transaction.savepoints.truncate(at + 1);
                let (name, place) = transaction.savepoints[at].clone();
                writer.model.roll_back_to(session, place);
                self.push(Statement::control(format!("ROLLBACK TO {name}")));
            }
            9..=10 if !transaction.savepoints.is_empty() => {
                let at = writer.random.random_range(0..transaction.savepoints.len());
                self.push(Statement::control(format!("RELEASE {}", transaction.savepoints[at].0)));
                transaction.savepoints.truncate(at);
            }
            11 => self.push(message(writer)),
            12 => self.fail(writer),
            13..=14 if transaction.in_bulk => self.push_all(bulk(writer)),
            _ => self.push_all(change(writer)),
        }
        if transaction.in_bulk && writer.random.random_bool(0.4) {
            self.push_all(bulk(writer));
        }
        self.transaction = Some(transaction);
    }

    /// A statement that is a transaction by itself, or a few that must be one.
    fn single(&mut self, writer: &mut Writer<'_>) {
        if writer.random.random_bool(0.06) {
            self.push(message(writer));
            return;
        }
        writer.model.begin(writer.session);
        let statements = change(writer);
        match statements.len() {
            0 => writer.model.commit(writer.session),
            1 => {
                self.push_all(statements);
                self.end_with_last(Ends::Committed);
            }
            _ => {
                self.push(Statement::control("BEGIN"));
                self.push_all(statements);
                self.push(Statement::control("COMMIT"));
                self.end_with_last(Ends::Committed);
            }
        }
    }

    fn end_with_last(&mut self, end: Ends) {
        if let Some((_, ends)) = self.queue.back_mut() {
            *ends = end;
        }
    }

    fn begin(&mut self, writer: &mut Writer<'_>, next_mark: &mut u64) {
        writer.model.begin(writer.session);
        *next_mark += 1;
        let in_bulk = writer.random.random_bool(0.15);
        self.transaction = Some(Transaction {
            left: if writer.random.random_bool(0.2) { 0 } else { writer.random.random_range(1..16) },
            commits: writer.random.random_bool(0.8),
            in_bulk,
            savepoints: Vec::new(),
            mark: *next_mark,
        });
        self.push(Statement::control("BEGIN"));
        self.push(Statement::control(format!("INSERT INTO mark_here VALUES ({next_mark})")));
    }

    fn end(&mut self, transaction: &Transaction) {
        self.push(Statement::control(format!("INSERT INTO mark_there VALUES ({})", transaction.mark)));
        let (sql, end) =
            if transaction.commits { ("COMMIT", Ends::Committed) } else { ("ROLLBACK", Ends::RolledBack) };
        self.push(Statement::control(sql));
        self.end_with_last(end);
    }

    /// An error, and back to before it.
    fn fail(&mut self, writer: &mut Writer<'_>) {
        let table = any_table(writer);
        if !writer.model.may_use(writer.session, table) {
            return;
        }
        if let Some(statement) = writer.insert_in_vain(table) {
            self.push(Statement::control("SAVEPOINT vain"));
            self.push(statement);
            self.push(Statement::control("ROLLBACK TO vain"));
        }
    }
}

fn any_table(writer: &mut Writer<'_>) -> TableId {
    writer.focus.choose(writer.random).copied().unwrap_or(0)
}

/// A change of some table's rows, or of a table as a whole.
fn change(writer: &mut Writer<'_>) -> Vec<Statement> {
    match writer.random.random_range(0..100) {
        0..=3 => return truncate(writer),
        4 => return add_column(writer),
        _ => {}
    }
    let table = any_table(writer);
    if writer.model.may_use(writer.session, table) { writer.write(table) } else { Vec::new() }
}

fn bulk(writer: &mut Writer<'_>) -> Option<Statement> {
    let table = any_table(writer);
    let may = writer.takes_ranges(table) && writer.model.may_use(writer.session, table);
    if may { writer.write_range(table) } else { None }
}

fn truncate(writer: &mut Writer<'_>) -> Vec<Statement> {
    let mut tables: Vec<TableId> = writer
        .focus
        .iter()
        .copied()
        .filter(|&table| writer.model.may_lock_table(writer.session, table))
        .collect();
    tables.shuffle(writer.random);
    tables.truncate(writer.random.random_range(1..=3));
    if tables.is_empty() {
        return Vec::new();
    }
    for &table in &tables {
        writer.model.truncate(writer.session, table);
    }
    let options = ["", " RESTART IDENTITY", " CASCADE", " RESTART IDENTITY CASCADE"];
    let options = options[writer.random.random_range(0..options.len())];
    vec![Statement::truncate(tables, options)]
}

fn add_column(writer: &mut Writer<'_>) -> Vec<Statement> {
    let table = any_table(writer);
    let number = writer.model.added_columns(table) + 1;
    if number > MOST_ADDED_COLUMNS || !writer.model.may_lock_table(writer.session, table) {
        return Vec::new();
    }
    writer.model.add_column(writer.session, table);
    let name = writer.table(table).name;
    vec![Statement::of(table, format!("ALTER TABLE {name} ADD COLUMN extra_{number} text"))]
}

/// A logical message, which is nobody's row; one in three cuts the batch.
fn message(writer: &mut Writer<'_>) -> Statement {
    let (transactional, prefix) = (
        writer.random.random_bool(0.6),
        if writer.random.random_bool(0.33) { "re_dms.barrier" } else { "history" },
    );
    let length = writer.random.random_range(0..2_000);
    Statement::control(format!(
        "SELECT pg_logical_emit_message({transactional}, '{prefix}', repeat('m', {length}))"
    ))
}
