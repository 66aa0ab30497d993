//! One segment against every state of the ledger.

use re_dms_shared::manifest::{CopiedTable, CopiedTables, Predecessor, sha256_hex};

use super::*;
use crate::fake::{FakeApi, FakeObjects, Fault, load_step};
use crate::statements::Cell;

const KEY: &str = "re_dms/main/E/segments/000000000002/manifest.json";

pub(super) fn manifest(seq: u64) -> Manifest {
    Manifest {
        format: 1,
        stream: "main".into(),
        epoch: "E".into(),
        seq,
        predecessor: (seq > 1).then(|| Predecessor { seq: seq - 1, sha256: format!("sha{}", seq - 1) }),
        start_lsn: Lsn(1),
        end_lsn: Lsn(0x22),
        first_commit_time: Timestamp::UNIX_EPOCH,
        last_commit_time: Timestamp::UNIX_EPOCH,
        transactions: 1,
        captured_by: "test".into(),
        shapes: None,
        copy: None,
        after_copy: None,
        restores: None,
        steps: vec![load_step(1, "t", "c".into())],
    }
}

fn message(manifest: &Manifest) -> (SegmentStaged, Vec<u8>) {
    let json = manifest.to_json().unwrap();
    let message = SegmentStaged {
        format: 1,
        stream: manifest.stream.clone(),
        epoch: manifest.epoch.clone(),
        seq: manifest.seq,
        bucket: "b".into(),
        manifest_key: KEY.into(),
        manifest_sha256: sha256_hex(&json),
        ack_queue_url: "acks".into(),
    };
    (message, json)
}

fn loader(api: FakeApi, json: Vec<u8>) -> Loader<FakeApi, FakeObjects> {
    let objects = FakeObjects::default();
    objects.0.lock().unwrap().insert(KEY.into(), json);
    Loader::new(api, objects, ApplySettings::default())
}

async fn load(
    api: FakeApi,
    manifest: &Manifest,
) -> (Result<Outcome, LoadError>, Loader<FakeApi, FakeObjects>) {
    let (message, json) = message(manifest);
    let loader = loader(api, json);
    let result = loader.load(&[message], Deadline::after(Duration::from_secs(60))).await;
    (result.map(|loaded| loaded[0].outcome.clone()), loader)
}

fn has_receipt(loader: &Loader<FakeApi, FakeObjects>) -> bool {
    loader.objects.0.lock().unwrap().contains_key("re_dms/main/E/segments/000000000002/loaded.json")
}

#[tokio::test]
async fn the_first_segment_makes_the_ledger() {
    let (outcome, loader) = load(FakeApi::default(), &manifest(1)).await;
    assert_eq!(outcome.unwrap(), Outcome::Loaded);
    assert_eq!(loader.api.ledger(), [1]);
    let objects = loader.objects.0.lock().unwrap();
    let receipt = objects.get("re_dms/main/E/segments/000000000002/loaded.json").unwrap();
    let receipt: Receipt = serde_json::from_slice(receipt).unwrap();
    assert_eq!((receipt.seq, receipt.end_lsn, receipt.rows), (1, Lsn(0x22), 3));
    assert!(receipt.duration_ms.is_some());
}

#[tokio::test]
async fn what_is_in_is_acknowledged_again() {
    let manifest = manifest(2);
    let sha256 = message(&manifest).0.manifest_sha256;
    let (outcome, loader) = load(FakeApi::with_ledger(&[(1, "sha1"), (2, &sha256)], []), &manifest).await;
    assert_eq!(outcome.unwrap(), Outcome::AlreadyLoaded);
    assert_eq!(loader.api.transactions(), 0);
    assert!(has_receipt(&loader));
    let (outcome, _) = load(FakeApi::with_ledger(&[(7, "sha7")], []), &manifest).await;
    assert_eq!(outcome.unwrap(), Outcome::AlreadyLoaded);
}

#[tokio::test]
async fn gaps_are_refused() {
    for (api, missing) in [(FakeApi::with_ledger(&[(1, "sha1")], []), 2), (FakeApi::default(), 1)] {
        let (outcome, loader) = load(api, &manifest(3)).await;
        assert_eq!(outcome.unwrap(), Outcome::Gap { missing });
        assert_eq!(loader.api.transactions(), 0);
        assert!(!has_receipt(&loader));
    }
}

/// What a checkpoint holds goes into an empty ledger alone, which then takes it for the segment whose end it is.
#[tokio::test]
async fn a_checkpoint_is_restored_once_and_its_segments_follow() {
    let segment = Predecessor { seq: 7, sha256: "sha7".into() };
    let restoring = Manifest { predecessor: None, restores: Some(segment), ..manifest(7) };
    let (outcome, loader) = load(FakeApi::default(), &restoring).await;
    assert_eq!(outcome.unwrap(), Outcome::Loaded);
    let ledger = loader.api.0.lock().unwrap().world.ledger.clone().unwrap();
    assert_eq!(ledger, [(7, "sha7".to_owned())], "as the segment's own");

    for (ledger, expected) in [
        ((7, "sha7"), Outcome::AlreadyLoaded),
        ((9, "sha9"), Outcome::AlreadyLoaded),
        ((6, "sha6"), Outcome::Gap { missing: 7 }),
        ((2, "sha2"), Outcome::Gap { missing: 3 }),
    ] {
        let (outcome, loader) = load(FakeApi::with_ledger(&[ledger], []), &restoring).await;
        assert_eq!(outcome.unwrap(), expected, "{ledger:?}");
        assert_eq!(loader.api.transactions(), 0);
    }
    let (outcome, _) = load(FakeApi::with_ledger(&[(7, "another")], []), &restoring).await;
    assert!(matches!(outcome, Err(LoadError::Chain { seq: 7, .. })), "{outcome:?}");
    let (outcome, _) = load(FakeApi::with_ledger(&[(7, "sha7")], []), &manifest(8)).await;
    assert_eq!(outcome.unwrap(), Outcome::Loaded);
}

#[tokio::test]
async fn a_segment_of_another_history_is_refused() {
    for ledger in [[(1, "another")], [(2, "another")]] {
        let (outcome, loader) = load(FakeApi::with_ledger(&ledger, []), &manifest(2)).await;
        assert!(matches!(outcome, Err(LoadError::Chain { seq: 2, .. })), "{outcome:?}");
        assert_eq!(loader.api.transactions(), 0);
    }
}

#[tokio::test]
async fn the_manifest_must_be_the_messages() {
    let deadline = Deadline::after(Duration::from_secs(60));
    let (mut wrong_sum, json) = message(&manifest(1));
    wrong_sum.manifest_sha256 = "0".repeat(64);
    let error =
        loader(FakeApi::default(), json.clone()).load(&[wrong_sum.clone()], deadline).await.unwrap_err();
    assert!(error.to_string().ends_with("its checksum is not the message's"), "{error}");
    let (mut other, _) = message(&manifest(1));
    other.seq = 2;
    let error = loader(FakeApi::default(), json).load(&[other.clone()], deadline).await.unwrap_err();
    assert!(error.to_string().contains("it is segment 1 of main, epoch E"), "{error}");
    let newer = br#"{"format": 9}"#.to_vec();
    other.manifest_sha256 = sha256_hex(&newer);
    let error = loader(FakeApi::default(), newer).load(&[other.clone()], deadline).await.unwrap_err();
    assert!(matches!(error, LoadError::Newer { found: 9, .. }), "{error}");
    other.stream = "main\"; DROP".into();
    let error = loader(FakeApi::default(), Vec::new()).load(&[other.clone()], deadline).await.unwrap_err();
    assert!(matches!(error, LoadError::Message { .. }), "{error}");
    let mut orphan = manifest(2);
    orphan.predecessor = None;
    let (outcome, _) = load(FakeApi::default(), &orphan).await;
    assert!(outcome.unwrap_err().to_string().contains("wrong predecessor"));
}

#[tokio::test]
async fn a_faster_loader_leaves_nothing_to_do() {
    let manifest = manifest(2);
    let sha256 = message(&manifest).0.manifest_sha256;
    let api = FakeApi::with_ledger(&[(1, "sha1")], [Fault::Overtaken(2, sha256)]);
    let (outcome, loader) = load(api, &manifest).await;
    assert_eq!(outcome.unwrap(), Outcome::AlreadyLoaded);
    assert_eq!(loader.api.ledger(), [1, 2]);
}

#[tokio::test]
async fn the_ledger_decides_when_redshift_lost_its_tongue() {
    let api = FakeApi::with_ledger(&[(1, "sha1")], [Fault::FailAfterCommit("ERROR: permission denied")]);
    let (outcome, loader) = load(api, &manifest(2)).await;
    assert_eq!(outcome.unwrap(), Outcome::Loaded);
    assert_eq!((loader.api.ledger(), loader.api.transactions()), (vec![1, 2], 1));
}

#[tokio::test]
async fn a_locked_ledger_is_no_reason_to_stand_still() {
    let api = FakeApi::with_ledger(&[(1, "sha1")], []);
    api.0.lock().unwrap().ledger_locked = true;
    let (outcome, loader) = load(api, &manifest(2)).await;
    assert_eq!(outcome.unwrap(), Outcome::Loaded);
    assert_eq!(loader.api.ledger(), [1, 2]);
}

#[tokio::test]
async fn refused_rows_are_placed_and_not_shown() {
    let failed = "ERROR: Load into table 're_dms_stage_0001' failed. Value 'hunter2'";
    let api = FakeApi::with_ledger(&[(1, "sha1")], [Fault::Fail("COPY", failed)]);
    let text = |text: &str| Cell::Text(text.into());
    api.0.lock().unwrap().load_errors =
        vec![vec![text("s3://b/f"), Cell::Number(2), text("id"), text("int8"), Cell::Number(1207)]];
    let (outcome, loader) = load(api, &manifest(2)).await;
    let error = outcome.unwrap_err();
    assert_eq!(
        error.to_string(),
        "copying from S3 for public.t: a digit was expected (error 1207) in s3://b/f, line 2, column id (int8)"
    );
    assert!(!has_receipt(&loader));
    let api = FakeApi::with_ledger(&[(1, "sha1")], [Fault::Fail("COPY", failed)]);
    let error = load(api, &manifest(2)).await.0.unwrap_err();
    assert_eq!(
        error.to_string(),
        "copying from S3 failed for public.t: ERROR: Load into table 're_dms_stage_0001' failed. Value '…'"
    );
}

#[tokio::test]
async fn lost_rows_are_counted() {
    let api = FakeApi::with_ledger(&[(1, "sha1")], [Fault::Fail("\"n\" = 3", "ERROR: division by zero")]);
    let error = load(api, &manifest(2)).await.0.unwrap_err();
    assert_eq!(error.to_string(), "public.t: the files of step 1 hold 3 rows, and Redshift took 5");
}

#[tokio::test]
async fn steps_that_a_tables_copy_holds_are_left_out_and_the_others_are_not() {
    // Staged while three tables were being copied, and before the snapshot of the second one was taken.
    let mut manifest = manifest(2);
    manifest.predecessor = None;
    manifest.after_copy = Some("copied.json".into());
    manifest.steps =
        vec![load_step(1, "t", "c1".into()), load_step(2, "u", "c2".into()), load_step(3, "v", "c3".into())];
    for (step, oid) in manifest.steps.iter_mut().zip(1..) {
        step.table.oid = oid;
    }
    let copied = |oid, snapshot| CopiedTable { oid, schema: "public".into(), name: "t".into(), snapshot };
    let tables = vec![copied(1, Lsn(0x21)), copied(2, Lsn(0x22))];
    let copied = CopiedTables { format: 1, shapes: "s".into(), tables };
    let (message, json) = message(&manifest);
    let loader = loader(FakeApi::with_ledger(&[(1, "sha1")], []), json);
    loader.objects.0.lock().unwrap().insert("copied.json".into(), serde_json::to_vec(&copied).unwrap());
    let loaded = loader.load(&[message], Deadline::after(Duration::from_secs(60))).await.unwrap();
    assert_eq!(loaded[0].outcome, Outcome::Loaded);
    let state = loader.api.0.lock().unwrap();
    let tables: Vec<_> = state.world.inserted.keys().map(String::as_str).collect();
    assert_eq!(tables, ["public.t", "public.v"]);
}

/// Within eight hours of its commit a transaction's token answers that it is done, also if Redshift was restored since.
#[tokio::test]
async fn a_segment_that_redshift_forgot_is_loaded_again() {
    let manifest = manifest(1);
    let (message, json) = message(&manifest);
    let loader = loader(FakeApi::default(), json);
    let deadline = Deadline::after(Duration::from_secs(60));
    for _ in 0..3 {
        let loaded = loader.load(std::slice::from_ref(&message), deadline).await.unwrap();
        assert_eq!((&loaded[0].outcome, loader.api.ledger()), (&Outcome::Loaded, vec![1]));
        let mut state = loader.api.0.lock().unwrap();
        state.world.ledger = Some(Vec::new());
        state.world.inserted.clear();
    }
}

#[tokio::test]
async fn no_more_manifests_are_held_than_may_go_together() {
    let objects = FakeObjects::default();
    let mut messages = Vec::new();
    for seq in 1..=10 {
        let predecessor = messages.last().map(|before: &SegmentStaged| Predecessor {
            seq: before.seq,
            sha256: before.manifest_sha256.clone(),
        });
        let steps = (1..=15).map(|number| load_step(number, "t", format!("{number}"))).collect();
        let (message, json) = message(&Manifest { predecessor, steps, ..manifest(seq) });
        let manifest_key = KEY.replace("02/", &format!("{seq:02}/"));
        objects.0.lock().unwrap().insert(manifest_key.clone(), json);
        messages.push(SegmentStaged { manifest_key, ..message });
    }
    let loader = Loader::new(FakeApi::default(), objects, ApplySettings::default());
    let held = loader.segments(&messages).await.unwrap();
    assert_eq!(held.len(), 3, "45 steps are more than a batch has statements");
}
