//! Rounds of a history: sessions that take turns, and what goes wrong meanwhile.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::disturbance::{self, Disturbance};
use super::model::{Model, SessionId, TableId};
use super::session::Session;
use super::statement::Statement;
use super::tables::{Table, tables};
use super::writes::Writer;

/// The most sessions at one time.
const SESSIONS: usize = 4;

/// A stretch of a history. At its end both sides are compared; transactions may stay open over it.
#[derive(Debug)]
pub struct Round {
    /// From 1.
    pub number: u32,
    /// In order.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Debug)]
pub enum Step {
    /// A session runs a statement.
    Run {
        /// The session's number.
        session: usize,
        /// What it runs.
        statement: Statement,
    },
    /// Nothing happens for so many milliseconds.
    Pause(u64),
    /// Something goes wrong.
    Disturb(Disturbance),
}

/// Draws a history from a seed, round by round.
#[derive(Debug)]
pub struct Generator {
    random: StdRng,
    tables: Vec<Table>,
    model: Model,
    sessions: Vec<Session>,
    disk_may_be_lost: bool,
    rounds: u32,
    next_mark: u64,
    /// By table, how many added columns have been followed by a row.
    announced_columns: Vec<u32>,
    /// The tables that the round is about: few, so that changes meet in a batch, or all.
    focus: Vec<TableId>,
}

/// Of the round being drawn.
#[derive(Default)]
struct Running {
    steps: Vec<Step>,
    /// The capture does not run, and is to be started after so many steps.
    capture_starts_in: Option<u32>,
    deliveries_held_for: Option<u32>,
}

impl Generator {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(seed: u64, disk_may_be_lost: bool) -> Self {
        let tables = tables();
        Self {
            random: StdRng::seed_from_u64(seed),
            model: Model::new(tables.len(), SESSIONS),
            sessions: (0..SESSIONS).map(|_| Session::default()).collect(),
            disk_may_be_lost,
            rounds: 0,
            next_mark: 0,
            announced_columns: vec![0; tables.len()],
            focus: Vec::new(),
            tables,
        }
    }

    /// The tables that it writes to.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// How many sessions there are.
    #[must_use]
    pub fn sessions(&self) -> usize {
        SESSIONS
    }

    /// The next round.
    pub fn round(&mut self) -> Round {
        self.rounds += 1;
        let mut running = Running::default();
        let sessions = self.random.random_range(1..=SESSIONS);
        let length = self.random.random_range(40..700);
        self.focus = (0..self.tables.len()).collect();
        self.focus.shuffle(&mut self.random);
        self.focus.truncate([1, 3, 6, 16][self.random.random_range(0..4)]);
        let troubles = [0, 1, 1, 2, 3][self.random.random_range(0..5)];
        let mut trouble_at: Vec<u32> = (0..troubles).map(|_| self.random.random_range(0..length)).collect();
        trouble_at.sort_unstable();
        let pauses = if self.random.random_bool(0.5) { 0.01 } else { 0.0 };
        for at in 0..length {
            if self.random.random_bool(pauses) {
                running.steps.push(Step::Pause(self.random.random_range(10..300)));
            }
            while trouble_at.first() == Some(&at) {
                trouble_at.remove(0);
                self.disturb(&mut running);
            }
            running.count_down();
            let session = self.random.random_range(0..sessions);
            self.step(session, &mut running);
        }
        running.repair();
        for session in 0..SESSIONS {
            let may_stay = !self.model.keeps_readers_out(session) && self.sessions[session].is_busy();
            if !(may_stay && self.random.random_bool(0.3)) {
                self.finish(session, &mut running);
            }
        }
        self.announce_columns(&mut running);
        Round { number: self.rounds, steps: running.steps }
    }

    fn step(&mut self, session: SessionId, running: &mut Running) {
        let mut writer = Writer {
            random: &mut self.random,
            model: &mut self.model,
            tables: &self.tables,
            focus: &self.focus,
            session,
        };
        let statement = self.sessions[session].step(&mut writer, &mut self.next_mark);
        running.steps.push(Step::Run { session, statement });
    }

    fn finish(&mut self, session: SessionId, running: &mut Running) {
        loop {
            let mut writer = Writer {
                random: &mut self.random,
                model: &mut self.model,
                tables: &self.tables,
                focus: &self.focus,
                session,
            };
            let Some(statement) = self.sessions[session].step_to_end(&mut writer) else { return };
            running.steps.push(Step::Run { session, statement });
        }
    }

    /// The stream hears of a new column with the next row: until then the other side can't have it.
    fn announce_columns(&mut self, running: &mut Running) {
        let Some(session) = (0..SESSIONS).find(|&session| !self.sessions[session].is_busy()) else {
            return;
        };
        for table in 0..self.tables.len() {
            let added = self.model.added_columns(table);
            if added == self.announced_columns[table] || !self.model.may_use(session, table) {
                continue;
            }
            for statement in self.one_row(session, table) {
                running.steps.push(Step::Run { session, statement });
                self.announced_columns[table] = added;
            }
        }
    }

    fn one_row(&mut self, session: SessionId, table: TableId) -> Vec<Statement> {
        self.model.begin(session);
        let mut writer = Writer {
            random: &mut self.random,
            model: &mut self.model,
            tables: &self.tables,
            focus: &self.focus,
            session,
        };
        let mut statements = writer.insert(table);
        if statements.is_empty() {
            // All its keys have rows.
            statements = writer.update(table);
        }
        self.model.commit(session);
        statements
    }

    fn disturb(&mut self, running: &mut Running) {
        let disturbance = disturbance::draw(&mut self.random, self.disk_may_be_lost);
        match disturbance {
            Disturbance::KillCapture { .. } | Disturbance::EndCapture => {
                running.capture_starts_in = Some(self.random.random_range(0..30));
            }
            Disturbance::HoldDeliveries => {
                running.deliveries_held_for = Some(self.random.random_range(10..120));
            }
            Disturbance::RestartSource { .. } => {
                for session in 0..SESSIONS {
                    if self.model.is_open(session) {
                        self.model.roll_back(session);
                    }
                    self.sessions[session].reset();
                }
            }
            _ => {}
        }
        running.steps.push(Step::Disturb(disturbance));
    }
}

impl Running {
    fn count_down(&mut self) {
        let capture = count_down(&mut self.capture_starts_in);
        self.steps.extend(capture.then_some(Step::Disturb(Disturbance::StartCapture)));
        let deliveries = count_down(&mut self.deliveries_held_for);
        self.steps.extend(deliveries.then_some(Step::Disturb(Disturbance::Deliver)));
    }

    /// What must run at the round's end runs.
    fn repair(&mut self) {
        let capture = self.capture_starts_in.take().is_some();
        self.steps.extend(capture.then_some(Step::Disturb(Disturbance::StartCapture)));
        let deliveries = self.deliveries_held_for.take().is_some();
        self.steps.extend(deliveries.then_some(Step::Disturb(Disturbance::Deliver)));
    }
}

/// True when it has come to its end.
fn count_down(left: &mut Option<u32>) -> bool {
    match left {
        Some(0) => {
            *left = None;
            true
        }
        Some(steps) => {
            *steps -= 1;
            false
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(seed: u64) -> Vec<Round> {
        let mut generator = Generator::new(seed, true);
        (0..30).map(|_| generator.round()).collect()
    }

    fn sql(step: &Step, tables: &[Table]) -> Option<(usize, String)> {
        match step {
            Step::Run { session, statement } => Some((*session, statement.sql(tables, |_| true)?)),
            Step::Pause(_) | Step::Disturb(_) => None,
        }
    }

    #[test]
    fn a_seed_is_a_history() {
        let text = |seed| format!("{:?}", history(seed));
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
    }

    #[test]
    fn every_kind_of_statement_and_disturbance_comes_up() {
        let (tables, mut text) = (tables(), String::new());
        for step in (1..=5).flat_map(history).flat_map(|round| round.steps) {
            match (sql(&step, &tables), &step) {
                (Some((_, sql)), Step::Run { statement, .. }) => {
                    text.push_str(if statement.fails { "\nFAILS " } else { "\n" });
                    text.push_str(&sql);
                }
                (_, Step::Disturb(disturbance)) => text.push_str(&format!("\n{disturbance:?}")),
                _ => {}
            }
        }
        let kinds = [
            "\nTRUNCATE",
            "\nALTER TABLE",
            "\nSAVEPOINT",
            "\nROLLBACK TO",
            "\nRELEASE",
            "\nROLLBACK\n",
            "\nFAILS ",
            "ON CONFLICT",
            "DO NOTHING",
            "generate_series(1",
            "trim_scale",
            "emit_message(true",
            "emit_message(false",
            "re_dms.barrier",
            "\nKillCapture { lose_disk: true }",
            "\nKillCapture { lose_disk: false }",
            "\nEndCapture",
            "\nCutConnection",
            "\nRestartSource { immediate: true }",
            "\nRestartSource { immediate: false }",
            "\nKillLoader",
            "\nHoldDeliveries",
            "\nFreezeAws",
            "\nWarehouseFaults",
        ];
        for kind in kinds {
            assert!(text.contains(kind), "{kind:?} never comes up");
        }
        for table in &tables {
            assert!(text.contains(&format!("INSERT INTO {} ", table.name)), "nothing for {}", table.name);
            let changes = text.contains(&format!("UPDATE {} SET", table.name))
                && text.contains(&format!("DELETE FROM {} WHERE", table.name));
            assert_eq!(changes, table.takes_changes(), "{}", table.name);
        }
    }

    #[test]
    fn transactions_of_a_session_do_not_nest_and_what_is_stopped_goes_on() {
        let tables = tables();
        for round in (1..=5).flat_map(history) {
            let (mut open, mut capture, mut delivered) = ([None; SESSIONS], true, true);
            for step in &round.steps {
                match step {
                    Step::Disturb(Disturbance::KillCapture { .. } | Disturbance::EndCapture) => {
                        capture = false;
                    }
                    Step::Disturb(Disturbance::StartCapture) => capture = true,
                    Step::Disturb(Disturbance::HoldDeliveries) => delivered = false,
                    Step::Disturb(Disturbance::Deliver) => delivered = true,
                    Step::Disturb(Disturbance::RestartSource { .. }) => open = [Some(false); SESSIONS],
                    _ => {}
                }
                let Some((session, sql)) = sql(step, &tables) else { continue };
                let opens = sql == "BEGIN";
                if opens || sql == "COMMIT" || sql == "ROLLBACK" {
                    // Whether one is open over a round's begin is not known here.
                    assert_ne!(open[session], Some(opens), "{sql} in session {session}");
                    open[session] = Some(opens);
                }
            }
            assert!(capture && delivered, "round {}", round.number);
        }
    }
}
