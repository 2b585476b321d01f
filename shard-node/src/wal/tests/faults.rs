//! Full disks, failed syncs, wrong folders; group commit and readers beside the writer.

use std::sync::Barrier;

use super::*;

/// Appends one entry of `len` bytes and waits.
fn append(wal: &Wal, index: u64, len: usize) -> Result<(), Error> {
    wait(|done| wal.append(vec![entry(index, 1, vec![index as u8; len])], done))
}

fn faults(wal: &Wal) -> &Faults {
    &wal.0.shared.disk.faults
}

#[test]
fn second_open_is_refused_until_the_first_closes() {
    let dir = folder();
    let wal = open(dir.path());
    assert!(matches!(Wal::open(dir.path(), &identity(), OPTIONS), Err(Error::Locked { .. })));
    wal.close().expect("a log that closes");
    drop(open(dir.path()));
    open(dir.path());
}

#[test]
fn foreign_folder_is_refused_and_named() {
    let dir = folder();
    drop(open(dir.path()));
    let other = Identity { replica: RaftId(78), ..identity() };
    let Err(error) = Wal::open(dir.path(), &other, OPTIONS) else { panic!("a foreign folder was opened") };
    assert!(matches!(&error, Error::Foreign { found, expected, .. } if **found == identity() && **expected == other));
    assert!(error.to_string().contains("replica 77") && error.to_string().contains("replica 78"), "{error}");
    open(dir.path());
}

#[test]
fn full_disk_refuses_the_append_as_a_whole_and_recovers_with_room() {
    let dir = folder();
    let wal = open(dir.path());
    faults(&wal).no_room.store(true, Ordering::SeqCst);
    let mut index = 0;
    let error = loop {
        match append(&wal, index, 300) {
            Ok(()) => index += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    assert_eq!(wal.last().map(|id| id.index), Some(index - 1));
    assert!(matches!(append(&wal, index, 300), Err(Error::DiskFull { .. })));
    // There is still room for the purge that makes room.
    let upto = LogId { term: 1, leader: 9, index: 1 };
    wait(|done| wal.purge(upto, done)).expect("a purge on a full disk");
    faults(&wal).no_room.store(false, Ordering::SeqCst);
    append(&wal, index, 300).expect("room again");
    drop(wal);
    let entries = open(dir.path()).read(0..100, u64::MAX).expect("a readable log");
    assert_eq!(entries.iter().map(|entry| entry.id.index).collect::<Vec<_>>(), (2..=index).collect::<Vec<_>>());
}

#[test]
fn failed_sync_fails_everything_after_it_for_ever() {
    let dir = folder();
    let wal = open(dir.path());
    append(&wal, 0, 10).expect("a write");
    faults(&wal).sync_fails.store(true, Ordering::SeqCst);
    let fsyncs = wal.stats().fsyncs;
    assert!(matches!(append(&wal, 1, 10), Err(Error::Io { .. })));
    faults(&wal).sync_fails.store(false, Ordering::SeqCst);
    assert!(matches!(append(&wal, 2, 10), Err(Error::Io { .. })));
    assert!(matches!(wait(|done| wal.save_vote(Bytes::new(), done)), Err(Error::Io { .. })));
    assert_eq!(wal.stats().fsyncs, fsyncs, "a failed sync is never repeated");
    assert!(matches!(wal.close(), Err(Error::Io { .. })));
    let reopened = open(dir.path());
    assert!(reopened.last().is_some());
}

#[test]
fn calls_that_do_not_continue_the_log_are_refused() {
    let dir = folder();
    let wal = open(dir.path());
    append(&wal, 5, 10).expect("a log may start anywhere");
    for index in [5, 7] {
        assert!(matches!(append(&wal, index, 1), Err(Error::Order { expected: 6, .. })));
    }
    wait(|done| wal.purge(LogId { term: 1, leader: 9, index: 8 }, done)).expect("a purge behind the end");
    assert!(matches!(wait(|done| wal.truncate(8, done)), Err(Error::Order { expected: 9, .. })));
    append(&wal, 9, 1).expect("a write");
    wait(|done| wal.append(Vec::new(), done)).expect("nothing to write");
    wal.close().expect("a log that closes");
    assert!(matches!(append(&wal, 10, 1), Err(Error::Closed)));
}

#[test]
fn what_waits_for_a_sync_shares_the_next_one() {
    let dir = folder();
    let wal = open(dir.path());
    append(&wal, 0, 10).expect("a write");
    const CALLERS: u64 = 8;
    const CALLS: u64 = 20;
    let before = wal.stats().fsyncs;
    let gate = faults(&wal).gate.lock().expect("a gate");
    let (next, ready) = (Mutex::new(1), Barrier::new(CALLERS as usize + 1));
    let call = |first: bool| {
        let mut next = next.lock().expect("no panic");
        let (tell, told) = channel();
        wal.append(vec![entry(*next, 1, vec![7; 100])], move |outcome| tell.send(outcome).expect("a test that waits"));
        *next += 1;
        drop(next);
        if first {
            ready.wait();
        }
        told.recv().expect("done is called").expect("a write");
    };
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| (0..CALLS).for_each(|n| call(n == 0)));
        }
        ready.wait();
        drop(gate);
    });
    // Of the first eight calls, seven shared at most two syncs; sealing and making segments of 4 KiB cost some too.
    let segments = wal.stats().segments;
    let data = wal.stats().fsyncs - before - (segments - 1) * 4;
    assert!(data < CALLERS * CALLS, "{data} syncs");
    assert_eq!(wal.last().map(|id| id.index), Some(CALLERS * CALLS));
}

#[test]
fn readers_beside_appends_and_purges_see_whole_entries() {
    let dir = folder();
    let wal = open(dir.path());
    let reader = wal.clone();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut seen = 0;
            while reader.last().is_none_or(|last| last.index < 999) {
                let from = reader.first_index().unwrap_or(0);
                for entry in reader.read(from..from + 50, 10_000).expect("a readable log") {
                    assert!(entry.payload.iter().all(|byte| *byte == entry.id.index as u8));
                    seen += 1;
                }
            }
            seen
        });
        for index in 0..1000 {
            wal.append(vec![entry(index, 1, vec![index as u8; 200])], |outcome| outcome.expect("a write"));
            if index % 50 == 49 {
                wal.purge(LogId { term: 1, leader: 9, index: index - 20 }, |outcome| outcome.expect("a purge"));
            }
        }
        assert!(reading.join().expect("no panic") > 0);
    });
    wal.close().expect("a log that closes");
    assert!(image(dir.path()).len() < 12, "purged segments are deleted");
    assert_eq!(open(dir.path()).last().map(|id| id.index), Some(999));
}

#[test]
fn dump_shows_every_record_and_where_damage_is() {
    let dir = folder();
    build(dir.path(), &[Op::Vote(b"v".to_vec()), Op::Append(vec![(10, 1); 3]), Op::Truncate(1), Op::Purge(0)]);
    let kinds = |damage: usize| {
        let mut kinds = Vec::new();
        let found = scan(dir.path(), |dumped| {
            assert_eq!(dumped.identity, &identity());
            kinds.push(match dumped.record {
                Record::Head { .. } => 'h',
                Record::Entry { .. } => 'e',
                Record::Vote(_) => 'v',
                Record::Truncate { .. } => 't',
                Record::Purge { .. } => 'p',
                Record::Seal => 's',
            });
        });
        assert_eq!(found.expect("a folder").len(), damage);
        kinds.into_iter().collect::<String>()
    };
    assert_eq!(kinds(0), "hveeetp");
    let mut bad = image(dir.path());
    bad.get_mut(&1).expect("a segment")[3 * group::SECTOR + 60] ^= 1;
    store(dir.path(), &bad);
    assert_eq!(kinds(1), "hv");
}
