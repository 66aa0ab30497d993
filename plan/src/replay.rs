//! What was skipped while tables were quarantined, as one transaction after the other. Tables that exchanged names meanwhile
//! come back together, in the order of the stream.

use std::collections::BTreeMap;

use re_dms_shared::manifest::{Action, SchemaChange, Step, TableChange};

use super::{
    Catalog, CopySettings, Plan, PlanError, Purpose, StagedSegment, Statements, Steps, TableLog, Target,
    held, ledger, links, resync, schema, table_log,
};

/// What a replay is made of.
#[derive(Clone, Copy, Debug)]
pub struct Replay<'a> {
    /// Where the tables were skipped, in order.
    pub skipped: &'a [SkippedSegment<'a>],
    /// The tables whose quarantine ends: nothing else was skipped of them.
    pub ends: &'a [Target],
    /// Changes that are held are done, too.
    pub approved: bool,
    /// How COPY gets at the files.
    pub copy: &'a CopySettings,
    /// The tables as they are in Redshift.
    pub catalog: &'a Catalog,
    /// The stream's table log as it was read.
    pub log: &'a TableLog,
}

/// A segment that was loaded without some of its tables.
#[derive(Clone, Debug)]
pub struct SkippedSegment<'a> {
    /// Which.
    pub segment: StagedSegment<'a>,
    /// The tables, each with the number of the log's row that says so.
    pub targets: BTreeMap<Target, u64>,
}

impl<'a> SkippedSegment<'a> {
    /// What waits, in order, each with the number of the step before it. Who leaves one of the names is among it.
    fn steps(&self) -> Vec<(u32, &'a Step)> {
        let mut steps: Vec<_> = self
            .targets
            .keys()
            .flat_map(|target| {
                let leaves = |step: &&'a Step| {
                    links::renamed_from(step).as_ref() == Some(target)
                        && !self.targets.contains_key(&Target::of(&step.table))
                };
                let behind = resync::behind_reading(&self.segment, target);
                let leaving = behind.iter().filter(leaves).map(|step| (0, step));
                resync::waiting_steps(&self.segment, target).chain(leaving).collect::<Vec<_>>()
            })
            .collect();
        steps.sort_by_key(|(_, step)| step.number);
        steps
    }
}

/// Plans what was skipped of quarantined tables.
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
    for skipped in input.skipped {
        for (before, step) in skipped.steps() {
            let target = Target::of(&step.table);
            if !skipped.targets.contains_key(&target) {
                steps.leave_behind(&mut statements, step)?;
                continue;
            }
            if held::is_held(step) && !input.approved {
                return Err(PlanError::Held { table: target.to_string() });
            }
            steps.add(&mut statements, &skipped.segment, before, step)?;
        }
        for (target, change) in &skipped.targets {
            record.replayed(&skipped.segment, target, *change);
        }
    }
    for target in input.ends {
        record.resumed(target);
    }
    statements.end_with(&record, stream);
    statements.refuse_too_long()?;
    Ok(statements.into_plan())
}

impl Steps<'_> {
    /// The table that leaves the name was read anew under its next one since: what is left of it here is nobody's, and must
    /// not become another table's.
    fn leave_behind(&mut self, statements: &mut Statements, step: &Step) -> Result<(), PlanError> {
        let Action::Schema(SchemaChange { before: Some(before), .. }) = &step.action else { return Ok(()) };
        statements.about_nothing();
        let dropped = SchemaChange {
            before: Some(before.clone()),
            changes: vec![TableChange::Drop],
            unproven: Vec::new(),
            hold: false,
        };
        schema::statements(statements, &mut self.catalog, before, &dropped)
    }
}
