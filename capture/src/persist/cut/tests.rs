use super::*;
use crate::pgoutput::encode::encode;
use crate::pgoutput::{Change, ChangeKind, OldTuple, RelationColumn, StreamAbort};

fn cutter() -> Cutter {
    let config = r#"
        stream = "t"
        data_dir = "/d"
        s3.bucket = "bucket"
        queues = { segments_url = "http://q/s.fifo", acks_url = "http://q/a" }
        [source]
        url = "postgres://u@h/d"
        exclude_columns = ["*.*.ssn"]
        hash_columns = ["*.*.email"]
        hash_key = "0123456789abcdef"
    "#;
    Cutter::new(&crate::config::Config::parse(config, vec![]).unwrap().source).unwrap()
}

fn relation(xid: Option<u32>, names: &[&'static str], replica_identity: ReplicaIdentity) -> Bytes {
    let all = replica_identity == ReplicaIdentity::Full;
    let column = |&name| RelationColumn { key: all || name == "email", name, type_oid: 25, type_modifier: 7 };
    let columns = names.iter().map(column).collect();
    encode(&Message::Relation(Relation {
        xid,
        oid: 9,
        schema: "pg_catalog",
        name: "t",
        replica_identity,
        columns,
    }))
    .into()
}

fn tuple(cells: &[Cell<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    Tuple::encode(cells.iter().copied(), &mut out);
    out
}

fn update(xid: Option<u32>, old: &[u8], new: &[u8]) -> Bytes {
    let old = Some(OldTuple::Key(Tuple::from_checked(old)));
    let kind = ChangeKind::Update { old, new: Tuple::from_checked(new) };
    encode(&Message::Change(Change { xid, relation: 9, kind })).into()
}

const NAMES: [&str; 4] = ["id", "email", "ssn", "note"];

fn text(value: &str) -> Cell<'_> {
    Cell::Text(value.as_bytes())
}

#[test]
fn rows_lose_columns_and_keep_their_form() {
    for xid in [None, Some(77)] {
        let mut cutter = cutter();
        let described = cutter.cut(xid, relation(xid, &NAMES, ReplicaIdentity::Default)).unwrap();
        let Message::Relation(described) = pgoutput::decode(&described, xid.is_some()).unwrap() else {
            panic!("another message")
        };
        let columns: Vec<_> =
            described.columns.iter().map(|c| (c.name, c.key, c.type_oid, c.type_modifier)).collect();
        assert_eq!(columns, [("id", false, 25, 7), ("email", true, HASHED, -1), ("note", false, 25, 7)]);
        assert_eq!((described.schema, described.name, described.xid), ("pg_catalog", "t", xid));

        let old = tuple(&[Cell::Null, text("a@b"), Cell::Null, Cell::Null]);
        let new = tuple(&[text("1"), text("a@b"), text("123-45"), Cell::Unchanged]);
        let stored = cutter.cut(xid, update(xid, &old, &new)).unwrap();
        assert!(!stored.windows(6).any(|part| part == b"123-45"), "it is stored");
        assert!(!stored.windows(3).any(|part| part == b"a@b"), "it is stored in the clear");
        // Under the configured key, as OpenSSL has it.
        let hash = b"1a96317a95e681022442aa2a173cf256fdea8657c01f4a5361acc8d55714a11a";
        assert_eq!(
            stored.windows(hash.len()).filter(|part| part == hash).count(),
            2,
            "old and new are alike"
        );
        let Message::Change(change) = pgoutput::decode(&stored, xid.is_some()).unwrap() else {
            panic!("another message")
        };
        let ChangeKind::Update { old: Some(OldTuple::Key(old)), new } = change.kind else {
            panic!("another kind")
        };
        let hash = cutter.hmac.hex(b"a@b");
        assert_eq!(old.cells().collect::<Vec<_>>(), [Cell::Null, Cell::Text(hash.as_bytes()), Cell::Null]);
        assert_eq!(
            new.cells().collect::<Vec<_>>(),
            [text("1"), Cell::Text(hash.as_bytes()), Cell::Unchanged]
        );

        let nothing = tuple(&[text("1"), Cell::Null, Cell::Null, Cell::Null]);
        let insert =
            Change { xid, relation: 9, kind: ChangeKind::Insert { new: Tuple::from_checked(&nothing) } };
        let stored = cutter.cut(xid, encode(&Message::Change(insert)).into()).unwrap();
        assert!(stored.ends_with(&tuple(&[text("1"), Cell::Null, Cell::Null])), "NULL stays NULL");
    }
}

#[test]
fn a_transaction_in_progress_has_shapes_of_its_own() {
    let mut cutter = cutter();
    cutter.cut(None, relation(None, &["id", "note"], ReplicaIdentity::Default)).unwrap();
    cutter.cut(Some(77), relation(Some(77), &["id", "ssn"], ReplicaIdentity::Default)).unwrap();
    let row = tuple(&[text("1"), text("2")]);
    let cells = |payload: &Bytes, block| match pgoutput::decode(payload, block).unwrap() {
        Message::Change(Change { kind: ChangeKind::Update { new, .. }, .. }) => new.columns(),
        _ => panic!("another message"),
    };
    let within = cutter.cut(Some(77), update(Some(78), &row, &row)).unwrap();
    assert_eq!(cells(&within, true), 1, "a subtransaction's change");
    let outside = cutter.cut(None, update(None, &row, &row)).unwrap();
    assert_eq!(cells(&outside, false), 2);
    let abort =
        |subxid| Bytes::from(encode(&Message::StreamAbort(StreamAbort { xid: 77, subxid, aborted: None })));
    cutter.cut(None, abort(78)).unwrap();
    let within = cutter.cut(Some(77), update(Some(77), &row, &row)).unwrap();
    assert_eq!(cells(&within, true), 1, "only the subtransaction is gone");
    cutter.cut(None, abort(77)).unwrap();
    assert_eq!(cells(&cutter.cut(None, update(None, &row, &row)).unwrap(), false), 2);

    cutter.cut(Some(79), relation(Some(79), &["id", "ssn"], ReplicaIdentity::Default)).unwrap();
    let commit = pgoutput::Commit {
        commit_lsn: re_dms_shared::Lsn(1),
        end_lsn: re_dms_shared::Lsn(2),
        commit_time: jiff::Timestamp::UNIX_EPOCH,
    };
    let commit = encode(&Message::StreamCommit(pgoutput::StreamCommit { xid: 79, commit }));
    cutter.cut(None, commit.into()).unwrap();
    assert_eq!(cells(&cutter.cut(None, update(None, &row, &row)).unwrap(), false), 1);
}

#[test]
fn a_key_can_be_hashed_and_not_left_out() {
    let mut cutter = cutter();
    let column = |name, key| RelationColumn { key, name, type_oid: 25, type_modifier: -1 };
    let keyed = Relation {
        xid: None,
        oid: 9,
        schema: "public",
        name: "t",
        replica_identity: ReplicaIdentity::Index,
        columns: vec![column("ssn", true), column("a", false)],
    };
    let error = cutter.cut(None, encode(&Message::Relation(keyed)).into()).unwrap_err();
    assert!(error.what.contains("public.t") && error.what.contains("ssn"), "{error}");
    cutter.cut(None, relation(None, &NAMES, ReplicaIdentity::Full)).unwrap();
}

#[test]
fn what_is_not_described_or_not_readable_is_not_stored() {
    let mut cutter = cutter();
    let row = tuple(&[text("1")]);
    assert!(cutter.cut(None, update(None, &row, &row)).is_err());
    cutter.cut(None, relation(None, &NAMES, ReplicaIdentity::Default)).unwrap();
    assert!(cutter.cut(None, update(None, &row, &row)).is_err(), "another number of columns");
    cutter.forget();
    assert!(cutter.cut(None, update(None, &row, &row)).is_err());
}
