//! Order, partial failures and acknowledgements, with a loader that does as it is told.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::Timestamp;

use super::*;
use crate::error::LoadError;

/// Fails for the listed segments; remembers what it was asked to load.
#[derive(Default)]
struct Script {
    failures: BTreeMap<u64, fn() -> LoadError>,
    gap_at: Option<u64>,
    together: usize,
    asked: Mutex<Vec<u64>>,
}

impl SegmentLoader for Script {
    async fn load(&self, messages: &[SegmentStaged], _: Deadline) -> Result<Vec<Loaded>, LoadError> {
        let message = &messages[0];
        self.asked.lock().unwrap().push(message.seq);
        if let Some(failure) = self.failures.get(&message.seq) {
            return Err(failure());
        }
        let gap = self.gap_at == Some(message.seq);
        let outcome = if gap { Outcome::Gap { missing: 2 } } else { Outcome::Loaded };
        let together = if outcome == Outcome::Loaded { self.together.max(1) } else { 1 };
        let loaded = |message: &SegmentStaged| Loaded {
            outcome: outcome.clone(),
            end_lsn: Lsn(message.seq),
            rows: 7,
            bytes: 70,
            first_commit: Timestamp::now() - Duration::from_secs(3),
            duration: Duration::from_millis(9),
            quarantine: Quarantine::default(),
        };
        Ok(messages.iter().take(together).map(loaded).collect())
    }

    async fn check(&self, request: &CheckRequest, _: Deadline) -> Result<(), LoadError> {
        self.asked.lock().unwrap().push(request.rows);
        Err(refused())
    }

    async fn remove(&self, request: &RemoveRequest, _: Deadline) -> Result<(), LoadError> {
        assert!(request.records);
        self.asked.lock().unwrap().push(99);
        Err(LoadError::LedgerMoved { seq: 0 })
    }

    async fn verify(&self, request: &VerifyRequest, _: Deadline) -> Result<(), LoadError> {
        self.asked.lock().unwrap().push(request.seq);
        match request.id.as_str() {
            "later" => Err(LoadError::HandOver { what: "verifying".to_owned() }),
            "refused" => Err(refused()),
            _ => Ok(()),
        }
    }

    async fn request(&self, request: &TableRequest, _: Deadline) -> Result<Done, LoadError> {
        match request.table.as_str() {
            "s.refused" => Err(refused()),
            "s.later" => Err(LoadError::LedgerMoved { seq: 0 }),
            _ => Ok(Done { more: true, quarantine: Quarantine::default() }),
        }
    }
}

/// Remembers what was sent and given back.
#[derive(Default)]
struct Sent {
    acks: Mutex<Vec<SegmentAck>>,
    back: Mutex<Vec<(Vec<String>, Duration)>>,
    broken: bool,
}

impl Queues for Sent {
    async fn send(&self, queue_url: &str, body: String) -> Result<(), LoadError> {
        assert_eq!(queue_url, "acks");
        self.acks.lock().unwrap().push(serde_json::from_str(&body).unwrap());
        let reason = "away".to_owned();
        if self.broken { Err(LoadError::Queue { action: "sending", reason }) } else { Ok(()) }
    }

    async fn redeliver_after(
        &self,
        arn: &str,
        handles: Vec<String>,
        delay: Duration,
    ) -> Result<(), LoadError> {
        assert_eq!(arn, "arn");
        self.back.lock().unwrap().push((handles, delay));
        Ok(())
    }
}

fn body(seq: u64) -> String {
    serde_json::json!({
        "format": 1, "stream": "main", "epoch": "E", "seq": seq, "bucket": "b", "manifest_key": "k",
        "manifest_sha256": "s", "ack_queue_url": "acks",
    })
    .to_string()
}

fn event(bodies: &[String]) -> SqsEvent {
    let record = |(position, body): (usize, &String)| {
        let mut record = SqsMessage::default();
        record.message_id = Some(format!("id{position}"));
        record.receipt_handle = Some(format!("receipt{position}"));
        record.event_source_arn = Some("arn".into());
        record.attributes.insert("ApproximateReceiveCount".into(), "3".into());
        record.body = Some(body.clone());
        record
    };
    let mut event = SqsEvent::default();
    event.records = bodies.iter().enumerate().map(record).collect();
    event
}

async fn handle(loader: Script, queues: Sent, bodies: &[String]) -> (Vec<String>, Handler<Script, Sent>) {
    let handler = Handler::new(loader, queues);
    let response = handler.handle(event(bodies), Deadline::after(Duration::from_secs(60))).await;
    let failed = response.batch_item_failures.into_iter().map(|failure| failure.item_identifier);
    (failed.collect(), handler)
}

fn refused() -> LoadError {
    LoadError::Message { reason: "test".into() }
}

#[tokio::test]
async fn segments_are_loaded_in_order_and_acknowledged() {
    let (failed, handler) = handle(Script::default(), Sent::default(), &[body(1), body(2)]).await;
    assert!(failed.is_empty());
    let acks = handler.queues.acks.lock().unwrap();
    assert_eq!(acks.iter().map(|ack| ack.seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(acks[1].outcome, Outcome::Loaded);
    assert_eq!((acks[1].end_lsn, acks[1].rows, acks[1].duration_ms), (Lsn(2), 7, 9));
    assert!(handler.queues.back.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_first_failure_returns_itself_and_all_after_it() {
    let script =
        Script { failures: BTreeMap::from([(2, refused as fn() -> LoadError)]), ..Script::default() };
    let (failed, handler) = handle(script, Sent::default(), &[body(1), body(2), body(3), body(4)]).await;
    assert_eq!(failed, ["id1", "id2", "id3"]);
    assert_eq!(*handler.loader.asked.lock().unwrap(), [1, 2], "nothing is loaded after a failure");
    let acks = handler.queues.acks.lock().unwrap();
    assert_eq!(acks.len(), 2);
    let Outcome::Failed { error, hint } = &acks[1].outcome else { panic!("{acks:?}") };
    assert!(error.contains("test") && !hint.is_empty());
    let back = handler.queues.back.lock().unwrap();
    let handles = ["receipt1", "receipt2", "receipt3"].map(String::from).to_vec();
    assert_eq!(*back, [(handles, Duration::from_secs(20))], "5 s, doubled with each of two redeliveries");
}

#[tokio::test]
async fn a_table_that_fails_for_the_first_time_does_not_wait_for_those_before_it() {
    let failed: fn() -> LoadError = || LoadError::Counted { failures: 1, error: Box::new(refused()) };
    let script = Script { failures: BTreeMap::from([(2, failed)]), ..Script::default() };
    let (_, handler) = handle(script, Sent::default(), &[body(1), body(2)]).await;
    let back = handler.queues.back.lock().unwrap();
    assert_eq!(back[0].1, Duration::from_secs(2), "though it is the third delivery");
}

#[tokio::test]
async fn a_check_is_asked_once_whatever_becomes_of_it() {
    let check = |rows: u64| CheckRequest {
        schemas: Vec::new(),
        format: 1,
        request: "check".into(),
        stream: "main".into(),
        id: "a".into(),
        bucket: "b".into(),
        copy_manifest: "c".into(),
        rows,
        answer_key: "d".into(),
    };
    let check = serde_json::to_string(&check(77)).unwrap();
    let (failed, handler) = handle(Script::default(), Sent::default(), &[check, body(1)]).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(*handler.loader.asked.lock().unwrap(), [77, 1]);
    assert_eq!(handler.queues.acks.lock().unwrap().len(), 1, "the answer is not the capture's");
}

#[tokio::test]
async fn a_question_for_tables_keeps_its_place_and_holds_nobody_up_for_long() {
    let question = |id: &str| {
        let question = VerifyRequest {
            format: 1,
            request: "verify".into(),
            stream: "main".into(),
            epoch: "E".into(),
            seq: 66,
            id: id.into(),
            bucket: "b".into(),
            checks_key: "c".into(),
            answer_key: "d".into(),
        };
        serde_json::to_string(&question).unwrap()
    };
    let script = || Script { together: 9, ..Script::default() };
    let bodies = [body(1), body(2), question("refused"), body(3)];
    let (failed, handler) = handle(script(), Sent::default(), &bodies).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(*handler.loader.asked.lock().unwrap(), [1, 66, 3], "segments behind it are not loaded before");
    let (failed, handler) = handle(script(), Sent::default(), &[body(1), question("later"), body(2)]).await;
    assert_eq!(failed, ["id1", "id2"]);
    assert_eq!(*handler.loader.asked.lock().unwrap(), [1, 66]);
}

#[tokio::test]
async fn a_gap_is_told_and_lets_the_message_go() {
    let script = Script { gap_at: Some(5), ..Script::default() };
    let (failed, handler) = handle(script, Sent::default(), &[body(5), body(6)]).await;
    assert!(failed.is_empty());
    assert_eq!(handler.queues.acks.lock().unwrap()[0].outcome, Outcome::Gap { missing: 2 });
}

#[tokio::test]
async fn handing_over_is_no_failure_and_comes_back_at_once() {
    let over: fn() -> LoadError = || LoadError::HandOver { what: "x".into() };
    let script = Script { failures: BTreeMap::from([(1, over)]), ..Script::default() };
    let (failed, handler) = handle(script, Sent::default(), &[body(1)]).await;
    assert_eq!(failed, ["id0"]);
    assert!(handler.queues.acks.lock().unwrap().is_empty());
    assert_eq!(handler.queues.back.lock().unwrap()[0].1, Duration::ZERO);
}

#[tokio::test]
async fn an_ack_that_cannot_be_sent_fails_nothing() {
    let queues = Sent { broken: true, ..Sent::default() };
    let (failed, handler) = handle(Script::default(), queues, &[body(1), body(2)]).await;
    assert!(failed.is_empty());
    assert_eq!(*handler.loader.asked.lock().unwrap(), [1, 2]);
}

#[tokio::test]
async fn what_is_no_message_fails_unread() {
    let (failed, handler) = handle(Script::default(), Sent::default(), &["hello".into(), body(1)]).await;
    assert_eq!(failed, ["id0", "id1"]);
    assert!(handler.queues.acks.lock().unwrap().is_empty(), "there is nobody to tell");
}

#[tokio::test]
async fn a_newer_message_is_refused_and_its_sender_told() {
    let newer = body(1).replace(r#""format":1"#, r#""format":2"#);
    let (failed, handler) = handle(Script::default(), Sent::default(), &[newer]).await;
    assert_eq!(failed, ["id0"]);
    assert!(handler.loader.asked.lock().unwrap().is_empty());
    let acks = handler.queues.acks.lock().unwrap();
    let Outcome::Failed { error, hint } = &acks[0].outcome else { panic!("{acks:?}") };
    assert_eq!(error, "the message has format 2, and this loader reads up to 1");
    assert_eq!(hint, "update the loader before the capture");
}

#[tokio::test]
async fn what_went_together_is_acknowledged_one_by_one() {
    let script = Script { together: 2, ..Script::default() };
    let other = body(9).replace(r#""stream":"main""#, r#""stream":"other""#);
    let (failed, handler) = handle(script, Sent::default(), &[body(1), body(2), body(3), other]).await;
    assert!(failed.is_empty());
    assert_eq!(*handler.loader.asked.lock().unwrap(), [1, 3, 9], "streams don't go together");
    let acks = handler.queues.acks.lock().unwrap();
    assert_eq!(acks.iter().map(|ack| ack.seq).collect::<Vec<_>>(), [1, 2, 3, 9]);
}

#[tokio::test]
async fn nothing_comes_before_a_removal_that_is_not_done() {
    let remove = r#"{"format":1,"request":"remove","stream":"main","id":"r","bucket":"b","answer_key":"k","records":true}"#;
    let (failed, handler) =
        handle(Script::default(), Sent::default(), &[body(1), remove.to_owned(), body(2)]).await;
    assert_eq!(failed, ["id1", "id2"]);
    assert_eq!(*handler.loader.asked.lock().unwrap(), [1, 99]);
}

#[tokio::test]
async fn a_request_is_answered_once_unless_it_may_succeed_later() {
    let request = |table: &str| {
        serde_json::json!({
            "format": 1, "request": "resume", "stream": "main", "epoch": "E", "table": table, "ack_queue_url": "acks",
        })
        .to_string()
    };
    let bodies = [request("s.t"), request("s.refused"), body(1), request("s.later"), body(2)];
    let (failed, handler) = handle(Script::default(), Sent::default(), &bodies).await;
    assert_eq!(failed, ["id3", "id4"]);
    let acks = handler.queues.acks.lock().unwrap();
    assert_eq!(acks[0].outcome, Outcome::Resumed { table: "s.t".into(), more: true, approved: false });
    assert!(matches!(acks[1].outcome, Outcome::Failed { .. }) && acks[1].seq == 0);
    assert_eq!((acks[2].seq, &acks[2].outcome), (1, &Outcome::Loaded));
}

#[tokio::test]
async fn what_becomes_of_segments_is_measured() {
    let lines = std::sync::Arc::new(Mutex::new(Vec::new()));
    let written = std::sync::Arc::clone(&lines);
    let meter = Meter::new("re_dms", move |line| {
        written.lock().unwrap().push(serde_json::from_str::<serde_json::Value>(line).unwrap());
    });
    let chain: fn() -> LoadError = || LoadError::Chain { seq: 4, reason: "x".into() };
    let script = Script { failures: BTreeMap::from([(4, chain)]), together: 2, ..Script::default() };
    let handler = Handler::new(script, Sent::default()).measured_by(Some(meter));
    let bodies = [body(1), body(2), body(4)];
    handler.handle(event(&bodies), Deadline::after(Duration::from_secs(60))).await;
    let lines = lines.lock().unwrap();
    let [loaded, failed] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(
        (&loaded["stream"], &loaded["loader_segments"], &loaded["loader_rows"]),
        (&"main".into(), &2.0.into(), &14.0.into())
    );
    assert_eq!((&loaded["loader_bytes"], &loaded["loader_errors"]), (&140.0.into(), &0.0.into()));
    let delays = loaded["loader_delay_seconds"].as_array().unwrap();
    assert!(delays.len() == 2 && delays[0].as_f64().unwrap() >= 3.0, "{delays:?}");
    assert_eq!(loaded["loader_load_seconds"].as_array().unwrap().len(), 1, "together is once");
    assert_eq!(
        (&failed["loader_errors"], &failed["loader_invariant_violations"]),
        (&1.0.into(), &1.0.into())
    );
    assert_eq!(loaded["_aws"]["CloudWatchMetrics"][0]["Namespace"], "re_dms");
}
