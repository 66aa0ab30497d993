//! A disk that fills up while changes come in.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use tempfile::{TempDir, tempdir};

use super::*;
use crate::pgoutput::encode::encode;
use crate::pgoutput::{Begin, Commit, Message};
use crate::progress::Snapshot;
use crate::wal::flaky::Disk;

const EPOCH: &str = "7412345678901234567-1-re_dms_main-00000000015D3A08";

struct Running {
    folder: TempDir,
    disk: Disk,
    progress: Arc<Progress>,
    retention: Arc<Retention>,
    arrivals: mpsc::Sender<Arrival>,
    inputs: Receiver<Vec<Input>>,
    thread: JoinHandle<Result<()>>,
}

impl Running {
    fn start() -> Self {
        let folder = tempdir().unwrap();
        let (mut wal, _) = LocalWal::open(folder.path(), EPOCH).unwrap();
        let disk = Disk::default();
        disk.clone().under(&mut wal);
        let progress = Arc::new(Progress::new(Snapshot::default()));
        let retention = Arc::new(Retention::default());
        let (arrivals, arriving) = mpsc::channel(8);
        let (out, inputs) = sync_channel(8);
        let persister = Persister::new(wal, Lsn::ZERO, Arc::clone(&retention), Arc::clone(&progress), out);
        let thread = std::thread::spawn(move || persister.run(arriving));
        Self { folder, disk, progress, retention, arrivals, inputs, thread }
    }

    /// A transaction that ends at `end`, with a change of `bytes` bytes.
    fn transaction(&self, end: u64, bytes: usize) {
        self.arrive(transaction(end, bytes).into());
    }

    fn arrive(&self, events: Vec<Event>) {
        self.arrivals.blocking_send(Arrival::Events(events)).unwrap();
    }

    /// Waits for the end of a transaction to be handed on; returns its place in the local WAL.
    fn handed_on(&self, mut transactions: usize) -> WalPosition {
        loop {
            for input in self.inputs.recv_timeout(Duration::from_secs(20)).expect("it is handed on") {
                let Input::Frame { payload, end, .. } = input else { continue };
                transactions -= usize::from(payload.first() == Some(&b'C'));
                if transactions == 0 {
                    return end;
                }
            }
        }
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&Snapshot) -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !is_so(&self.progress.now()) {
            assert!(Instant::now() < until, "{what}: {:?}", self.progress.now());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path())
            .unwrap()
            .flatten()
            .filter(|e| e.path().extension().is_some())
            .count()
    }
}

/// The frames of a transaction that ends at `end`, with a change of `bytes` bytes.
fn transaction(end: u64, bytes: usize) -> [Event; 3] {
    let (commit_lsn, commit_time) = (Lsn(end - 8), Timestamp::UNIX_EPOCH);
    let begin = Message::Begin(Begin { final_lsn: commit_lsn, commit_time, xid: 7 });
    let commit = Message::Commit(Commit { commit_lsn, end_lsn: Lsn(end), commit_time });
    let mut change = vec![0; bytes];
    change[0] = b'I';
    let frames = [Bytes::from(encode(&begin)), Bytes::from(change), Bytes::from(encode(&commit))];
    frames.map(|payload| Event::Frame { start: commit_lsn, payload })
}

#[test]
fn a_full_disk_is_told_and_waited_out() {
    let run = Running::start();
    run.transaction(100, 50);
    run.handed_on(1);
    run.disk.leave(30);
    run.transaction(200, 50);
    run.wait_for("the disk is full", |state| state.disk_full);
    run.transaction(300, 50);
    assert!(
        run.inputs.recv_timeout(Duration::from_millis(700)).is_err(),
        "nothing but what is durable goes on"
    );
    let state = run.progress.now();
    assert_eq!(state.durable, Durable(Lsn(100)));
    let told = state.last_error().unwrap();
    assert!(told.contains("no room on the disk of") && told.contains("hint: make room"), "{told}");
    run.disk.make_room();
    run.handed_on(2);
    run.wait_for("all is durable", |state| state.durable == Durable(Lsn(300)) && !state.disk_full);
    assert_eq!(run.progress.now().last_error(), None);
    drop(run.arrivals);
    run.thread.join().unwrap().unwrap();
    let (wal, recovery) = LocalWal::open(run.folder.path(), EPOCH).unwrap();
    assert_eq!(recovery.last_commit, Some(Lsn(300)));
    assert_eq!(wal.records().unwrap().count(), 9, "nothing lost, nothing doubled");
}

#[test]
fn what_arrives_elsewhere_makes_room_while_the_disk_is_full() {
    let run = Running::start();
    run.transaction(100, 65 << 20);
    let end = run.handed_on(1);
    run.transaction(200, 50);
    run.handed_on(1);
    assert_eq!(run.files(), 2);
    run.disk.leave(0);
    run.transaction(300, 50);
    run.wait_for("the disk is full", |state| state.disk_full);
    // It was loaded meanwhile.
    run.retention.keep_from(Lsn(100), end);
    run.progress.update(|state| {
        state.staged.0 = Lsn(100);
        state.loaded.0 = Lsn(100);
        state.anchored = Lsn(100);
    });
    let until = Instant::now() + Duration::from_secs(20);
    while run.files() == 2 {
        assert!(Instant::now() < until, "a file that nobody needs stays");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(run.progress.now().disk_full);
    run.disk.make_room();
    run.handed_on(1);
}

/// A backlog comes in groups that end anywhere: a file that waited for one to end between transactions would grow on.
#[test]
fn a_file_ends_with_a_transaction_though_the_next_came_with_it() {
    let run = Running::start();
    let [begin, change, _] = transaction(200, 50);
    run.arrive(transaction(100, 65 << 20).into_iter().chain([begin, change]).collect());
    run.handed_on(1);
    assert_eq!(run.files(), 2);
}

/// The server may forget what it was told (protocol fact 3).
#[test]
fn transactions_that_come_twice_are_dropped() {
    let run = Running::start();
    for end in [100, 200, 100, 200, 300] {
        run.transaction(end, 50);
    }
    let (mut commits, mut changes) = (Vec::new(), 0);
    while commits.len() < 3 {
        for input in run.inputs.recv_timeout(Duration::from_secs(20)).unwrap() {
            let Input::Frame { payload, .. } = input else { continue };
            changes += usize::from(payload.first() == Some(&b'I'));
            commits.extend((payload.first() == Some(&b'C')).then(|| lsn_at(&payload, 10).unwrap().0));
        }
    }
    assert_eq!((commits, changes), (vec![100, 200, 300], 3));
}

#[test]
fn the_end_does_not_wait_for_room() {
    let run = Running::start();
    run.disk.leave(10);
    run.transaction(100, 50);
    run.wait_for("the disk is full", |state| state.disk_full);
    drop(run.arrivals);
    let until = Instant::now() + Duration::from_secs(20);
    while !run.thread.is_finished() {
        assert!(Instant::now() < until, "it waits on");
        std::thread::sleep(Duration::from_millis(10));
    }
    run.thread.join().unwrap().unwrap();
    let (_, recovery) = LocalWal::open(run.folder.path(), EPOCH).unwrap();
    assert_eq!((recovery.records, recovery.bytes_cut), (0, 0), "it comes again from PostgreSQL");
}
