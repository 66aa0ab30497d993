//! Random deliveries, deaths, lost answers, conflicts, broken tables and two loaders at once, of which one may commit whole
//! segments and the other single tables: whatever happens, after each commit every table holds exactly what it should
//! (invariants 2, 3 and 10), and in the end everything.
//!
//! `RE_DMS_MODEL_SEED` and `RE_DMS_MODEL_SEEDS` choose the first seed and how many.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use re_dms_shared::Lsn;
use re_dms_shared::manifest::{Action, Manifest, Predecessor, Step, sha256_hex};
use re_dms_shared::message::{Outcome, SegmentStaged, TableAction, TableRequest};
use tokio::sync::Notify;

use crate::apply::Loader;
use crate::config::{ApplySettings, Atomic};
use crate::deadline::Deadline;
use crate::error::LoadError;
use crate::fake::{FakeApi, FakeObjects, Fault, LogRow, World, load_step};
use crate::handler::SegmentLoader;
use crate::objects::Objects;
use crate::statements::{ApiError, Cell, Description, Statements, Submission, Submitted};

const TABLES: [&str; 3] = ["a", "b", "broken"];
const SEGMENTS: u64 = 7;

/// A stream's segments, and what each target should hold after them.
struct History {
    messages: Vec<SegmentStaged>,
    objects: Arc<FakeObjects>,
    expected: Expected,
}

/// What there is of each target.
type Expected = BTreeMap<String, Table>;

#[derive(Clone, Debug, Default)]
struct Table {
    /// The segment and the COPY manifest of each of its loads.
    loads: Vec<(u64, String)>,
    /// If it is read anew: how many of the loads come before that, and the COPY manifest of its rows.
    resync: Option<(usize, String)>,
}

impl Table {
    /// What it holds in the end.
    fn all(&self) -> Vec<String> {
        let (before, rows) = self.resync.clone().map_or((0, None), |(before, rows)| (before, Some(rows)));
        let loads = self.loads[before..].iter().map(|(_, copied)| copied.clone());
        rows.into_iter().chain(loads).map(|copied| format!("b/{copied}")).collect()
    }
}

impl History {
    fn draw(random: &mut StdRng) -> Self {
        let objects = Arc::new(FakeObjects::default());
        let (mut messages, mut expected) = (Vec::new(), Expected::new());
        let mut predecessor = None;
        let anew = TABLES[random.random_range(0..TABLES.len())];
        let begins = random.random_range(1..=SEGMENTS);
        let ends = random.random_range(begins..=SEGMENTS);
        let rows = format!("rows-{anew}.copy.json");
        for seq in 1..=SEGMENTS {
            let mut steps = Vec::new();
            // Now and then one that is too large for a batch.
            let most = if random.random_ratio(1, 4) { 30 } else { 3 };
            let loads = random.random_range(1..=most);
            let begins_behind = (seq == begins).then(|| random.random_range(0..=loads));
            let mut add = |step: Step| {
                let number = u32::try_from(steps.len()).unwrap() + 1;
                steps.push(Step { number, ..step });
            };
            for load in 0..=loads {
                let reread = expected.entry(format!("public.{anew}")).or_default();
                if begins_behind == Some(load) {
                    reread.resync = Some((reread.loads.len(), rows.clone()));
                    add(Step { action: Action::Resync, ..load_step(1, anew, rows.clone()) });
                }
                if load == loads {
                    break;
                }
                let table = TABLES[random.random_range(0..TABLES.len())];
                let copied = format!("{seq:03}-{load}-{table}.copy.json");
                expected.entry(format!("public.{table}")).or_default().loads.push((seq, copied.clone()));
                add(load_step(1, table, copied));
            }
            if seq == ends {
                let step = load_step(1, anew, rows.clone());
                let Action::Load(load) = step.action.clone() else { unreachable!() };
                add(Step { action: Action::Replace(load), ..step });
            }
            let manifest = manifest(seq, predecessor.take(), steps);
            let json = manifest.to_json().unwrap();
            let manifest_key = format!("re_dms/main/E/segments/{seq:012}/manifest.json");
            let manifest_sha256 = sha256_hex(&json);
            predecessor = Some(Predecessor { seq, sha256: manifest_sha256.clone() });
            objects.0.lock().unwrap().insert(manifest_key.clone(), json);
            messages.push(SegmentStaged {
                format: 1,
                stream: "main".into(),
                epoch: "E".into(),
                seq,
                bucket: "b".into(),
                manifest_key,
                manifest_sha256,
                ack_queue_url: "acks".into(),
            });
        }
        Self { messages, objects, expected }
    }
}

fn manifest(seq: u64, predecessor: Option<Predecessor>, steps: Vec<Step>) -> Manifest {
    Manifest {
        format: 1,
        stream: "main".into(),
        epoch: "E".into(),
        seq,
        predecessor,
        start_lsn: Lsn(seq),
        end_lsn: Lsn(seq + 1),
        first_commit_time: Timestamp::UNIX_EPOCH,
        last_commit_time: Timestamp::UNIX_EPOCH,
        transactions: 1,
        captured_by: "model".into(),
        shapes: None,
        copy: None,
        after_copy: None,
        restores: None,
        steps,
    }
}

/// What earlier commits showed.
#[derive(Default)]
struct Seen {
    /// The log's last number.
    highest: u64,
    /// Targets whose rows were replaced by those that were read anew.
    replaced: BTreeSet<String>,
}

/// What must hold after every commit: the ledger has no gap, and each target holds the beginning of its history, as
/// much of it as the ledger and the table log say.
fn check(world: &World, expected: &Expected, seen: &mut Seen) {
    let ledger: Vec<_> = world.ledger.iter().flatten().map(|(seq, _)| *seq).collect();
    let last = ledger.len() as u64;
    assert_eq!(ledger, (1..=last).collect::<Vec<_>>(), "the ledger has a gap or a segment twice");
    let log = world.log.as_deref().unwrap_or_default();
    assert!(log.windows(2).all(|rows| rows[0].change < rows[1].change), "the log's numbers do not ascend");
    let number = log.last().map_or(0, |row| row.change);
    assert!(number >= seen.highest, "the log's number {number} came before {}", seen.highest);
    seen.highest = number;
    for (target, history) in expected {
        let of_target = log.iter().filter(|row| row.target == *target);
        let of_target: Vec<_> = of_target.collect();
        // A table that is read anew has two lives.
        let begun = of_target.iter().position(|row| row.event == "resync");
        // The log forgets what is long over.
        let first = if seen.replaced.contains(target) { 0 } else { of_target.len() };
        let (before, after) = of_target.split_at(begun.unwrap_or(first));
        let missing = |rows: &[&LogRow]| {
            let events = |event: &str| {
                let rows = rows.iter().filter(|row| row.event == event);
                rows.map(|row| row.seq).collect::<Vec<_>>()
            };
            let (skipped, replayed) = (events("skipped"), events("replayed"));
            assert!(skipped.starts_with(&replayed), "{target}: replayed {replayed:?} of {skipped:?}");
            skipped[replayed.len()..].to_vec()
        };
        // Done in a transaction of its own, before the rest of its segment.
        let alone = |seq: &u64| of_target.iter().any(|row| row.event == "loaded" && row.seq == *seq);
        let is_done = |seq: &u64| *seq <= last || alone(seq);
        let loaded = |loads: &[(u64, String)], missing: &[u64]| {
            let due = loads.iter().filter(|(seq, _)| is_done(seq) && !missing.contains(seq));
            due.map(|(_, copied)| format!("b/{copied}")).collect::<Vec<_>>()
        };
        let (old, new) = (missing(before), missing(after));
        let replaced = seen.replaced.contains(target) || after.iter().any(|row| row.event == "replaced");
        if replaced {
            seen.replaced.insert(target.clone());
        }
        let due = match &history.resync {
            Some((begins, rows)) if replaced => {
                let mut due = vec![format!("b/{rows}")];
                due.extend(loaded(&history.loads[*begins..], &new));
                due
            }
            Some((begins, _)) if begun.is_some() => loaded(&history.loads[..*begins], &old),
            _ => loaded(&history.loads, &old),
        };
        let held = world.inserted.get(target).cloned().unwrap_or_default();
        assert_eq!(held, due, "{target} after segment {last}, without {old:?} and {new:?}");
    }
}

/// One function's connection to the API: it dies with one of its calls, before or after the call was done.
struct Mortal {
    api: Arc<FakeApi>,
    /// Twice the calls that are left, one more if the last one is done.
    left: AtomicI64,
    died: Arc<Notify>,
}

impl Mortal {
    async fn live(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) <= 0 {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

impl Statements for Mortal {
    async fn submit(&self, submission: &Submission, wait: Duration) -> Result<Submitted, ApiError> {
        self.live().await;
        let answer = self.api.submit(submission, wait).await;
        self.live().await;
        answer
    }

    async fn describe(&self, id: &str, wait: Duration) -> Result<Description, ApiError> {
        self.live().await;
        self.api.describe(id, wait).await
    }

    async fn rows(&self, id: &str) -> Result<Vec<Vec<Cell>>, ApiError> {
        self.live().await;
        self.api.rows(id).await
    }
}

impl Objects for Arc<FakeObjects> {
    async fn get(&self, bucket: &str, key: &str) -> Result<Vec<u8>, LoadError> {
        self.as_ref().get(bucket, key).await
    }

    async fn put_if_absent(&self, bucket: &str, key: &str, content: Vec<u8>) -> Result<(), LoadError> {
        self.as_ref().put_if_absent(bucket, key, content).await
    }
}

/// What one invocation is about.
#[derive(Clone)]
enum Work {
    Segments(Vec<SegmentStaged>),
    Resume(&'static str),
}

/// Of one invocation.
#[derive(Clone, Copy)]
struct Life {
    /// The calls that it lives for.
    calls: i64,
    atomic: Atomic,
}

impl Life {
    fn draw(random: &mut StdRng) -> Self {
        let calls = if random.random_bool(0.5) { i64::MAX } else { random.random_range(0..60) };
        Self { calls, ..Self::long(random) }
    }

    fn long(random: &mut StdRng) -> Self {
        let atomic = if random.random_bool(0.5) { Atomic::Segment } else { Atomic::Table };
        Self { calls: i64::MAX, atomic }
    }
}

struct Model {
    api: Arc<FakeApi>,
    history: History,
}

impl Model {
    fn new(history: History) -> Self {
        let api = FakeApi::default();
        let expected = history.expected.clone();
        let mut seen = Seen::default();
        api.0.lock().unwrap().on_commit = Some(Box::new(move |world| check(world, &expected, &mut seen)));
        Self { api: Arc::new(api), history }
    }

    /// Ends with the work or with the function's life; all that it knew is forgotten.
    async fn invoke(&self, work: Work, life: Life) -> Option<Result<Vec<Outcome>, LoadError>> {
        let Life { calls, atomic } = life;
        let died = Arc::new(Notify::new());
        let api = Mortal { api: Arc::clone(&self.api), left: AtomicI64::new(calls), died: Arc::clone(&died) };
        let settings = ApplySettings { max_attempts: 2, atomic, ..ApplySettings::default() };
        let loader = Loader::new(api, Arc::clone(&self.history.objects), settings);
        let deadline = Deadline::after(Duration::from_secs(600));
        let working = async {
            match &work {
                Work::Segments(messages) => {
                    let loaded = loader.load(messages, deadline).await?;
                    Ok(loaded.into_iter().map(|loaded| loaded.outcome).collect())
                }
                Work::Resume(table) => {
                    let request = TableRequest::new(TableAction::Resume, "main", "E", table, "acks");
                    let done = loader.request(&request, deadline).await?;
                    Ok(vec![Outcome::Resumed {
                        table: (*table).to_owned(),
                        more: done.more,
                        approved: false,
                    }])
                }
            }
        };
        tokio::select! {
            result = working => Some(result),
            () = died.notified() => None,
        }
    }

    fn last(&self) -> u64 {
        self.api.ledger().last().copied().unwrap_or(0)
    }

    /// Messages as the queue may deliver them: mostly what is next, sometimes what is long done, or too early.
    fn delivery(&self, random: &mut StdRng) -> Work {
        if random.random_ratio(1, 3) {
            let tables = ["public.a", "public.b", "public.broken", "public.broken"];
            return Work::Resume(tables[random.random_range(0..tables.len())]);
        }
        let next = if random.random_ratio(1, 4) {
            random.random_range(0..SEGMENTS)
        } else {
            self.last().min(SEGMENTS - 1)
        };
        let next = usize::try_from(next).unwrap();
        let end = (next + random.random_range(1..=4)).min(self.history.messages.len());
        Work::Segments(self.history.messages[next..end].to_vec())
    }

    fn disturb(&self, random: &mut StdRng) {
        let faults = [
            Fault::LoseAnswer,
            Fault::Throttle,
            Fault::Late(random.random_range(1..12)),
            Fault::Slow(random.random_range(1..4)),
            Fault::Fail("INSERT INTO", "ERROR: 1023 Serializable isolation violation on table - 7"),
            Fault::Fail("COPY", "ERROR: Load into table 're_dms_stage_0001' failed."),
            Fault::Fail("COPY", "ERROR: Disk Full"),
            Fault::LoseStages,
            Fault::FailAfterCommit("ERROR: connection lost"),
            Fault::FailAfterCommit("ERROR: permission denied"),
        ];
        let mut state = self.api.0.lock().unwrap();
        for _ in 0..random.random_range(0..=2) {
            state.faults.push_back(faults[random.random_range(0..faults.len())].clone());
        }
    }

    fn break_table(&self, broken: bool) {
        let error = "ERROR: Load into table 're_dms_stage_0001' failed.";
        let broken = broken.then(|| ("-broken.copy.json".to_owned(), error.to_owned()));
        self.api.0.lock().unwrap().broken = broken.into_iter().collect();
    }

    async fn run(&self, mut random: StdRng) {
        self.break_table(random.random_bool(0.5));
        for _ in 0..random.random_range(6..14) {
            if random.random_ratio(1, 3) {
                self.break_table(random.random_bool(0.5));
            }
            self.disturb(&mut random);
            let (one, other) = (self.delivery(&mut random), self.delivery(&mut random));
            let (first, second) = (Life::draw(&mut random), Life::draw(&mut random));
            if random.random_bool(0.5) {
                tokio::join!(self.invoke(one, first), self.invoke(other, second));
            } else {
                self.invoke(one, first).await;
            }
        }
        // The faults end, and the queue delivers for as long as it takes.
        self.break_table(false);
        self.api.0.lock().unwrap().faults.clear();
        let (mut turns, mut handed_over) = (0, 0);
        while self.last() < SEGMENTS && turns < 40 && handed_over < 2_000 {
            let next = usize::try_from(self.last()).unwrap();
            let life = Life::long(&mut random);
            match self.invoke(Work::Segments(self.history.messages[next..].to_vec()), life).await {
                // On a busy machine a question's few seconds may be over before it is asked.
                Some(Err(LoadError::HandOver { .. })) => handed_over += 1,
                _ => turns += 1,
            }
        }
        for table in ["public.a", "public.b", "public.broken"] {
            // On a busy machine a turn may end with work left: whoever asks, asks again.
            let outcome = loop {
                let result = self.invoke(Work::Resume(table), Life::long(&mut random)).await;
                match result.unwrap().unwrap().remove(0) {
                    Outcome::Resumed { more: true, .. } => {}
                    outcome => break outcome,
                }
            };
            assert!(matches!(outcome, Outcome::Resumed { more: false, .. }), "{table}: {outcome:?}");
        }
        // A new function looks for what others left.
        let last = self.history.messages.last().cloned().into_iter().collect();
        self.invoke(Work::Segments(last), Life::long(&mut random)).await.unwrap().unwrap();
        let state = self.api.0.lock().unwrap();
        assert_eq!(state.world.ledger.iter().flatten().count() as u64, SEGMENTS);
        assert_eq!(state.world.stages, BTreeMap::new(), "no staging table is left");
        for (target, history) in &self.history.expected {
            let held = state.world.inserted.get(target).cloned().unwrap_or_default();
            assert_eq!(held, history.all(), "{target} in the end");
        }
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Much of the time is pauses: many seeds run side by side.
const AT_ONCE: u64 = 500;

#[tokio::test]
async fn every_interleaving_loads_everything_once() {
    let first = setting("RE_DMS_MODEL_SEED", rand::random_range(0..1 << 32));
    let count = setting("RE_DMS_MODEL_SEEDS", 2_000);
    let seeds: Vec<_> = (first..first + count).collect();
    for chunk in seeds.chunks(usize::try_from(AT_ONCE).unwrap()) {
        let runs = chunk.iter().map(|seed| {
            let seed = *seed;
            let run = tokio::spawn(async move {
                let mut random = StdRng::seed_from_u64(seed);
                Model::new(History::draw(&mut random)).run(random).await;
            });
            async move { assert!(run.await.is_ok(), "RE_DMS_MODEL_SEED={seed} RE_DMS_MODEL_SEEDS=1") }
        });
        futures_util::future::join_all(runs).await;
    }
}
