//! From a manifest to SQL: `plan(manifest, catalog)` is pure, and nothing outside this folder formats SQL.
//!
//! A plan is one transaction: it locks the ledger, checks that the segment is the next one, prepares tables, stages and
//! merges each load, and records the segment; or several, where each table is committed alone ([`plan_by_table`]). Steps of
//! quarantined tables are left out and recorded as skipped; [`replay()`] plans them later. Every text from the manifest goes through `re_dms_shared::sql`'s quoting.

mod by_table;
mod catalog;
mod check;
mod chunk;
mod copy;
mod equality;
mod error;
mod held;
mod key_range;
pub mod ledger;
mod links;
mod merge;
pub mod probe;
mod purpose;
pub mod queries;
pub mod remove;
mod replay;
mod resync;
mod schema;
pub mod staging;
mod statements;
pub mod table_log;
mod tables;
mod tagged_keys;
pub mod verify;
mod whole_row;

pub use by_table::plan_by_table;
pub use catalog::{Catalog, CatalogColumn};
pub use copy::CopySettings;
pub use error::PlanError;
pub use held::{change_sql, held};
use links::renamed_from;
pub use links::{linked, renamed};
pub use purpose::Purpose;
pub use replay::{Replay, SkippedSegment, replay};
pub use resync::{Replacement, replace};
pub use staging::Staging;
use statements::Statements;
pub use table_log::{Blame, TableLog, Target};

use std::collections::{BTreeMap, BTreeSet};

use re_dms_shared::manifest::{Action, Column, Load, Manifest, Step, Table};

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
    /// The segments, by their numbers, with the targets that they are done with after it, where more of them follows.
    pub completes: BTreeSet<(u64, Target)>,
    /// The table log's last row after it.
    pub last_change: u64,
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

/// Plans segments that follow each other, or one with `bad` tables, which it quarantines.
///
/// # Errors
/// A manifest that contradicts itself, or targets that can't take the segment's data.
pub fn plan(input: &Input<'_>, bad: &BTreeMap<Target, Blame>) -> Result<Plan, PlanError> {
    let whole = Scope::whole(input.log);
    let plan = transaction(input, bad, &whole)?;
    // Private staging tables are named after one segment.
    if input.segments.len() == 1 && plan.is_large() {
        transaction(input, bad, &Scope { private: true, ..whole })
    } else {
        Ok(plan)
    }
}

/// What one transaction does of its segments.
#[derive(Clone, Copy)]
struct Scope<'a> {
    /// The targets whose steps it does; none for all.
    targets: Option<&'a BTreeSet<Target>>,
    /// The table log's last row before it.
    change: u64,
    /// With it the segments are complete.
    is_last: bool,
    /// Loads are staged in tables of their own before it.
    private: bool,
}

impl Scope<'_> {
    fn whole(log: &TableLog) -> Self {
        Scope { targets: None, change: log.last_change(), is_last: true, private: false }
    }

    fn has(&self, target: &Target) -> bool {
        self.targets.is_none_or(|targets| targets.contains(target))
    }
}

fn transaction(
    input: &Input<'_>,
    bad: &BTreeMap<Target, Blame>,
    scope: &Scope<'_>,
) -> Result<Plan, PlanError> {
    let (Some(first), Some(last)) = (input.segments.first(), input.segments.last()) else {
        return Ok(Statements::default().into_plan());
    };
    let Manifest { stream, epoch, .. } = first.manifest;
    let mut statements = Statements::default();
    statements.push(Purpose::LockLedger, ledger::lock(stream));
    statements.push(Purpose::Guard, ledger::guard(stream, epoch, first.manifest.follows(), scope.change));
    let mut record = table_log::Record::after(scope.change);
    let mut steps =
        Steps { catalog: input.catalog.clone(), copy: input.copy, loads: 0, private: scope.private };
    // Tables that this plan begins to let wait.
    let mut reading = BTreeSet::new();
    for segment in input.segments {
        let mut skipped = BTreeSet::new();
        let mut before = 0;
        for step in &segment.manifest.steps {
            let after = std::mem::replace(&mut before, step.number);
            let target = Target::of(&step.table);
            let newly = bad.get(&target);
            if input.log.is_loaded(segment.manifest.seq, &target) || !scope.has(&target) {
                continue;
            }
            if !scope.is_last {
                statements.completes.insert((segment.manifest.seq, target.clone()));
            }
            match &step.action {
                Action::Resync => {
                    check::step(after, step)?;
                    record.resync(segment, &target);
                    // What was skipped before need not come any more.
                    skipped.remove(&target);
                    reading.insert(target);
                }
                Action::Replace(_) => {
                    check::step(after, step)?;
                    if reading.contains(&target) || input.log.is_read_anew(&target) {
                        record.copied(segment, &target);
                    }
                }
                _ if reading.contains(&target) => {
                    if skipped.insert(target.clone()) {
                        record.skipped(segment, &target);
                    }
                }
                _ if newly.is_none() && !input.log.is_quarantined(&target) => {
                    steps.add(&mut statements, segment, after, step)?;
                }
                // Who leaves a name waits with who takes it.
                _ => {
                    for target in std::iter::once(target).chain(renamed_from(step)) {
                        if skipped.insert(target.clone()) {
                            if let Some(blame) = bad.get(&target) {
                                record.quarantined(segment, &target, blame);
                            }
                            record.skipped(segment, &target);
                        }
                    }
                }
            }
        }
    }
    for (seq, target) in &statements.completes {
        record.loaded(epoch, *seq, target);
    }
    statements.end_with(&record, stream);
    statements.last_change = record.last_change();
    if scope.is_last {
        if input.log.has_loaded() || scope.targets.is_some() {
            let sql = table_log::forget_loaded(stream, epoch, last.manifest.seq, statements.last_change);
            statements.push(Purpose::ForgetTables, sql);
        }
        statements.push(Purpose::RecordSegment, ledger::record(input.segments));
    }
    statements.refuse_too_long()?;
    Ok(statements.into_plan())
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
        if matches!(step.action, Action::Load(_) | Action::Chunk(_) | Action::Truncate) {
            tables::prepare(statements, &mut self.catalog, &step.table)?;
        }
        match &step.action {
            Action::Schema(change) => {
                schema::statements(statements, &mut self.catalog, &step.table, change)?;
            }
            Action::Truncate => statements.push(Purpose::Truncate, tables::empty(&step.table)),
            // They say what waits, and are dealt with by whoever plans that.
            Action::Resync | Action::Replace(_) => {}
            Action::Load(load) if segment.manifest.is_image() => {
                check::copy(step, load)?;
                statements.bytes += load.files.iter().map(|file| file.bytes).sum::<u64>();
                copy::into_table(statements, segment.bucket, self.copy, (self.loads, &step.table), load)?;
            }
            // COPY refuses a manifest without files.
            Action::Load(load) if load.rows.total() == 0 => {}
            Action::Load(load) => {
                let stage = self.stage(statements, segment, step, load)?;
                merge::statements(statements, &stage);
            }
            Action::Chunk(chunk) if chunk.load.rows.total() == 0 => {
                statements.push(Purpose::Delete, chunk::clear(&step.table, chunk));
            }
            Action::Chunk(chunk) => {
                let stage = self.stage(statements, segment, step, &chunk.load)?;
                chunk::statements(statements, &stage, chunk);
            }
        }
        Ok(())
    }

    /// Stages a load: within the transaction, or before it.
    fn stage<'t>(
        &self,
        statements: &mut Statements,
        segment: &StagedSegment<'_>,
        step: &'t Step,
        load: &'t Load,
    ) -> Result<copy::Stage<'t>, PlanError> {
        let kept = self.kept(&step.table);
        if !self.private {
            statements.bytes += load.files.iter().map(|file| file.bytes).sum::<u64>();
            let stage = copy::Stage::new(self.loads, &step.table, load, kept);
            copy::statements(statements, segment.bucket, self.copy, &stage)?;
            return Ok(stage);
        }
        let name = staging::name(segment, step.number);
        let stage = copy::Stage::private(self.loads, &name, &step.table, load, kept);
        let mut before = Statements { of: statements.of.clone(), ..Statements::default() };
        copy::statements(&mut before, segment.bucket, self.copy, &stage)?;
        before.refuse_too_long()?;
        statements.staging.push(Staging { table: name, statements: before.list });
        Ok(stage)
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

/// Plans that a table stands still from here on: it lacks nothing from before this segment of the epoch.
#[must_use]
pub fn pause(stream: &str, target: &Target, (epoch, first): (&str, u64), log: &TableLog) -> Plan {
    let mut statements = Statements::default();
    statements.push(Purpose::LockLedger, ledger::lock(stream));
    statements.push(Purpose::Guard, table_log::guard(stream, log.last_change()));
    let mut record = table_log::Record::after(log.last_change());
    record.paused(target, epoch, first);
    statements.end_with(&record, stream);
    statements.into_plan()
}

/// A target's name for people.
fn table_label(table: &Table) -> String {
    Target::of(table).to_string()
}

#[cfg(test)]
mod tests;
