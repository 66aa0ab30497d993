//! What was skipped while a table was quarantined, as one transaction after the other.

use super::{
    Catalog, CopySettings, Plan, PlanError, Purpose, StagedSegment, Statements, Steps, TableLog, Target,
    held, ledger, renamed_from, resync, table_log,
};

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
        for (before, step) in resync::waiting_steps(segment, input.target) {
            if let Some(old) = renamed_from(step).filter(|old| input.log.is_quarantined(old)) {
                let (table, before) = (input.target.to_string(), old.to_string());
                return Err(PlanError::Waits { table, before });
            }
            if held::is_held(step) && !input.approved {
                return Err(PlanError::Held { table: input.target.to_string() });
            }
            steps.add(&mut statements, segment, before, step)?;
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
