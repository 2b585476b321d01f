//! Every truncation, every flipped bit and every zeroed tail of a small log.

use super::*;

/// Payloads that try to hide damage: zeros, single bits, nothing, more than a segment.
fn ops(purge: bool) -> Vec<Op> {
    let mut ops = vec![
        Op::Vote(b"vote 1".to_vec()),
        Op::Append(vec![(1500, 0), (3, b'a')]),
        Op::Append(vec![(200, b'b'), (0, 0), (700, 0)]),
        Op::Append(vec![(900, b'c')]),
        Op::Append(vec![(400, 255), (400, 1)]),
        Op::Truncate(1),
        Op::Append(vec![(480, 0)]),
        Op::Append(vec![(600, 0), (600, b'd')]),
    ];
    if purge {
        ops.extend([Op::Append(vec![(1400, 0)]), Op::Purge(3)]);
    }
    ops.extend([Op::Append(vec![(1000, 0)]), Op::Vote(b"vote 2".to_vec()), Op::Append(vec![(1100, 0)])]);
    ops
}

/// Asserts that a damaged image is either noticed or harmless; returns whether it was harmless.
fn harmless(found: Result<Model, Error>, model: &Model, what: impl Fn() -> String) -> bool {
    match found {
        Err(Error::Damaged { .. }) => false,
        Ok(found) if same(&found, model) => true,
        other => panic!("{}: {other:?}", what()),
    }
}

fn flip(image: &mut Image, number: u64, bit: usize) {
    image.get_mut(&number).expect("a segment")[bit / 8] ^= 1 << (bit % 8);
}

/// A log of four or five segments, and all models on the way to it.
fn log(purge: bool) -> (Image, Vec<Model>) {
    let dir = folder();
    let models = build(dir.path(), &ops(purge));
    let image = image(dir.path());
    assert!(image.len() >= 4 && image.contains_key(&1) != purge, "{:?}", image.keys());
    (image, models)
}

#[test]
fn every_truncation_is_noticed() {
    for purge in [false, true] {
        let (good, models) = log(purge);
        let model = &models[models.len() - 1];
        for (number, bytes) in &good {
            let mut bad = good.clone();
            for len in (0..bytes.len()).rev() {
                bad.get_mut(number).expect("a segment").truncate(len);
                assert!(!harmless(judged(&bad), model, || format!("segment {number} cut at {len}")));
            }
        }
        assert!(harmless(judged(&good), model, || "as it was".to_owned()));
    }
}

#[test]
fn every_flipped_bit_is_noticed_or_harmless() {
    let (good, models) = log(true);
    let model = &models[models.len() - 1];
    let flip_all = |number: u64| {
        let mut bad = good.clone();
        (0..good[&number].len() * 8)
            .filter(|bit| {
                flip(&mut bad, number, *bit);
                let at = || format!("segment {number} byte {} bit {} flipped", bit / 8, bit % 8);
                let harmless = harmless(judged(&bad), model, at);
                flip(&mut bad, number, *bit);
                !harmless
            })
            .count()
    };
    // One thread for each segment: it is a hundred thousand starts.
    let noticed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = good.keys().map(|number| scope.spawn(|| flip_all(*number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no damage went unnoticed")).sum()
    });
    assert!(noticed > 5000 * 8, "all bits of headers and records: {noticed}");
}

#[test]
fn every_zeroed_tail_leaves_a_prefix_or_is_noticed() {
    for purge in [false, true] {
        let (good, models) = log(purge);
        let newest = *good.keys().last().expect("a segment");
        for (number, bytes) in &good {
            let mut bad = good.clone();
            // As a crash leaves it: later segments were made, but nothing was written to them.
            let mut crashed = good.clone();
            crashed.range_mut(number + 1..).for_each(|(_, later)| later[group::SECTOR..].fill(0));
            for from in (0..bytes.len()).rev() {
                let what = || format!("segment {number} zero from {from}");
                for image in [&mut bad, &mut crashed] {
                    image.get_mut(number).expect("a segment")[from] = 0;
                }
                if *number != newest {
                    harmless(judged(&bad), &models[models.len() - 1], what);
                }
                match judged(&crashed) {
                    Ok(found) => assert!(models.iter().any(|model| same(&found, model)), "{}: {found:?}", what()),
                    Err(Error::Damaged { .. }) => {
                        let whole = from % group::SECTOR == 0 && from > 0;
                        assert!(!whole || purge, "{}: a torn write is not damage", what());
                    }
                    other => panic!("{}: {other:?}", what()),
                }
            }
        }
    }
}

/// The same through the files, coarsely: opening repairs what it may repair, and nothing else.
#[test]
fn opening_damaged_files_says_the_same_and_repairs_for_good() {
    let (good, models) = log(true);
    let dir = folder();
    let mut dice = Dice(7);
    for (number, bytes) in &good {
        for from in (0..bytes.len()).step_by(61) {
            let mut bad = good.clone();
            let target = bad.get_mut(number).expect("a segment");
            match dice.roll(3) {
                0 => target.truncate(from),
                1 => target[from] ^= 1 << dice.roll(8),
                _ => target[from..].fill(0),
            }
            store(dir.path(), &bad);
            match (judged(&bad), recovered(dir.path())) {
                (Ok(judged), Ok(found)) => {
                    assert!(same(&found, &judged) && models.iter().any(|model| same(&found, model)));
                    assert!(same(&recovered(dir.path()).expect("a repaired log"), &found));
                }
                (Err(judged), Err(found)) => {
                    assert!(matches!((judged, found), (Error::Damaged { .. }, Error::Damaged { .. })));
                    assert_eq!(image(dir.path()), bad, "damage is left as it is");
                }
                (judged, found) => panic!("segment {number} at {from}: {judged:?} but {found:?}"),
            }
        }
    }
}

#[test]
fn rot_below_an_open_log_is_never_served() {
    let dir = folder();
    let models = build(dir.path(), &ops(true));
    let wal = Wal::open(dir.path(), &identity(), Options { cache_bytes: 0, ..OPTIONS }).expect("a log");
    for (number, bytes) in image(dir.path()) {
        let path = disk::segment_path(dir.path(), number);
        let mut noticed = 0;
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).expect("a segment");
            match wal.read(0..u64::MAX, u64::MAX) {
                Ok(entries) => assert_eq!(entries, models[models.len() - 1].entries),
                Err(Error::Damaged { .. }) => noticed += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(noticed > 0);
        std::fs::write(&path, &bytes).expect("a segment");
    }
}

#[test]
fn a_missing_segment_is_noticed() {
    for purge in [false, true] {
        let dir = folder();
        build(dir.path(), &ops(purge));
        let good = image(dir.path());
        for number in good.keys() {
            let mut bad = good.clone();
            bad.remove(number);
            store(dir.path(), &bad);
            assert!(matches!(recovered(dir.path()), Err(Error::Damaged { .. })), "segment {number} missing");
        }
    }
}

#[test]
fn a_segment_of_another_place_is_noticed() {
    let dir = folder();
    build(dir.path(), &ops(false));
    let good = image(dir.path());
    for (from, to) in [(1, 2), (2, 1), (3, 4)] {
        let mut bad = good.clone();
        bad.insert(to, good[&from].clone());
        store(dir.path(), &bad);
        assert!(matches!(recovered(dir.path()), Err(Error::Damaged { .. })));
    }
}
