//! Power cuts: of what was being written, any sectors may be there and any may not.

use super::*;

/// A log with `setup` done, then one more call, then `burst` in one sync. The images are the disk before that sync
/// and after it; the models are those after each call, from the one before the burst on. `None` when that call began
/// a segment, since it then takes two syncs.
fn burst(dir: &Path, setup: &[Op], burst: &[Op]) -> Option<(Image, Image, Vec<Model>)> {
    let wal = open(dir);
    let mut models = vec![Model::default()];
    let mut step = |op: &Op| {
        let mut model = models[models.len() - 1].clone();
        let (tell, told) = channel();
        model.run(&wal, op, Box::new(move |outcome| tell.send(outcome).expect("the test waits")));
        models.push(model);
        told
    };
    for op in setup {
        step(op).recv().expect("done is called").expect("a write");
    }
    let gate = wal.0.shared.disk.faults.gate.lock().expect("a gate");
    let bytes = wal.stats().bytes_written;
    let segments = image(dir).len();
    let mut waiting = vec![step(&Op::Vote(b"before".to_vec()))];
    if image(dir).len() > segments {
        return None;
    }
    while wal.stats().bytes_written == bytes {
        std::thread::yield_now();
    }
    // The writer stands at the gate; what comes now goes into the next sync, all of it.
    let before = image(dir);
    waiting.extend(burst.iter().map(&mut step));
    drop(gate);
    for told in waiting {
        told.recv().expect("done is called").expect("a write");
    }
    wal.close().expect("a log that closes");
    Some((before, image(dir), models.split_off(setup.len() + 1)))
}

/// One way a power cut can leave the disk between the images: the first segments done, one with some sectors, the
/// rest made but unused.
fn cut(before: &Image, after: &Image, dice: &mut Dice) -> Image {
    let unused = |bytes: &Vec<u8>| [&bytes[..group::SECTOR], &vec![0; bytes.len() - group::SECTOR]].concat();
    let mut mixed: Image = after.iter().map(|(n, bytes)| (*n, unused(bytes))).collect();
    mixed.extend(before.clone());
    let changed: Vec<u64> = after.keys().copied().filter(|number| mixed[number] != after[number]).collect();
    let Some(torn) = changed.len().checked_sub(1).map(|last| dice.roll(last as u64 + 1) as usize) else { return mixed };
    for number in &changed[..torn] {
        mixed.insert(*number, after[number].clone());
    }
    let keep = 1 + dice.roll(9);
    let target = mixed.get_mut(&changed[torn]).expect("a segment");
    for (to, from) in target.chunks_mut(group::SECTOR).zip(after[&changed[torn]].chunks(group::SECTOR)) {
        if dice.roll(10) < keep {
            to.copy_from_slice(from);
        }
    }
    mixed
}

#[test]
fn any_power_cut_leaves_all_that_was_done_and_the_log_goes_on() {
    let mut dice = Dice(1);
    for round in 0..40 {
        let dir = folder();
        let setup: Vec<_> = (0..dice.roll(12)).map(|_| dice.op()).collect();
        let calls: Vec<_> = (0..1 + dice.roll(5)).map(|_| dice.op()).collect();
        let Some((before, after, models)) = burst(dir.path(), &setup, &calls) else { continue };
        for turn in 0..25 {
            store(dir.path(), &cut(&before, &after, &mut dice));
            let found = recovered(dir.path()).unwrap_or_else(|error| panic!("round {round}.{turn}: {error}"));
            let model = models.iter().find(|model| same(&found, model));
            let mut model = model.unwrap_or_else(|| panic!("round {round}.{turn}: {found:?}")).clone();
            // What is written behind the repaired tail survives the next start.
            for op in [Op::Append(vec![(300, b'n'); 3]), Op::Vote(b"next".to_vec())] {
                let wal = open(dir.path());
                wait(|done| model.run(&wal, &op, done)).expect("a write");
                wal.close().expect("a log that closes");
                assert!(same(&recovered(dir.path()).expect("a log"), &model), "round {round}.{turn}");
            }
        }
    }
}

#[test]
fn a_zeroed_write_with_a_later_sync_behind_it_is_damage() {
    let dir = folder();
    build(dir.path(), &[Op::Append(vec![(400, b'a')]), Op::Append(vec![(400, b'b')]), Op::Append(vec![(400, b'c')])]);
    let good = image(dir.path());
    let groups: Vec<usize> = (1..8).map(|sector| sector * group::SECTOR).filter(|at| good[&1][*at] != 0).collect();
    for at in &groups[..groups.len() - 1] {
        let mut bad = good.clone();
        bad.get_mut(&1).expect("a segment")[*at..at + group::SECTOR].fill(0);
        store(dir.path(), &bad);
        let found = recovered(dir.path());
        // The head is the first of a pair written in one sync; all others were durable before the next one.
        assert!(matches!(found, Err(Error::Damaged { .. })), "group at {at}: {found:?}");
    }
}

#[test]
fn deletions_cut_short_are_finished() {
    let dir = folder();
    let mut ops: Vec<_> = (0..12).map(|n| Op::Append(vec![(1200, n); 2])).collect();
    build(dir.path(), &ops);
    let all = image(dir.path());
    let purged = folder();
    ops.push(Op::Purge(17));
    let models = build(purged.path(), &ops);
    let left = image(purged.path());
    assert!(left.len() + 3 <= all.len());
    let gone: Vec<_> = all.keys().copied().filter(|number| !left.contains_key(number)).collect();
    for first in 0..gone.len() {
        let mut part = left.clone();
        part.extend(gone[first..].iter().map(|number| (*number, all[number].clone())));
        store(dir.path(), &part);
        assert!(same(&recovered(dir.path()).expect("a log"), &models[models.len() - 1]));
        assert_eq!(image(dir.path()).len(), left.len());
    }
}

#[test]
fn a_segment_that_was_being_made_is_swept() {
    let dir = folder();
    let models = build(dir.path(), &[Op::Append(vec![(100, 1)])]);
    std::fs::write(dir.path().join("spare.new"), b"half").expect("a file");
    assert!(same(&recovered(dir.path()).expect("a log"), &models[1]));
    assert!(!dir.path().join("spare.new").exists());
}
