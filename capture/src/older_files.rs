//! What older versions left on S3 and on the disk is read: the files in `tests/formats` are as they wrote them, and stay as they
//! are when a format changes.

use std::path::{Path, PathBuf};

use re_dms_shared::lsn::Loaded;
use re_dms_shared::manifest::Manifest;
use re_dms_shared::message::{Outcome, SegmentAck, SegmentStaged};
use re_dms_shared::status::{CaptureState, CaptureStatus};

use crate::copy::CopyTable;
use crate::relations::KnownTables;
use crate::start::{PositionRecord, StreamRecord, StreamState};
use crate::wal::{LocalWal, RecordKind};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/formats")
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

#[test]
fn manifests_of_every_format_are_read_and_say_what_they_said() {
    for format in 1..=5 {
        let json = read(&format!("manifest-{format}.json"));
        let manifest = Manifest::from_json(&json).unwrap();
        assert_eq!(manifest.format, format);
        // What is written back holds all of it: nothing was passed over.
        let (before, after): (serde_json::Value, serde_json::Value) = (
            serde_json::from_slice(&json).unwrap(),
            serde_json::from_slice(&manifest.to_json().unwrap()).unwrap(),
        );
        assert_kept(&before, &after, &format!("manifest-{format}.json"));
    }
}

/// All that is in `before` is in `after`; what is there may say more.
fn assert_kept(before: &serde_json::Value, after: &serde_json::Value, place: &str) {
    match before {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                assert_kept(value, &after[name], &format!("{place}.{name}"));
            }
        }
        serde_json::Value::Array(items) => {
            assert_eq!(items.len(), after.as_array().unwrap().len(), "{place}");
            for (number, item) in items.iter().enumerate() {
                assert_kept(item, &after[number], &format!("{place}[{number}]"));
            }
        }
        value => assert_eq!(value, after, "{place}"),
    }
}

#[test]
fn a_streams_records_are_read() {
    let record: StreamRecord = serde_json::from_slice(&read("stream.json")).unwrap();
    let StreamState::Active { epoch, timeline } = record.state else { panic!("it is active") };
    assert_eq!((epoch.slot.as_str(), timeline, record.own_publication), ("re_dms_main", None, false));
    let position: PositionRecord = serde_json::from_slice(&read("position.json")).unwrap();
    assert!(position.lsn > epoch.consistent_point);
    for name in ["copy.json", "copied.json"] {
        let json: serde_json::Value = serde_json::from_slice(&read(name)).unwrap();
        let tables: Vec<CopyTable> = serde_json::from_value(json["tables"].clone()).unwrap();
        assert!(
            tables.iter().any(|table| (table.schema.as_str(), table.name.as_str()) == ("shop", "Orders"))
        );
    }
    let shapes = KnownTables::from_json("shapes.json", &read("shapes.json")).unwrap();
    assert!(shapes.targets().any(|target| target == ("shop", "orders")), "{shapes:?}");
    let status: CaptureStatus = serde_json::from_slice(&read("status.json")).unwrap();
    assert_eq!(status.state, CaptureState::Stopped);
    assert!(status.loaded > Loaded::default() && status.segments_loaded > 0);
}

#[test]
fn messages_that_wait_in_a_queue_are_read() {
    let staged: SegmentStaged = serde_json::from_slice(&read("staged.json")).unwrap();
    assert_eq!((staged.stream.as_str(), staged.seq), ("main", 1));
    let ack: SegmentAck = serde_json::from_slice(&read("ack.json")).unwrap();
    assert_eq!((ack.seq, ack.outcome), (1, Outcome::Loaded));
}

#[test]
fn the_local_wal_is_read() {
    let copy = tempfile::tempdir().unwrap();
    let name = "0000000000000001.wal";
    std::fs::write(copy.path().join(name), read(name)).unwrap();
    let epoch = crate::wal::stored_epoch(copy.path()).unwrap().unwrap();
    let (wal, recovery) = LocalWal::open(copy.path(), &epoch).unwrap();
    assert!(recovery.last_commit.is_some());
    let records: Vec<_> = wal.records().unwrap().map(Result::unwrap).collect();
    assert!(records.iter().any(|record| record.kind == RecordKind::SessionStart));
    let tags: String =
        records.iter().filter_map(|record| record.payload.first()).map(|tag| char::from(*tag)).collect();
    assert!(tags.contains("BRI") && tags.contains('C'), "a transaction with a row: {tags}");
}
