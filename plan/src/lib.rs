//! From a manifest to SQL: `plan(manifest, catalog)` is pure, and nothing outside this folder formats SQL.
//!
//! A plan is one transaction: it locks the ledger, checks that the segment is the next one, prepares tables, stages and
//! merges each load, and records the segment. Steps of quarantined tables are left out and recorded as skipped; [`replay`]
//! plans them later. Every text from the manifest goes through `re_dms_shared::sql`'s quoting.

mod catalog;
mod check;
mod copy;
mod equality;
mod error;
mod held;
pub mod ledger;
mod merge;
pub mod probe;
pub mod queries;
mod schema;
pub mod staging;
mod statements;
pub mod table_log;
mod tables;
mod whole_row;

pub use catalog::{Catalog, CatalogColumn};
pub use copy::CopySettings;
pub use error::PlanError;
pub use held::{change_sql, held};
pub use staging::Staging;
use statements::Statements;
pub use table_log::{Blame, TableLog, Target};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use re_dms_shared::manifest::{Action, Column, Manifest, Step, Table};

/// Statements that fit into one call of `BatchExecuteStatement`.
pub const BATCH_STATEMENTS: usize = 40;

/// The longest statement that the Data API surely takes, in bytes.
pub const STATEMENT_BYTES: usize = 100_000;

/// What a plan is made of.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What is loaded.
    pub segments: &'a [StagedSegment<'a>],
    /// How COPY gets at the files.
    pub copy: &'a CopySettings,
    /// The segments' tables as they are in Redshift.
    pub catalog: &'a Catalog,
    /// The stream's table log as it was read.
    pub log: &'a TableLog,
}

/// A segment and where it lies.
#[derive(Clone, Copy, Debug)]
pub struct StagedSegment<'a> {
    /// What it is.
    pub manifest: &'a Manifest,
    /// Its manifest's checksum.
    pub manifest_sha256: &'a str,
    /// The bucket that it is in.
    pub bucket: &'a str,
    /// Where its manifest is.
    pub manifest_key: &'a str,
}

/// What must be done before, and one transaction, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What is done before the transaction, side by side, where one after the other would take long.
    pub staging: Vec<Staging>,
    /// Outside of the transaction and before it: what Redshift refuses within one. It harms nobody if the transaction never
    /// comes, and is not planned again once it is done.
    pub before: Vec<Statement>,
    /// How it is sent.
    pub transport: Transport,
    /// For a session with BEGIN and COMMIT; a batch is a transaction by itself.
    pub statements: Vec<Statement>,
    /// In files that the transaction copies itself.
    pub bytes: u64,
}

impl Plan {
    /// Whether it is one call of the Data API that ends whatever becomes of the caller.
    #[must_use]
    pub fn is_one_batch(&self) -> bool {
        self.transport == Transport::Batch && self.staging.is_empty()
    }

    /// Whether staging its loads side by side, before the transaction, is worth it.
    fn is_large(&self) -> bool {
        let loads = self.statements.iter().filter(|statement| statement.purpose == Purpose::Copy).count();
        loads > 1 && (self.transport == Transport::Session || self.bytes > staging::LARGE_BYTES)
    }
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
    /// The step that it belongs to, if it belongs to one.
    pub of: Option<PlannedStep>,
    /// Its text.
    pub sql: String,
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// From 1 within the plan; its staging table is numbered by it.
    pub place: u32,
    /// Its segment.
    pub seq: u64,
    /// Its number in the segment.
    pub number: u32,
    /// What it is done to.
    pub target: Target,
    /// Rows in its files.
    pub rows: u64,
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
    DropKey,
    KeepColumns,
    AlterLayout,
    Truncate,
    CreateStage,
    CheckEmpty,
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
    RecordTables,
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
            Purpose::KeepColumns => "keeping what replaced rows have in columns that the source has no more",
            Purpose::DropKey => "dropping the declared key",
            Purpose::AlterLayout => "changing how the table lies in Redshift",
            Purpose::Truncate => "emptying the table",
            Purpose::CreateStage => "creating the staging table",
            Purpose::CheckEmpty => "checking that the table is empty",
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
            Purpose::RecordTables => "recording what was skipped",
            Purpose::RecordSegment => "recording the segment in the ledger",
            Purpose::Commit => "committing the transaction",
        })
    }
}

/// Plans segments that follow each other, or one with `bad` tables, which it quarantines.
///
/// # Errors
/// A manifest that contradicts itself, or targets that can't take the segment's data.
pub fn plan(input: &Input<'_>, bad: &BTreeMap<Target, Blame>) -> Result<Plan, PlanError> {
    let plan = plan_staged(input, bad, false)?;
    // Private staging tables are named after one segment.
    if input.segments.len() == 1 && plan.is_large() { plan_staged(input, bad, true) } else { Ok(plan) }
}

fn plan_staged(input: &Input<'_>, bad: &BTreeMap<Target, Blame>, private: bool) -> Result<Plan, PlanError> {
    let Some(first) = input.segments.first() else { return Ok(Statements::default().into_plan()) };
    let Manifest { stream, epoch, seq, .. } = first.manifest;
    let mut statements = Statements::default();
    statements.push(Purpose::LockLedger, ledger::lock(stream));
    statements
        .push(Purpose::Guard, ledger::guard(stream, epoch, seq.saturating_sub(1), input.log.last_change()));
    let mut record = table_log::Record::after(input.log.last_change());
    let mut steps = Steps { catalog: input.catalog.clone(), copy: input.copy, loads: 0, private };
    for segment in input.segments {
        let mut skipped = BTreeSet::new();
        let mut before = 0;
        for step in &segment.manifest.steps {
            let target = Target::of(&step.table);
            let newly = bad.get(&target);
            if newly.is_none() && !input.log.is_quarantined(&target) {
                steps.add(&mut statements, segment, before, step)?;
            } else if skipped.insert(target.clone()) {
                if let Some(blame) = newly {
                    record.quarantined(segment, &target, blame);
                }
                record.skipped(segment, &target);
            }
            before = step.number;
        }
    }
    statements.about_nothing();
    statements.drop_private_stages();
    for sql in record.statements(stream) {
        statements.push(Purpose::RecordTables, sql);
    }
    statements.push(Purpose::RecordSegment, ledger::record(input.segments));
    statements.refuse_too_long()?;
    Ok(statements.into_plan())
}

/// What a replay is made of.
#[derive(Clone, Copy, Debug)]
pub struct Replay<'a> {
    /// The quarantined table.
    pub target: &'a Target,
    /// Where it was skipped, in order, each with the number of the log's row that says so.
    pub skipped: &'a [(u64, StagedSegment<'a>)],
    /// Nothing else was skipped: the quarantine ends.
    pub is_all: bool,
    /// Changes that are held are done, too.
    pub approved: bool,
    /// How COPY gets at the files.
    pub copy: &'a CopySettings,
    /// The table as it is in Redshift.
    pub catalog: &'a Catalog,
    /// The stream's table log as it was read.
    pub log: &'a TableLog,
}

/// Plans what was skipped of a quarantined table.
///
/// # Errors
/// As [`plan`].
pub fn replay(stream: &str, input: &Replay<'_>) -> Result<Plan, PlanError> {
    let plan = replay_staged(stream, input, false)?;
    if input.skipped.len() == 1 && plan.is_large() { replay_staged(stream, input, true) } else { Ok(plan) }
}

fn replay_staged(stream: &str, input: &Replay<'_>, private: bool) -> Result<Plan, PlanError> {
    let mut statements = Statements::default();
    statements.push(Purpose::LockLedger, ledger::lock(stream));
    statements.push(Purpose::Guard, table_log::guard(stream, input.log.last_change()));
    let mut record = table_log::Record::after(input.log.last_change());
    let mut steps = Steps { catalog: input.catalog.clone(), copy: input.copy, loads: 0, private };
    for (change, segment) in input.skipped {
        let mut before = 0;
        for step in &segment.manifest.steps {
            if Target::of(&step.table) == *input.target {
                if let Some(old) = renamed_from(step).filter(|old| input.log.is_quarantined(old)) {
                    let (table, before) = (input.target.to_string(), old.to_string());
                    return Err(PlanError::Waits { table, before });
                }
                if held::is_held(step) && !input.approved {
                    return Err(PlanError::Held { table: input.target.to_string() });
                }
                steps.add(&mut statements, segment, before, step)?;
            }
            before = step.number;
        }
        record.replayed(segment, input.target, *change);
    }
    if input.is_all {
        record.resumed(input.target);
    }
    statements.about_nothing();
    statements.drop_private_stages();
    for sql in record.statements(stream) {
        statements.push(Purpose::RecordTables, sql);
    }
    statements.refuse_too_long()?;
    Ok(statements.into_plan())
}

/// Tables of the segment that are quarantined ones, or `bad` ones, under new names: they must wait, too.
#[must_use]
pub fn renamed(
    manifest: &Manifest,
    log: &TableLog,
    bad: &BTreeMap<Target, Blame>,
) -> BTreeMap<Target, Blame> {
    let mut found: BTreeMap<Target, Blame> = BTreeMap::new();
    for step in &manifest.steps {
        let (target, before) = (Target::of(&step.table), renamed_from(step));
        let waits = |before: &Target| {
            log.is_quarantined(before) || bad.contains_key(before) || found.contains_key(before)
        };
        if let Some(before) = before.filter(waits)
            && !log.is_quarantined(&target)
        {
            let error = PlanError::Waits { table: target.to_string(), before: before.to_string() };
            found.insert(target, Blame { reason: error.to_string(), hint: error.hint(), held: false });
        }
    }
    found
}

/// The target that the step gives another name.
fn renamed_from(step: &Step) -> Option<Target> {
    let Action::Schema(change) = &step.action else { return None };
    change.before.as_ref().map(Target::of).filter(|before| *before != Target::of(&step.table))
}

/// Steps become statements.
struct Steps<'a> {
    /// The targets as they are after the steps so far.
    catalog: Catalog,
    copy: &'a CopySettings,
    /// Steps so far, over all segments: temporary staging tables are numbered by it.
    loads: u32,
    /// Loads are staged in tables of their own before the transaction.
    private: bool,
}

impl Steps<'_> {
    fn add(
        &mut self,
        statements: &mut Statements,
        segment: &StagedSegment<'_>,
        before: u32,
        step: &Step,
    ) -> Result<(), PlanError> {
        check::step(before, step)?;
        self.loads += 1;
        statements.about(self.loads, segment.manifest.seq, step);
        if !matches!(step.action, Action::Schema(_)) {
            tables::prepare(statements, &mut self.catalog, &step.table)?;
        }
        match &step.action {
            Action::Schema(change) => {
                schema::statements(statements, &mut self.catalog, &step.table, change)?;
            }
            Action::Truncate => statements.push(Purpose::Truncate, tables::empty(&step.table)),
            Action::Load(load) if segment.manifest.copy.is_some() => {
                check::copy(step, load)?;
                statements.bytes += load.files.iter().map(|file| file.bytes).sum::<u64>();
                copy::into_table(statements, segment.bucket, self.copy, (self.loads, &step.table), load)?;
            }
            // COPY refuses a manifest without files.
            Action::Load(load) if load.rows.total() == 0 => {}
            Action::Load(load) if self.private => {
                let name = staging::name(segment, step.number);
                let stage =
                    copy::Stage::private(self.loads, &name, &step.table, load, self.kept(&step.table));
                let mut before = Statements { of: statements.of.clone(), ..Statements::default() };
                copy::statements(&mut before, segment.bucket, self.copy, &stage)?;
                before.refuse_too_long()?;
                statements.staging.push(Staging { table: name, statements: before.list });
                merge::statements(statements, &stage);
            }
            Action::Load(load) => {
                statements.bytes += load.files.iter().map(|file| file.bytes).sum::<u64>();
                let stage = copy::Stage::new(self.loads, &step.table, load, self.kept(&step.table));
                copy::statements(statements, segment.bucket, self.copy, &stage)?;
                merge::statements(statements, &stage);
            }
        }
        Ok(())
    }
}

impl Steps<'_> {
    /// The columns that the source has no more and Redshift still has: somebody may have dropped them there.
    fn kept<'t>(&self, table: &'t Table) -> Vec<&'t Column> {
        let Some(target) = self.catalog.target(table) else { return Vec::new() };
        let is_there =
            |column: &&Column| target.columns.contains_key(&column.target_name.to_ascii_lowercase());
        table.kept.iter().filter(is_there).collect()
    }
}

/// A target's name for people.
fn table_label(table: &Table) -> String {
    Target::of(table).to_string()
}

#[cfg(test)]
mod tests;
