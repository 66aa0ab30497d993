//! A plan's statements while it is made: what each is for and about, and how they are sent in the end.

use std::collections::BTreeSet;

use re_dms_shared::manifest::Step;
use re_dms_shared::sql;

use super::{
    BATCH_STATEMENTS, Plan, PlanError, PlannedStep, Purpose, STATEMENT_BYTES, Staging, Statement, Target,
    Transport, copy, queries, staging, table_log, whole_row,
};

/// The statements so far, and what the next ones are about.
#[derive(Default)]
pub(super) struct Statements {
    /// Outside of the transaction.
    pub(super) before: Vec<Statement>,
    pub(super) list: Vec<Statement>,
    pub(super) of: Option<PlannedStep>,
    pub(super) staging: Vec<Staging>,
    /// In files of loads that are staged within the transaction.
    pub(super) bytes: u64,
    /// As the plan's.
    pub(super) completes: BTreeSet<(u64, Target)>,
    pub(super) last_change: u64,
}

impl Statements {
    pub(super) fn about(&mut self, place: u32, seq: u64, step: &Step) {
        let (number, target) = (step.number, Target::of(&step.table));
        self.of = Some(PlannedStep { place, seq, number, target, rows: queries::rows_of(&step.action) });
    }

    pub(super) fn about_nothing(&mut self) {
        self.of = None;
    }

    pub(super) fn push(&mut self, purpose: Purpose, sql: String) {
        self.list.push(Statement { purpose, of: self.of.clone(), sql });
    }

    /// When all steps are done: what became of single tables.
    pub(super) fn end_with(&mut self, record: &table_log::Record, stream: &str) {
        self.about_nothing();
        for sql in staging::drop(self.staging.iter().map(|staging| staging.table.as_str())) {
            self.push(Purpose::DropStage, sql);
        }
        for sql in record.statements(stream) {
            self.push(Purpose::RecordTables, sql);
        }
    }

    pub(super) fn push_before(&mut self, purpose: Purpose, sql: String) {
        self.before.push(Statement { purpose, of: self.of.clone(), sql });
    }

    pub(super) fn refuse_too_long(&self) -> Result<(), PlanError> {
        let Some(long) = self.list.iter().find(|statement| statement.sql.len() > STATEMENT_BYTES) else {
            return Ok(());
        };
        let table = long.of.as_ref().map(|step| step.target.to_string()).unwrap_or_default();
        Err(PlanError::TooLong { table, purpose: long.purpose, bytes: long.sql.len() })
    }

    pub(super) fn into_plan(self) -> Plan {
        let Self { before, list: mut statements, staging, bytes, completes, last_change, .. } = self;
        if statements.len() <= BATCH_STATEMENTS {
            // Staging tables vanish with the batch; dropping them would only cost some of its statements.
            let transport = Transport::Batch;
            return Plan { before, staging, transport, statements, bytes, completes, last_change };
        }
        drop_finished_stages(&mut statements);
        let alone = |purpose, sql: &str| Statement { purpose, of: None, sql: sql.to_owned() };
        statements.insert(0, alone(Purpose::Begin, "BEGIN"));
        statements.push(alone(Purpose::Commit, "COMMIT"));
        let transport = Transport::Session;
        Plan { before, staging, transport, statements, bytes, completes, last_change }
    }
}

/// A large segment may stage a lot: its space comes back as soon as each step is merged.
fn drop_finished_stages(statements: &mut Vec<Statement>) {
    let mut with_drops = Vec::with_capacity(statements.len());
    // The step at hand's temporary tables.
    let mut made: Vec<String> = Vec::new();
    let mut all = std::mem::take(statements).into_iter().peekable();
    while let Some(statement) = all.next() {
        match (statement.purpose, &statement.of) {
            (Purpose::CreateStage, Some(step)) => made.push(copy::stage_name(step.place)),
            (Purpose::Keep, Some(step)) => made.push(whole_row::kept_name(step.place)),
            _ => {}
        }
        let of = statement.of.clone();
        with_drops.push(statement);
        if !made.is_empty() && all.peek().is_none_or(|next| next.of != of) {
            let names: Vec<_> = made.drain(..).map(|name| sql::ident(&name)).collect();
            let sql = format!("DROP TABLE {}", names.join(", "));
            with_drops.push(Statement { purpose: Purpose::DropStage, of, sql });
        }
    }
    *statements = with_drops;
}
