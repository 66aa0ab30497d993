//! Random histories through the whole pipeline: whatever happens on the source, and whatever goes wrong meanwhile, both
//! sides come out equal, and nobody sees half a transaction on the way.
//!
//! `docs/sandbox.md` tells the variables `RE_DMS_HISTORY_…`. On failure `target/histories/SEED` holds all SQL with the
//! sessions that ran it, and the logs.

mod disturb;
mod reader;
mod record;
mod settings;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use re_dms_tests::history::{Generator, Parameters, Round, Statement, Step, schema};
use re_dms_tests::{Aws, Sandbox};
use tokio::time::sleep;
use tokio_postgres::Client;

use disturb::Disturber;
use reader::Reader;
use record::Record;
use settings::Settings;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_are_equal_on_both_sides() -> Result<()> {
    let settings = Settings::from_env()?;
    let deadline = Instant::now() + settings.time;
    let mut rounds = 0;
    for seed in settings.seed.. {
        rounds += one_sandbox(seed, &settings, deadline).await?;
        if Instant::now() > deadline {
            break;
        }
    }
    ensure!(rounds > 0, "no round came to its end in {} s", settings.time.as_secs());
    Ok(())
}

/// A history of its own; returns its rounds.
async fn one_sandbox(seed: u64, settings: &Settings, deadline: Instant) -> Result<u32> {
    let parameters = Parameters::draw(seed);
    println!("history seed: {seed} (RE_DMS_HISTORY_SEED={seed} repeats it)\n{}", parameters.to_toml());
    let mut record = Record::begin(seed)?;
    let sandbox = Sandbox::up_with(&parameters.to_toml())?;
    let mut history = History::begin(sandbox, seed, &parameters, settings).await?;
    let mut rounds = 0;
    while rounds < settings.rounds && (rounds == 0 || Instant::now() < deadline) {
        let round = history.generator.round();
        let outcome = history.run(&round, settings, &mut record).await;
        rounds = round.number;
        if let Err(error) = outcome {
            let folder = record.keep(history.sandbox())?;
            return Err(error.context(format!(
                "history seed {seed}, round {rounds}; its SQL and logs are in {}",
                folder.display()
            )));
        }
    }
    history.end().await.with_context(|| format!("history seed {seed}, after round {rounds}"))?;
    record.forget()?;
    Ok(rounds)
}

/// A history under way.
struct History {
    generator: Generator,
    disturber: Disturber,
    sessions: Vec<Client>,
    reader: Reader,
}

impl History {
    async fn begin(
        sandbox: Sandbox,
        seed: u64,
        parameters: &Parameters,
        settings: &Settings,
    ) -> Result<Self> {
        let generator = Generator::new(seed, parameters.disk_may_be_lost());
        sandbox.source().await?.batch_execute(&schema()).await?;
        let reader = Reader::start(sandbox.warehouse().await?);
        let sessions = connect(&sandbox, generator.sessions()).await?;
        let disturber = Disturber::new(sandbox, settings.calm).await?;
        Ok(Self { generator, disturber, sessions, reader })
    }

    fn sandbox(&self) -> &Sandbox {
        &self.disturber.sandbox
    }

    async fn run(&mut self, round: &Round, settings: &Settings, record: &mut Record) -> Result<()> {
        let started = Instant::now();
        record.round(round.number)?;
        for step in &round.steps {
            match step {
                Step::Run { session, statement } => {
                    self.statement(*session, statement, settings, record).await?;
                }
                Step::Pause(millis) => sleep(Duration::from_millis(*millis)).await,
                Step::Disturb(disturbance) => {
                    record.disturbance(disturbance)?;
                    if self.disturber.disturb(disturbance).await? {
                        self.sessions = connect(self.sandbox(), self.generator.sessions()).await?;
                    }
                }
            }
        }
        self.disturber.calm_down()?;
        let ran = started.elapsed();
        self.sandbox().wait_and_compare()?;
        self.reader.check().await?;
        println!(
            "round {}: {} steps in {ran:.1?}, loaded after {:.1?}",
            round.number,
            round.steps.len(),
            started.elapsed()
        );
        Ok(())
    }

    async fn statement(
        &mut self,
        session: usize,
        statement: &Statement,
        settings: &Settings,
        record: &mut Record,
    ) -> Result<()> {
        let Some(sql) = statement.sql(self.generator.tables(), |table| settings.keeps(table)) else {
            return Ok(());
        };
        record.statement(session, &sql)?;
        let outcome = self.sessions[session].batch_execute(&sql).await;
        match (outcome, statement.fails) {
            (Ok(()), false) | (Err(_), true) => Ok(()),
            (Ok(()), true) => anyhow::bail!("PostgreSQL accepts what the history takes for wrong: {sql}"),
            (Err(error), false) => Err(error)
                .with_context(|| format!("PostgreSQL refuses what the history takes for right: {sql}")),
        }
    }

    async fn end(mut self) -> Result<()> {
        let aws = Aws::of(self.sandbox()).await?;
        let looks = self.reader.end().await?;
        let streamed = "SELECT coalesce(sum(stream_txns), 0)::bigint FROM pg_stat_replication_slots";
        let streamed: i64 = self.sandbox().source().await?.query_one(streamed, &[]).await?.get(0);
        println!(
            "{}; {streamed} transactions streamed in progress; {looks} looks into the warehouse",
            record::summary(&aws).await?
        );
        Ok(())
    }
}

async fn connect(sandbox: &Sandbox, count: usize) -> Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        let client = sandbox.source().await?;
        // A history never waits for itself.
        client.batch_execute("SET lock_timeout = '30s'; SET statement_timeout = '120s'").await?;
        clients.push(client);
    }
    Ok(clients)
}
