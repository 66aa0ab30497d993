//! Every message there is, encoded and decoded back; every way to cut one short; every byte sequence survives.

use proptest::prelude::*;

use super::*;
use crate::pgoutput::Cell;
use crate::pgoutput::encode::encode;

/// The values that a message is filled with.
#[derive(Clone, Debug)]
struct Model {
    kind: usize,
    xid: Option<u32>,
    numbers: (u32, u32),
    lsns: (u64, u64),
    seconds: (i64, i64),
    texts: (String, String),
    flags: (bool, bool),
    rows: (Vec<u8>, Vec<u8>),
    oids: Vec<u32>,
    columns: Vec<(bool, String, u32, i32)>,
    content: Vec<u8>,
}

const KINDS: usize = 20;

fn row() -> impl Strategy<Value = Vec<u8>> {
    let cell = prop::option::of(prop::option::of(prop::collection::vec(any::<u8>(), 0..9)));
    prop::collection::vec(cell, 0..6).prop_map(|cells| {
        let cells: Vec<Cell<'_>> = cells
            .iter()
            .map(|cell| match cell {
                None => Cell::Null,
                Some(None) => Cell::Unchanged,
                Some(Some(bytes)) => Cell::Text(bytes),
            })
            .collect();
        let mut out = Vec::new();
        Tuple::encode(cells.into_iter(), &mut out);
        out
    })
}

fn model() -> impl Strategy<Value = Model> {
    let text = || "[^\0]{0,12}";
    let seconds = || 0i64..10_000_000_000;
    let column = (any::<bool>(), text(), any::<u32>(), any::<i32>());
    (
        (0..KINDS, any::<Option<u32>>(), any::<(u32, u32)>(), any::<(u64, u64)>(), (seconds(), seconds())),
        ((text(), text()), any::<(bool, bool)>(), (row(), row())),
        (any::<Vec<u32>>(), prop::collection::vec(column, 0..6), any::<Vec<u8>>()),
    )
        .prop_map(
            |((kind, xid, numbers, lsns, seconds), (texts, flags, rows), (oids, columns, content))| Model {
                kind,
                xid,
                numbers,
                lsns,
                seconds,
                texts,
                flags,
                rows,
                oids,
                columns,
                content,
            },
        )
}

impl Model {
    /// The message, and whether it comes in a streamed block.
    fn message(&self) -> (Message<'_>, bool) {
        let xid = self.xid;
        let (first, second) = self.numbers;
        let (lsn, later) = (Lsn(self.lsns.0), Lsn(self.lsns.1));
        let time = Timestamp::from_second(self.seconds.0).unwrap();
        let later_time = Timestamp::from_second(self.seconds.1).unwrap();
        let (text, name) = (self.texts.0.as_str(), self.texts.1.as_str());
        // An empty schema is how pgoutput spells pg_catalog, so it never comes out.
        let schema = if text.is_empty() { "pg_catalog" } else { text };
        let (old, new) = (Tuple::from_checked(&self.rows.0), Tuple::from_checked(&self.rows.1));
        let commit = Commit { commit_lsn: lsn, end_lsn: later, commit_time: time };
        let prepare = Prepare { prepare_lsn: lsn, end_lsn: later, prepare_time: time, xid: first, gid: text };
        let change = |kind| Message::Change(Change { xid, relation: first, kind });
        let message = match self.kind {
            0 => Message::Begin(Begin { final_lsn: lsn, commit_time: time, xid: first }),
            1 => Message::Commit(commit),
            2 => Message::Origin(Origin { commit_lsn: lsn, name }),
            3 => Message::Relation(Relation {
                xid,
                oid: first,
                schema,
                name,
                replica_identity: [
                    ReplicaIdentity::Default,
                    ReplicaIdentity::Nothing,
                    ReplicaIdentity::Full,
                    ReplicaIdentity::Index,
                ][second as usize % 4],
                columns: self
                    .columns
                    .iter()
                    .map(|&(key, ref name, type_oid, type_modifier)| RelationColumn {
                        key,
                        name,
                        type_oid,
                        type_modifier,
                    })
                    .collect(),
            }),
            4 => Message::Type(Type { xid, oid: first, schema, name }),
            5 => change(ChangeKind::Insert { new }),
            6 => change(ChangeKind::Update { old: None, new }),
            7 => change(ChangeKind::Update { old: Some(OldTuple::Key(old)), new }),
            8 => change(ChangeKind::Update { old: Some(OldTuple::Full(old)), new }),
            9 => change(ChangeKind::Delete { old: OldTuple::Key(old) }),
            10 => change(ChangeKind::Delete { old: OldTuple::Full(old) }),
            11 => Message::Truncate(Truncate {
                xid,
                cascade: self.flags.0,
                restart_identity: self.flags.1,
                relations: self.oids.clone(),
            }),
            12 => Message::Logical(LogicalMessage {
                xid,
                transactional: self.flags.0,
                lsn,
                prefix: text,
                content: &self.content,
            }),
            13 => Message::StreamStart(StreamStart { xid: first, first_block: self.flags.0 }),
            14 => Message::StreamStop,
            15 => Message::StreamCommit(StreamCommit { xid: first, commit }),
            16 => Message::StreamAbort(StreamAbort {
                xid: first,
                subxid: second,
                aborted: self.flags.0.then_some((lsn, time)),
            }),
            17 => Message::BeginPrepare(BeginPrepare {
                prepare_lsn: lsn,
                end_lsn: later,
                prepare_time: time,
                xid: first,
                gid: text,
            }),
            18 => [Message::Prepare(prepare), Message::StreamPrepare(StreamPrepare { prepare })]
                [usize::from(self.flags.0)]
            .clone(),
            _ => [
                Message::CommitPrepared(CommitPrepared { commit, xid: first, gid: text }),
                Message::RollbackPrepared(RollbackPrepared {
                    prepare_end_lsn: lsn,
                    rollback_end_lsn: later,
                    prepare_time: time,
                    rollback_time: later_time,
                    xid: first,
                    gid: text,
                }),
            ][usize::from(self.flags.0)]
            .clone(),
        };
        (message, xid.is_some())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_encoded_is_decoded_back(model in model()) {
        let (message, in_stream) = model.message();
        let bytes = encode(&message);
        prop_assert_eq!(decode(&bytes, in_stream).unwrap(), message);
    }

    #[test]
    fn a_message_cut_short_or_prolonged_is_refused(model in model()) {
        let (message, in_stream) = model.message();
        let mut bytes = encode(&message);
        for length in 0..bytes.len() {
            // An abort's position and time are optional: without them it is whole.
            let whole_abort = bytes[0] == b'A' && length == 9;
            prop_assert_eq!(decode(&bytes[..length], in_stream).is_ok(), whole_abort, "cut at {}", length);
        }
        bytes.push(0);
        prop_assert!(decode(&bytes, in_stream).is_err());
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>, in_stream: bool) {
        if let Ok(message) = decode(&bytes, in_stream) {
            prop_assert!(decode(&encode(&message), in_stream).is_ok());
        }
    }
}

/// As PostgreSQL 15 sent it: what the mirror image above could get wrong on both sides alike.
#[test]
fn a_servers_own_bytes_are_understood() {
    let sent = [
        "42000000000152afe8000303ea95e8eaee000002d8",
        "52000040007075626c69630074006400020169640000000017ffffffff00760000000019ffffffff",
        "55000040004b00027400000001376e4e000274000000013875",
        "54000000010000004000",
        "4300000000000152afe8000000000152b018000303ea95e8eaee",
    ];
    let bytes = sent.map(|digits| hex::decode(digits).unwrap());
    let [begin, relation, update, truncate, commit] = bytes.each_ref().map(|b| decode(b, false).unwrap());

    let Message::Begin(begin) = begin else { panic!("not a Begin") };
    assert_eq!((begin.final_lsn, begin.xid), (Lsn(0x0152_AFE8), 728));
    assert_eq!(begin.commit_time.to_string(), "2026-11-23T06:36:42.432238Z");

    let Message::Relation(relation) = relation else { panic!("not a Relation") };
    assert_eq!((relation.oid, relation.schema, relation.name), (16384, "public", "t"));
    assert_eq!(relation.replica_identity, ReplicaIdentity::Default);
    let columns: Vec<_> =
        relation.columns.iter().map(|c| (c.key, c.name, c.type_oid, c.type_modifier)).collect();
    assert_eq!(columns, [(true, "id", 23, -1), (false, "v", 25, -1)]);

    let Message::Change(change) = update else { panic!("not a Change") };
    let ChangeKind::Update { old: Some(OldTuple::Key(old)), new } = change.kind else {
        panic!("no key change")
    };
    assert_eq!(old.cells().collect::<Vec<_>>(), [Cell::Text(b"7"), Cell::Null]);
    assert_eq!(new.cells().collect::<Vec<_>>(), [Cell::Text(b"8"), Cell::Unchanged]);

    let Message::Truncate(truncate) = truncate else { panic!("not a Truncate") };
    assert_eq!(
        (truncate.relations, truncate.cascade, truncate.restart_identity),
        (vec![16384], false, false)
    );

    let Message::Commit(commit) = commit else { panic!("not a Commit") };
    assert_eq!((commit.commit_lsn, commit.end_lsn), (begin.final_lsn, Lsn(0x0152_B018)));
    assert_eq!(commit.commit_time, begin.commit_time);
}

#[test]
fn errors_name_the_message_and_never_a_value() {
    let error = |bytes: &[u8]| decode(bytes, false).unwrap_err().to_string();
    assert_eq!(error(b""), "pgoutput sent an empty message");
    assert_eq!(
        error(b"z"),
        "pgoutput sent a message of the unknown kind 0x7a (hint: re_dms knows protocol versions 1 to 4; \
         is there a newer re_dms?)"
    );
    assert_eq!(error(b"B\0\0"), "pgoutput's message 'B' ends in the middle");
    assert_eq!(error(b"E\0"), "pgoutput's message 'E' goes on after its end (1 bytes)");
    assert_eq!(error(b"I\0\0\0\x01Xsecret"), "pgoutput's message 'I' has a malformed row's tag");
    assert_eq!(
        error(b"I\0\0\0\x01N\0\x01b\0\0\0\x06secret"),
        "pgoutput's message 'I': a row's column begins with the unknown tag 0x62"
    );
    assert_eq!(error(b"O\0\0\0\0\0\0\0\0\xff\0"), "pgoutput's message 'O' has a malformed name");
}
