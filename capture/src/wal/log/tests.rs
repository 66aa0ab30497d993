//! What survives what: restarts, cuts at every byte, flipped bits, a full disk, a second process.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;
use re_dms_shared::Lsn;
use tempfile::{TempDir, tempdir};

use super::*;
use crate::pgoutput::encode::encode;
use crate::pgoutput::{Commit, Message, StreamCommit};
use crate::wal::flaky::Disk;
use crate::wal::format;
use crate::wal::{Record, stored_epoch};

const EPOCH: &str = "7412345678901234567-1-re_dms_main-00000000015D3A08";

fn open(folder: &TempDir) -> (LocalWal, Recovery) {
    LocalWal::open(folder.path(), EPOCH).unwrap()
}

/// Groups of frames, each synced; returns the offsets behind each record, and the file's path.
fn write_groups(folder: &TempDir, groups: &[usize]) -> (Vec<u64>, PathBuf) {
    let (mut wal, _) = open(folder);
    let mut ends = Vec::new();
    for (group, &count) in groups.iter().enumerate() {
        for frame in 0..count {
            let payload = vec![b'I'; group * 10 + frame];
            wal.append(RecordKind::Frame, Lsn(ends.len() as u64), &payload).unwrap();
            ends.push(wal.end().offset);
        }
        wal.sync().unwrap();
    }
    (ends, folder::path(folder.path(), 1))
}

fn contents(wal: &LocalWal) -> Vec<(RecordKind, Lsn, Bytes)> {
    let records: Vec<Record> = wal.records().unwrap().collect::<Result<_, _>>().unwrap();
    records.into_iter().map(|record| (record.kind, record.lsn, record.payload)).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Append { frame: bool, lsn: u64, payload: Vec<u8> },
    Sync,
    Rotate,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        6 => (any::<bool>(), any::<u64>(), payload).prop_map(|(frame, lsn, payload)| Step::Append { frame, lsn, payload }),
        2 => Just(Step::Sync),
        1 => Just(Step::Rotate),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_synced_is_read_back(steps in prop::collection::vec(step(), 1..40)) {
        let folder = tempdir().unwrap();
        let (mut wal, _) = open(&folder);
        let (mut durable, mut waiting, mut positions) = (Vec::new(), Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Append { frame, lsn, payload } => {
                    let kind = if frame { RecordKind::Frame } else { RecordKind::SessionStart };
                    let position = wal.append(kind, Lsn(lsn), &payload).unwrap();
                    waiting.push((position, (kind, Lsn(lsn), Bytes::from(payload))));
                }
                Step::Sync | Step::Rotate => {
                    if matches!(step, Step::Sync) { wal.sync().unwrap(); } else { wal.rotate().unwrap(); }
                    for (position, record) in waiting.drain(..) {
                        positions.push(position);
                        durable.push(record);
                    }
                }
                // As a crash does: what is not synced is gone.
                Step::Reopen => {
                    let end = wal.durable_end();
                    drop(wal);
                    waiting.clear();
                    let (opened, recovery) = open(&folder);
                    prop_assert_eq!((recovery.end, recovery.records), (end, durable.len() as u64));
                    wal = opened;
                }
            }
            prop_assert_eq!(contents(&wal), durable.clone());
        }
        for (index, &position) in positions.iter().enumerate() {
            let records = read_from(folder.path(), position).unwrap().until(wal.durable_end());
            let records: Vec<Record> = records.collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(records[0].position, position);
            prop_assert_eq!(records.len(), durable.len() - index);
            prop_assert_eq!(&records[0].payload, &durable[index].2);
        }
    }
}

#[test]
fn a_file_cut_at_any_byte_keeps_exactly_the_whole_records() {
    let folder = tempdir().unwrap();
    let (ends, path) = write_groups(&folder, &[2, 3, 4]);
    let whole = fs::read(&path).unwrap();
    let first = usize::try_from(open(&folder).1.first.offset).unwrap();
    for length in first..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let (mut wal, recovery) = open(&folder);
        let expected = ends.iter().filter(|&&end| end <= length as u64).count();
        assert_eq!(recovery.records, expected as u64, "cut at {length}");
        assert_eq!(contents(&wal).len(), expected, "cut at {length}");
        // And it can be written on from there.
        wal.append(RecordKind::Frame, Lsn(99), b"on").unwrap();
        wal.sync().unwrap();
        drop(wal);
        let (wal, recovery) = open(&folder);
        assert_eq!((contents(&wal).len(), recovery.bytes_cut), (expected + 1, 0), "cut at {length}");
    }
}

#[test]
fn a_group_that_reached_the_disk_in_parts_is_cut_at_its_first_bad_record() {
    let folder = tempdir().unwrap();
    let (ends, path) = write_groups(&folder, &[2, 4]);
    let whole = fs::read(&path).unwrap();
    // The third record, first of the second group, is zeros; those behind it are whole.
    let mut holed = whole.clone();
    holed[usize::try_from(ends[1]).unwrap() + 20..usize::try_from(ends[2]).unwrap()].fill(0);
    // The size came to the disk, the bytes did not.
    let mut zeros = whole.clone();
    zeros.resize(whole.len() + 5000, 0);
    for (bytes, expected) in [(holed, 2), (zeros, 6)] {
        fs::write(&path, bytes).unwrap();
        let (wal, recovery) = open(&folder);
        assert_eq!((recovery.records, contents(&wal).len()), (expected, usize::try_from(expected).unwrap()));
        assert!(recovery.bytes_cut > 0);
    }
}

#[test]
fn a_flipped_bit_before_the_last_group_is_refused_wherever_it_is() {
    let folder = tempdir().unwrap();
    let (ends, path) = write_groups(&folder, &[2, 3, 1]);
    let whole = fs::read(&path).unwrap();
    for byte in 0..usize::try_from(ends[4]).unwrap() {
        let mut flipped = whole.clone();
        flipped[byte] ^= 1 << (byte % 8);
        fs::write(&path, &flipped).unwrap();
        let error =
            LocalWal::open(folder.path(), EPOCH).err().unwrap_or_else(|| panic!("byte {byte} was taken"));
        // In the header the format may have become a newer one.
        assert!(matches!(error, WalError::Corrupt { .. } | WalError::Newer { .. }), "byte {byte}: {error}");
        assert_eq!(fs::read(&path).unwrap(), flipped, "a corrupt file is left as it is");
    }
    fs::write(&path, &whole).unwrap();
    open(&folder).0.rotate().unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&path, &flipped).unwrap();
    let error = LocalWal::open(folder.path(), EPOCH).err().expect("an earlier file is never cut");
    assert!(matches!(error, WalError::Corrupt { .. }), "{error}");
}

#[test]
fn one_process_at_a_time() {
    let folder = tempdir().unwrap();
    let (wal, _) = open(&folder);
    let error = LocalWal::open(folder.path(), EPOCH).err().expect("it is in use").to_string();
    assert!(error.contains(&format!("in use by another re_dms (process {})", std::process::id())), "{error}");
    drop(wal);
    open(&folder);
}

#[test]
fn another_epochs_files_are_left_alone() {
    let folder = tempdir().unwrap();
    assert_eq!(stored_epoch(folder.path()).unwrap(), None);
    write_groups(&folder, &[1]);
    assert_eq!(stored_epoch(folder.path()).unwrap().as_deref(), Some(EPOCH));
    let error = LocalWal::open(folder.path(), "other").err().expect("it is another's");
    assert!(matches!(&error, WalError::OtherEpoch { found, .. } if found == EPOCH), "{error}");
    assert_eq!(contents(&open(&folder).0).len(), 1);
}

#[test]
fn files_before_a_position_go_and_the_last_one_stays() {
    let folder = tempdir().unwrap();
    let (mut wal, _) = open(&folder);
    let mut positions = Vec::new();
    for number in 1..=4 {
        wal.append(RecordKind::Frame, Lsn(number), b"x").unwrap();
        wal.sync().unwrap();
        positions.push(wal.end());
        wal.rotate().unwrap();
    }
    let names = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names.join(" ")
    };
    // Behind the second file's last record: the second file is not needed either.
    assert_eq!(wal.remove_before(positions[1]).unwrap(), 2);
    let left = "0000000000000003.wal 0000000000000004.wal 0000000000000005.wal lock";
    assert_eq!(names(folder.path()), left);
    assert_eq!(wal.remove_before(WalPosition { file: 3, offset: 60 }).unwrap(), 0);
    assert_eq!(wal.remove_before(WalPosition { file: 9, offset: 0 }).unwrap(), 2);
    assert_eq!(contents(&wal), []);
    drop(wal);
    fs::write(folder.path().join("0000000000000006.new"), "half a header").unwrap();
    let (mut wal, recovery) = open(&folder);
    assert_eq!((recovery.first.file, recovery.end.file), (5, 5));
    wal.rotate().unwrap();
    wal.rotate().unwrap();
    drop(wal);
    fs::remove_file(folder::path(folder.path(), 6)).unwrap();
    let error = LocalWal::open(folder.path(), EPOCH).err().expect("a file is missing").to_string();
    assert!(error.contains("0000000000000006.wal is missing"), "{error}");
}

fn lsns(wal: &LocalWal) -> Vec<u64> {
    contents(wal).into_iter().map(|(_, lsn, _)| lsn.0).collect()
}

/// A log with the record 1, durable, on a disk that can be told what to do.
fn on_flaky_disk(folder: &TempDir) -> (LocalWal, Disk) {
    let (mut wal, _) = open(folder);
    let disk = Disk::default();
    disk.clone().under(&mut wal);
    wal.append(RecordKind::Frame, Lsn(1), b"before").unwrap();
    wal.sync().unwrap();
    (wal, disk)
}

#[test]
fn a_full_disk_loses_nothing_and_passes() {
    let group = 2 * format::RECORD_HEADER + b"while".len();
    // at every byte of the group that does not fit any more
    for room in 0..group {
        let folder = tempdir().unwrap();
        let (mut wal, disk) = on_flaky_disk(&folder);
        let end = wal.durable_end();
        disk.leave(room);
        wal.append(RecordKind::Frame, Lsn(2), b"while").unwrap();
        for _ in 0..2 {
            let error = wal.sync().unwrap_err();
            assert!(matches!(error, WalError::DiskFull { needed, .. } if needed == group as u64), "{error}");
            assert!(matches!(wal.rotate(), Err(WalError::DiskFull { .. })));
            assert_eq!(wal.durable_end(), end);
            assert_eq!(fs::metadata(folder::path(folder.path(), 1)).unwrap().len(), end.offset, "it is cut");
        }
        disk.make_room();
        // what comes meanwhile joins the group
        wal.append(RecordKind::Frame, Lsn(3), b"after").unwrap();
        wal.sync().unwrap();
        wal.rotate().unwrap();
        drop(wal);
        assert_eq!(lsns(&open(&folder).0), [1, 2, 3], "with room for {room} bytes");
    }
}

#[test]
fn a_file_that_can_not_be_made_leaves_the_old_one_in_use() {
    let folder = tempdir().unwrap();
    let (mut wal, disk) = on_flaky_disk(&folder);
    disk.leave(1000);
    assert!(matches!(wal.rotate(), Err(WalError::DiskFull { .. })));
    wal.append(RecordKind::Frame, Lsn(2), b"fits into the old one").unwrap();
    assert_eq!(wal.sync().unwrap().file, 1);
    drop(wal);
    assert_eq!(lsns(&open(&folder).0), [1, 2]);
}

#[test]
fn a_disk_that_says_at_the_fdatasync_that_it_is_full_passes_too() {
    let folder = tempdir().unwrap();
    let (mut wal, disk) = on_flaky_disk(&folder);
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
        wal.append(RecordKind::Frame, Lsn(2), b"while").unwrap();
        disk.fail_next_sync(kind);
        assert!(matches!(wal.sync(), Err(WalError::DiskFull { .. })), "{kind}");
    }
    wal.sync().unwrap();
    drop(wal);
    assert_eq!(lsns(&open(&folder).0), [1, 2, 2]);
}

#[test]
fn after_a_failed_fdatasync_nothing_is_written_or_read_that_may_not_be_there() {
    let folder = tempdir().unwrap();
    let (mut wal, disk) = on_flaky_disk(&folder);
    wal.append(RecordKind::Frame, Lsn(2), b"perhaps on the disk").unwrap();
    disk.fail_next_sync(io::ErrorKind::Other);
    assert!(matches!(wal.sync(), Err(WalError::Io { .. })));
    assert!(matches!(wal.sync(), Err(WalError::Broken { .. })), "never simply once more");
    assert!(matches!(wal.rotate(), Err(WalError::Broken { .. })));
    drop(wal);
    assert_eq!(lsns(&open(&folder).0), [1], "what the kernel remembers is no proof");
}

#[test]
fn the_last_commit_is_known_after_a_restart() {
    let folder = tempdir().unwrap();
    let (mut wal, recovery) = open(&folder);
    assert_eq!(recovery.last_commit, None);
    let commit =
        |end| Commit { commit_lsn: Lsn(end - 8), end_lsn: Lsn(end), commit_time: Timestamp::UNIX_EPOCH };
    let frames = [
        Message::Commit(commit(100)),
        Message::StreamCommit(StreamCommit { xid: 7, commit: commit(300) }),
        // Sent again after the server forgot that it was confirmed.
        Message::Commit(commit(200)),
    ];
    for frame in &frames {
        wal.append(RecordKind::Frame, Lsn(1), &encode(frame)).unwrap();
        wal.rotate().unwrap();
    }
    drop(wal);
    assert_eq!(open(&folder).1.last_commit, Some(Lsn(300)));
}

#[test]
fn a_bounded_reader_notices_what_is_missing() {
    let folder = tempdir().unwrap();
    let (ends, path) = write_groups(&folder, &[3]);
    let until = WalPosition { file: 1, offset: ends[2] };
    fs::write(&path, &fs::read(&path).unwrap()[..usize::try_from(ends[1]).unwrap()]).unwrap();
    let from = WalPosition { file: 1, offset: 0 };
    let records: Vec<_> = read_from(folder.path(), from).unwrap().until(until).collect();
    assert_eq!(records.len(), 3);
    assert!(matches!(records[2], Err(WalError::Corrupt { .. })), "{:?}", records[2]);
    let unbounded: Vec<_> = read_from(folder.path(), from).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(unbounded.len(), 2);
}
