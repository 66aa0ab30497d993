//! From a manifest to SQL: `plan(manifest, catalog)` is pure, and nothing outside this folder formats SQL.
//!
//! A plan is one transaction: it locks the ledger, checks that the segment is the next one, prepares tables, stages and
//! merges each load, and records the segment. Every text from the manifest goes through `re_dms_shared::sql`'s quoting.

mod catalog;
mod check;
mod copy;
mod equality;
pub mod ledger;
mod merge;
pub mod queries;
mod schema;
mod tables;
mod whole_row;

pub use catalog::{Catalog, CatalogColumn};

use std::fmt;

use re_dms_shared::manifest::{Action, Manifest, Table};
use re_dms_shared::sql;

use crate::config::CopySettings;

/// Statements that fit into one call of `BatchExecuteStatement`.
pub const BATCH_STATEMENTS: usize = 40;

/// The longest statement that the Data API surely takes, in bytes.
pub const STATEMENT_BYTES: usize = 100_000;

/// What a plan is made of.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The segment.
    pub manifest: &'a Manifest,
    /// Its manifest's checksum, for the ledger.
    pub manifest_sha256: &'a str,
    /// The bucket that its files are in.
    pub bucket: &'a str,
    /// How COPY gets at the files.
    pub copy: &'a CopySettings,
    /// The segment's tables as they are in Redshift.
    pub catalog: &'a Catalog,
}

/// What must be done before, and one transaction, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Outside of the transaction and before it: what Redshift refuses within one. It harms nobody if the transaction never
    /// comes, and is not planned again once it is done.
    pub before: Vec<Statement>,
    /// How it is sent.
    pub transport: Transport,
    /// For a session with BEGIN and COMMIT; a batch is a transaction by itself.
    pub statements: Vec<Statement>,
}

/// How a plan is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In one call.
    Batch,
    /// Statement by statement in a kept session.
    Session,
}

/// One statement, with what a failure of it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What it is for.
    pub purpose: Purpose,
    /// The step that it belongs to.
    pub step: Option<u32>,
    /// The target that it is about, for people.
    pub table: Option<String>,
    /// Its text.
    pub sql: String,
}

/// What a statement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the display form explains each
pub enum Purpose {
    Begin,
    LockLedger,
    Guard,
    CreateSchema,
    CreateTable,
    DropTable,
    RenameTable,
    MoveRows,
    AddColumn,
    FillColumn,
    DropColumn,
    RenameColumn,
    WidenColumn,
    Truncate,
    CreateStage,
    Copy,
    CountRows,
    Delete,
    Update,
    Move,
    Keep,
    Remove,
    Restore,
    Insert,
    DropStage,
    RecordSegment,
    Commit,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purpose::Begin => "beginning the transaction",
            Purpose::LockLedger => "locking the ledger",
            Purpose::Guard => "checking that the segment is next in the ledger",
            Purpose::CreateSchema => "creating the schema",
            Purpose::CreateTable => "creating the table",
            Purpose::DropTable => "dropping the table",
            Purpose::RenameTable => "renaming the table",
            Purpose::MoveRows => "moving the rows to another schema",
            Purpose::AddColumn => "adding a column",
            Purpose::FillColumn => "filling a column",
            Purpose::DropColumn => "dropping a column",
            Purpose::RenameColumn => "renaming a column",
            Purpose::WidenColumn => "widening a column",
            Purpose::Truncate => "emptying the table",
            Purpose::CreateStage => "creating the staging table",
            Purpose::Copy => "copying from S3",
            Purpose::CountRows => "counting the copied rows",
            Purpose::Delete => "deleting rows",
            Purpose::Update => "updating rows",
            Purpose::Move => "moving rows to new keys",
            Purpose::Keep => "counting the copies of rows that go",
            Purpose::Remove => "removing rows of a table without a key",
            Purpose::Restore => "putting back the copies that stay",
            Purpose::Insert => "inserting rows",
            Purpose::DropStage => "dropping the staging table",
            Purpose::RecordSegment => "recording the segment in the ledger",
            Purpose::Commit => "committing the transaction",
        })
    }
}

/// Why there is no plan. None of these goes away by trying again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The manifest contradicts itself.
    #[error("the manifest's step {step} ({table}): {problem}")]
    Manifest {
        /// The step's number.
        step: u32,
        /// Its target.
        table: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The target's column can't hold what arrives.
    #[error("{table}: column {column} is {found} in Redshift and {wanted} in the segment")]
    ColumnType {
        /// The target.
        table: String,
        /// Its column.
        column: String,
        /// The type in Redshift.
        found: String,
        /// The type in the manifest.
        wanted: String,
    },
    /// Redshift would refuse to drop what views read.
    #[error("{table}: {what} can't be dropped, since {} read it", views.join(", "))]
    Views {
        /// The target.
        table: String,
        /// The table or the column.
        what: String,
        /// The views, with their schemas.
        views: Vec<String>,
    },
    /// Something else has the name already.
    #[error("{table}: {what} is to be called {name}, and there is one of that name")]
    NameTaken {
        /// The target.
        table: String,
        /// The table or the column.
        what: String,
        /// Its new name.
        name: String,
    },
    /// A table so wide that its statements are refused.
    #[error(
        "{table}: {purpose} takes a statement of {bytes} bytes, and the Data API takes {STATEMENT_BYTES}"
    )]
    TooLong {
        /// The target.
        table: String,
        /// What the statement is for.
        purpose: Purpose,
        /// Its length.
        bytes: usize,
    },
}

impl PlanError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            PlanError::Manifest { .. } => {
                "the segment was written wrong: report it with its manifest.json, which holds no row values"
                    .into()
            }
            PlanError::ColumnType { table, column, wanted, .. } => {
                format!(
                    "give {table}'s column {column} the type {wanted}, or rename the table: a missing one is created"
                )
            }
            PlanError::Views { .. } => {
                "drop these views, or make them again WITH NO SCHEMA BINDING; then it goes on by itself"
                    .into()
            }
            PlanError::NameTaken { table, name, .. } => {
                format!("rename or drop {name} of {table} in Redshift; then it goes on by itself")
            }
            PlanError::TooLong { purpose: Purpose::Keep | Purpose::Remove, .. } => {
                "give the table a primary key: all of its columns have to be compared without one".into()
            }
            PlanError::TooLong { .. } => "exclude some of the table's columns from the stream".into(),
        }
    }
}

/// Plans a segment.
///
/// # Errors
/// A manifest that contradicts itself, or targets that can't take the segment's data.
pub fn plan(input: &Input<'_>) -> Result<Plan, PlanError> {
    let manifest = input.manifest;
    let mut catalog = input.catalog.clone();
    let mut statements = Statements::default();
    statements.push(Purpose::LockLedger, ledger::lock(&manifest.stream));
    statements.push(
        Purpose::Guard,
        ledger::guard(&manifest.stream, &manifest.epoch, manifest.seq.saturating_sub(1)),
    );
    for (position, step) in manifest.steps.iter().enumerate() {
        check::step(position, step)?;
        statements.about(step.number, &step.table);
        if !matches!(step.action, Action::Schema(_)) {
            tables::prepare(&mut statements, &mut catalog, &step.table)?;
        }
        match &step.action {
            Action::Schema(change) => {
                schema::statements(&mut statements, &mut catalog, &step.table, change)?;
            }
            Action::Truncate => statements.push(Purpose::Truncate, tables::empty(&step.table)),
            // COPY refuses a manifest without files.
            Action::Load(load) if load.rows.total() == 0 => {}
            Action::Load(load) => {
                let stage = copy::Stage::new(step.number, &step.table, load);
                copy::statements(&mut statements, input, &stage)?;
                merge::statements(&mut statements, &stage);
            }
        }
    }
    statements.about_nothing();
    statements.push(Purpose::RecordSegment, ledger::record(manifest, input.manifest_sha256));
    statements.refuse_too_long()?;
    Ok(statements.into_plan())
}

/// The statements so far, and what the next ones are about.
#[derive(Default)]
struct Statements {
    /// Outside of the transaction.
    before: Vec<Statement>,
    list: Vec<Statement>,
    step: Option<u32>,
    table: Option<String>,
}

impl Statements {
    fn about(&mut self, step: u32, table: &Table) {
        self.step = Some(step);
        self.table = Some(table_label(table));
    }

    fn about_nothing(&mut self) {
        self.step = None;
        self.table = None;
    }

    fn push(&mut self, purpose: Purpose, sql: String) {
        self.list.push(Statement { purpose, step: self.step, table: self.table.clone(), sql });
    }

    fn push_before(&mut self, purpose: Purpose, sql: String) {
        self.before.push(Statement { purpose, step: self.step, table: self.table.clone(), sql });
    }

    fn refuse_too_long(&self) -> Result<(), PlanError> {
        let Some(long) = self.list.iter().find(|statement| statement.sql.len() > STATEMENT_BYTES) else {
            return Ok(());
        };
        let table = long.table.clone().unwrap_or_default();
        Err(PlanError::TooLong { table, purpose: long.purpose, bytes: long.sql.len() })
    }

    fn into_plan(self) -> Plan {
        let before = self.before;
        let mut statements = self.list;
        if statements.len() <= BATCH_STATEMENTS {
            // Staging tables vanish with the batch; dropping them would only cost some of its statements.
            return Plan { before, transport: Transport::Batch, statements };
        }
        drop_finished_stages(&mut statements);
        let alone = |purpose, sql: &str| Statement { purpose, step: None, table: None, sql: sql.to_owned() };
        statements.insert(0, alone(Purpose::Begin, "BEGIN"));
        statements.push(alone(Purpose::Commit, "COMMIT"));
        Plan { before, transport: Transport::Session, statements }
    }
}

/// A large segment may stage a lot: its space comes back as soon as each step is merged.
fn drop_finished_stages(statements: &mut Vec<Statement>) {
    let mut with_drops = Vec::with_capacity(statements.len());
    // The step at hand's temporary tables.
    let mut made: Vec<String> = Vec::new();
    let mut all = std::mem::take(statements).into_iter().peekable();
    while let Some(statement) = all.next() {
        match (statement.purpose, statement.step) {
            (Purpose::CreateStage, Some(step)) => made.push(copy::stage_name(step)),
            (Purpose::Keep, Some(step)) => made.push(whole_row::kept_name(step)),
            _ => {}
        }
        let (step, table) = (statement.step, statement.table.clone());
        with_drops.push(statement);
        if !made.is_empty() && all.peek().is_none_or(|next| next.step != step) {
            let names: Vec<_> = made.drain(..).map(|name| sql::ident(&name)).collect();
            let sql = format!("DROP TABLE {}", names.join(", "));
            with_drops.push(Statement { purpose: Purpose::DropStage, step, table, sql });
        }
    }
    *statements = with_drops;
}

/// A target's name for people.
fn table_label(table: &Table) -> String {
    format!("{}.{}", table.target_schema, table.target_name)
}

#[cfg(test)]
mod tests;
