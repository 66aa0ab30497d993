//! One transaction, however many invocations see to it.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use super::*;
use crate::deadline::Deadline;
use crate::fake::{FakeApi, Fault};
use re_dms_plan::Statement;

const NAME: &str = "re_dms/main/E/1";

fn plan(transport: Transport) -> Plan {
    let record = r#"INSERT INTO "re_dms"."ledger_main" VALUES ('E', 1, '0/0', '0/1', 'sha', 0)"#;
    let guard = r#"SELECT 1 / … AS "t" WHERE "g"."last" = 0 AND "t"."change" = 0"#;
    let mut sql =
        vec![(Purpose::Guard, guard), (Purpose::Insert, "UPDATE t"), (Purpose::RecordSegment, record)];
    if transport == Transport::Session {
        sql.insert(0, (Purpose::Begin, "BEGIN"));
        sql.push((Purpose::Commit, "COMMIT"));
    }
    let statement = |(purpose, sql): (Purpose, &str)| Statement { purpose, of: None, sql: sql.to_owned() };
    let statements = sql.into_iter().map(statement).collect();
    Plan {
        before: Vec::new(),
        staging: Vec::new(),
        transport,
        statements,
        bytes: 0,
        completes: BTreeSet::new(),
        last_change: 0,
    }
}

async fn run_until(
    api: &FakeApi,
    plan: &Plan,
    began: u64,
    time: Duration,
) -> Result<Result<(), Failure>, LoadError> {
    let runner = Runner::new(api, Deadline::after(time));
    let began = UNIX_EPOCH + Duration::from_secs(began);
    let ran = Transaction::new(&runner, NAME.to_owned(), plan).run(began, 0).await?;
    Ok(ran.map(drop))
}

async fn run(api: &FakeApi, plan: &Plan, began: u64) -> Result<(), Failure> {
    run_until(api, plan, began, Duration::from_secs(60)).await.unwrap()
}

#[tokio::test]
async fn a_later_invocation_waits_for_what_runs() {
    for transport in [Transport::Batch, Transport::Session] {
        let api = FakeApi::with_ledger(&[], [Fault::Slow(600)]);
        let plan = plan(transport);
        let first = run_until(&api, &plan, 0, Duration::from_millis(5_500)).await;
        assert!(matches!(first, Err(LoadError::HandOver { .. })), "{first:?}");
        assert_eq!((api.ledger().len(), api.transactions()), (usize::from(transport == Transport::Batch), 1));
        run(&api, &plan, 1).await.unwrap();
        assert_eq!((api.ledger(), api.transactions()), (vec![1], 1), "{transport:?}");
        assert_eq!(api.0.lock().unwrap().rolled_back, 0);
    }
}

#[tokio::test]
async fn a_lost_answer_runs_nothing_twice() {
    for transport in [Transport::Batch, Transport::Session] {
        let api = FakeApi::with_ledger(&[], [Fault::Throttle, Fault::LoseAnswer]);
        run(&api, &plan(transport), 0).await.unwrap();
        assert_eq!((api.ledger(), api.transactions()), (vec![1], 1), "{transport:?}");
    }
}

#[tokio::test]
async fn failures_are_told_once_and_passed_over_later() {
    for transport in [Transport::Batch, Transport::Session] {
        let api = FakeApi::with_ledger(&[], [Fault::Fail("UPDATE t", "ERROR: permission denied")]);
        let plan = plan(transport);
        let failure = run(&api, &plan, 0).await.unwrap_err();
        let purpose = failure.statement.unwrap().purpose;
        assert_eq!((purpose, failure.error.as_str()), (Purpose::Insert, "ERROR: permission denied"));
        assert_eq!((api.ledger(), api.transactions()), (vec![], 1), "not tried again in the same invocation");
        // Its statements were taken at times 1 to 5.
        run(&api, &plan, 6).await.unwrap();
        assert_eq!((api.ledger(), api.transactions()), (vec![1], 2), "{transport:?}");
    }
}

#[tokio::test]
async fn what_an_earlier_invocation_sent_is_told_apart_and_may_be_run_again() {
    for transport in [Transport::Batch, Transport::Session] {
        let api = FakeApi::default();
        let plan = plan(transport);
        let runner = Runner::new(&api, Deadline::after(Duration::from_secs(60)));
        let transaction = Transaction::new(&runner, NAME.to_owned(), &plan);
        let began = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        api.0.lock().unwrap().world.ledger = Some(Vec::new());
        assert_eq!(transaction.run(began(0), 0).await.unwrap(), Ok(Ran::Now), "{transport:?}");
        // Redshift is restored to what it was before; the API still knows the tokens.
        api.0.lock().unwrap().world.ledger = Some(Vec::new());
        assert_eq!(transaction.run(began(100), 0).await.unwrap(), Ok(Ran::Earlier(0)));
        assert_eq!((api.ledger(), api.transactions()), (vec![], 1));
        assert_eq!(transaction.run(began(0), 1).await.unwrap(), Ok(Ran::Now));
        assert_eq!((api.ledger(), api.transactions()), (vec![1], 2));
    }
}

#[tokio::test]
async fn conflicts_are_tried_again_at_once() {
    let conflict = || Fault::Fail("UPDATE t", "ERROR: 1023 Serializable isolation violation on table - 7");
    let api = FakeApi::with_ledger(&[], [conflict()]);
    run(&api, &plan(Transport::Batch), 0).await.unwrap();
    assert_eq!((api.ledger(), api.transactions()), (vec![1], 2));
    let api = FakeApi::with_ledger(&[], [conflict(), conflict(), conflict(), conflict()]);
    run(&api, &plan(Transport::Session), 0).await.unwrap_err();
    assert_eq!((api.transactions(), api.0.lock().unwrap().rolled_back), (TRIES, TRIES));
}

#[tokio::test]
async fn the_guard_holds_whatever_the_tokens_are() {
    let api = FakeApi::with_ledger(&[(1, "sha")], []);
    let failure = run(&api, &plan(Transport::Batch), 0).await.unwrap_err();
    assert_eq!((failure.statement.unwrap().purpose, api.transactions()), (Purpose::Guard, 1));
    assert_eq!(api.ledger(), [1]);
}
