//! What every engine promises, as one suite run on each of them.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod engine;

use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use common::config::EngineKind;
use engine::{Map, all, as_pairs, batch, bytes, history, new, reopen};
use shard_node::storage::{Batch, Error, KEY_BYTES_MAX, Read};

static SLED: std::sync::Mutex<()> = std::sync::Mutex::new(());

macro_rules! suite {
    ($($test:ident),* $(,)?) => {
        mod fjall { use super::EngineKind; $(#[test] fn $test() { super::$test(EngineKind::Fjall) })* }
        mod sled {
            use super::EngineKind;

            $(#[test] fn $test() {
                // Databases of one process share sled's threads; seen once: all of them waited for one database's lock,
                // whose holder waited for a thread.
                let _alone = super::SLED.lock();
                super::$test(EngineKind::Sled)
            })*
        }
        mod memory { use super::EngineKind; $(#[test] fn $test() { super::$test(EngineKind::Memory) })* }
    };
}

suite!(
    reads_back_what_was_applied,
    the_last_change_of_a_key_in_a_batch_wins,
    keeps_empty_and_big_values,
    refuses_keys_no_engine_can_hold,
    scans_in_key_order_within_bounds,
    bounds_may_be_longer_than_any_key,
    scans_by_prefix,
    scans_more_than_one_chunk,
    a_scan_is_of_one_moment,
    readers_see_whole_batches,
    a_view_does_not_change,
    a_view_of_an_empty_engine_stays_empty,
    views_of_different_moments_differ,
    a_view_outlives_install,
    install_replaces_everything,
    install_of_nothing_empties,
    an_interrupted_install_changes_nothing,
    install_is_repeatable,
    reopens_with_everything,
);

fn keys(reader: &dyn Read, low: Bound<&str>, high: Bound<&str>, reverse: bool) -> String {
    let pairs = reader.scan(low.map(str::as_bytes), high.map(str::as_bytes), reverse);
    pairs.map(|pair| String::from_utf8(pair.unwrap().0.to_vec()).unwrap()).collect::<Vec<_>>().join(" ")
}

fn reads_back_what_was_applied(kind: EngineKind) {
    let (_dir, engine) = new(kind);
    assert_eq!(engine.get(b"a").unwrap(), None);
    engine.apply(batch(&[("a", "1"), ("b", "2")])).unwrap();
    engine.apply(batch(&[("a", "3"), ("b", "-"), ("absent", "-")])).unwrap();
    assert_eq!(engine.get(b"a").unwrap(), Some(bytes("3")));
    assert_eq!(engine.get(b"b").unwrap(), None);
    assert_eq!(keys(&*engine, Unbounded, Unbounded, false), "a");
    engine.apply(Batch::default()).unwrap();
    engine.flush().unwrap();
    assert!(engine.size_bytes() > 0 || kind == EngineKind::Fjall, "fjall counts tables, and there is none yet");
}

fn the_last_change_of_a_key_in_a_batch_wins(kind: EngineKind) {
    let (dir, engine) = new(kind);
    engine.apply(batch(&[("a", "1"), ("a", "-"), ("a", "2"), ("b", "1"), ("b", "-")])).unwrap();
    let expected = Map::from([(bytes("a"), bytes("2"))]);
    assert_eq!(all(&*engine), expected);
    assert_eq!(all(&*reopen(&dir, engine, kind)), expected);
}

fn keeps_empty_and_big_values(kind: EngineKind) {
    let (dir, engine) = new(kind);
    let big = Bytes::from(vec![7; 9 << 20]);
    let long_key = Bytes::from(vec![b'k'; 5_000]);
    let changes = vec![
        (bytes("empty"), Some(Bytes::new())),
        (bytes("big"), Some(big.clone())),
        (long_key.clone(), Some(bytes("long"))),
    ];
    engine.apply(Batch { changes }).unwrap();
    engine.flush().unwrap();
    let engine = reopen(&dir, engine, kind);
    assert_eq!(engine.get(b"empty").unwrap(), Some(Bytes::new()));
    assert_eq!(engine.get(b"big").unwrap(), Some(big));
    assert_eq!(engine.get(&long_key).unwrap(), Some(bytes("long")));
}

fn refuses_keys_no_engine_can_hold(kind: EngineKind) {
    let (_dir, engine) = new(kind);
    for length in [0, KEY_BYTES_MAX + 1] {
        let changes = vec![(bytes("good"), Some(bytes("1"))), (Bytes::from(vec![1; length]), Some(bytes("1")))];
        assert!(matches!(engine.apply(Batch { changes }), Err(Error::Io { .. })), "{length} bytes");
    }
    assert_eq!(all(&*engine), Map::new());
    let longest = Bytes::from(vec![1; KEY_BYTES_MAX]);
    engine.apply(Batch { changes: vec![(longest.clone(), Some(bytes("1")))] }).unwrap();
    assert_eq!(engine.get(&longest).unwrap(), Some(bytes("1")));
    assert_eq!(all(&*engine).len(), 1);
}

fn scans_in_key_order_within_bounds(kind: EngineKind) {
    let (_dir, engine) = new(kind);
    engine.apply(batch(&[("b", "2"), ("d", "4"), ("a", "1"), ("c", "3"), ("cc", "3")])).unwrap();
    let view = engine.view().unwrap();
    for reader in [&*engine as &dyn Read, &*view] {
        assert_eq!(keys(reader, Unbounded, Unbounded, false), "a b c cc d");
        assert_eq!(keys(reader, Unbounded, Unbounded, true), "d cc c b a");
        assert_eq!(keys(reader, Included("b"), Included("cc"), false), "b c cc");
        assert_eq!(keys(reader, Excluded("b"), Excluded("cc"), false), "c");
        assert_eq!(keys(reader, Excluded("b"), Included("cc"), true), "cc c");
        assert_eq!(keys(reader, Included("c"), Unbounded, true), "d cc c");
        assert_eq!(keys(reader, Unbounded, Excluded("c"), true), "b a");
        assert_eq!(keys(reader, Included("c"), Included("c"), false), "c");
        assert_eq!(keys(reader, Included("bb"), Included("bz"), false), "");
        for (low, high) in [
            (Included("c"), Excluded("c")),
            (Excluded("c"), Included("c")),
            (Excluded("c"), Excluded("c")),
            (Included("d"), Included("a")),
            (Excluded("d"), Excluded("a")),
        ] {
            assert_eq!(keys(reader, low, high, false), "");
            assert_eq!(keys(reader, low, high, true), "");
        }
    }
}

fn bounds_may_be_longer_than_any_key(kind: EngineKind) {
    let (_dir, engine) = new(kind);
    let (longest, beyond) = ("k".repeat(KEY_BYTES_MAX), "k".repeat(KEY_BYTES_MAX + 1));
    engine.apply(batch(&[("a", "1"), (&longest, "2"), ("z", "3")])).unwrap();
    for reverse in [false, true] {
        for bound in [Included::<&str>, Excluded] {
            assert_eq!(keys(&*engine, bound(&beyond), Unbounded, reverse), "z");
            let below = keys(&*engine, Unbounded, bound(&beyond), reverse);
            assert_eq!((below.len(), below.contains('a')), (KEY_BYTES_MAX + 2, true));
            assert_eq!(keys(&*engine, bound(&beyond), bound(&beyond), reverse), "");
        }
    }
}

fn scans_by_prefix(kind: EngineKind) {
    let (_dir, engine) = new(kind);
    let key = |prefix: u8, rest: u8| Bytes::from(vec![prefix, rest]);
    let changes = (0..=255).flat_map(|rest| [1, 2, 255].map(|prefix| (key(prefix, rest), Some(bytes("")))));
    engine.apply(Batch { changes: changes.collect() }).unwrap();
    for reverse in [false, true] {
        let found: Vec<_> = engine.scan(Included(&[2]), Excluded(&[3]), reverse).map(|pair| pair.unwrap().0).collect();
        let mut expected: Vec<_> = (0..=255).map(|rest| key(2, rest)).collect();
        if reverse {
            expected.reverse();
        }
        assert_eq!(found, expected);
        assert_eq!(engine.scan(Included(&[255]), Unbounded, reverse).count(), 256);
    }
}

fn scans_more_than_one_chunk(kind: EngineKind) {
    let (_dir, engine) = new(kind);
    let key = |n: u32| Bytes::from(format!("{n:06}"));
    let changes = (0..5_000).map(|n| (key(n), Some(Bytes::from(vec![0; (n % 700) as usize])))).collect();
    engine.apply(Batch { changes }).unwrap();
    let view = engine.view().unwrap();
    let removed = (0..5_000).filter(|n| n % 3 != 0).map(|n| (key(n), None)).collect();
    engine.apply(Batch { changes: removed }).unwrap();
    for reverse in [false, true] {
        let of = |reader: &dyn Read| {
            let mut keys: Vec<_> = reader.scan(Unbounded, Unbounded, reverse).map(|pair| pair.unwrap().0).collect();
            if reverse {
                keys.reverse();
            }
            keys
        };
        assert_eq!(of(&*view), (0..5_000).map(key).collect::<Vec<_>>());
        assert_eq!(of(&*engine), (0..5_000).filter(|n| n % 3 == 0).map(key).collect::<Vec<_>>());
    }
}

fn a_scan_is_of_one_moment(kind: EngineKind) {
    let (_dir, engine) = new(kind);
    for n in 1..=200 {
        engine.apply(history(n)).unwrap();
    }
    let expected = all(&*engine);
    let mut scan = engine.scan(Unbounded, Unbounded, false);
    let mut found = Map::from_iter(scan.by_ref().take(5).map(Result::unwrap));
    for n in 201..=400 {
        engine.apply(history(n)).unwrap();
    }
    found.extend(scan.map(Result::unwrap));
    assert_eq!(found, expected);
}

/// Every batch sets all of ten keys to the same value. Gets in key order may then only go up, as later gets come from
/// later states; views and scans show ten equal values.
fn readers_see_whole_batches(kind: EngineKind) {
    let (_dir, engine) = new(kind);
    let store = |n: u32| Batch {
        changes: (b'0'..=b'9')
            .map(|key| (Bytes::from(vec![key]), Some(Bytes::from(n.to_be_bytes().to_vec()))))
            .collect(),
    };
    engine.apply(store(0)).unwrap();
    let finished = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for n in 1..3_000 {
                engine.apply(store(n)).unwrap();
            }
            finished.store(true, Ordering::Release);
        });
        while !finished.load(Ordering::Acquire) {
            let gets: Vec<_> = (b'0'..=b'9').map(|key| engine.get(&[key]).unwrap().unwrap()).collect();
            assert!(gets.is_sorted(), "{gets:?}");
            let view = engine.view().unwrap();
            for reader in [&*engine as &dyn Read, &*view] {
                let values: Vec<_> = all(reader).into_values().collect();
                assert_eq!(values, vec![values[0].clone(); 10]);
            }
            let values: Vec<_> = (b'0'..=b'9').map(|key| view.get(&[key]).unwrap().unwrap()).collect();
            assert_eq!(values, vec![values[0].clone(); 10]);
        }
    });
}

fn a_view_does_not_change(kind: EngineKind) {
    let (_dir, engine) = new(kind);
    for n in 1..=300 {
        engine.apply(history(n)).unwrap();
    }
    let (view, expected) = (engine.view().unwrap(), all(&*engine));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for n in 301..=1_500 {
                engine.apply(history(n)).unwrap();
            }
        });
        for _ in 0..5 {
            assert_eq!(all(&*view), expected);
        }
    });
    assert_eq!(all(&*view), expected);
    assert_ne!(all(&*engine), expected);
    for n in 0..2_000 {
        let key = format!("key-{n:04}");
        assert_eq!(view.get(key.as_bytes()).unwrap().as_ref(), expected.get(key.as_bytes()));
    }
}

fn a_view_of_an_empty_engine_stays_empty(kind: EngineKind) {
    let (_dir, engine) = new(kind);
    let view = engine.view().unwrap();
    engine.apply(history(1)).unwrap();
    assert_eq!(all(&*view), Map::new());
    assert_eq!(view.get(engine::APPLIED).unwrap(), None);
}

fn views_of_different_moments_differ(kind: EngineKind) {
    let (_dir, engine) = new(kind);
    let mut views = Vec::new();
    for n in 0..5_u8 {
        engine.apply(batch(&[("a", &n.to_string())])).unwrap();
        views.push(engine.view().unwrap());
    }
    views.remove(2);
    for (view, n) in views.iter().zip(["0", "1", "3", "4"]) {
        assert_eq!(view.get(b"a").unwrap(), Some(bytes(n)));
    }
}

fn a_view_outlives_install(kind: EngineKind) {
    let (dir, engine) = new(kind);
    for n in 1..=200 {
        engine.apply(history(n)).unwrap();
    }
    let (view, expected) = (engine.view().unwrap(), all(&*engine));
    engine.install(&mut as_pairs(&Map::from([(bytes("new"), bytes("1"))]))).unwrap();
    engine.apply(batch(&[("newer", "2")])).unwrap();
    assert_eq!(all(&*view), expected);
    drop(view);
    assert_eq!(keys(&*engine, Unbounded, Unbounded, false), "new newer");
    let engine = reopen(&dir, engine, kind);
    assert_eq!(keys(&*engine, Unbounded, Unbounded, false), "new newer");
}

fn install_replaces_everything(kind: EngineKind) {
    let (dir, mut engine) = new(kind);
    for round in 1..=3_u64 {
        for n in 1..=50 {
            engine.apply(history(round * 100 + n)).unwrap();
        }
        let expected: Map = (0..3_000)
            .map(|n| (Bytes::from(format!("{n:05}")), Bytes::from(format!("{round}-{}", "y".repeat(n % 900)))))
            .collect();
        engine.install(&mut as_pairs(&expected)).unwrap();
        assert_eq!(all(&*engine), expected);
        engine = reopen(&dir, engine, kind);
        assert_eq!(all(&*engine), expected);
        engine.apply(batch(&[("00000", "-"), ("after", "1")])).unwrap();
        assert_eq!(engine.get(b"00000").unwrap(), None);
        engine = reopen(&dir, engine, kind);
        assert_eq!(all(&*engine).len(), expected.len());
    }
    if kind != EngineKind::Memory {
        let folders = std::fs::read_dir(dir.path().join("replica/engine")).unwrap().count();
        assert_eq!(folders, 2, "one generation and the file that names it");
    }
}

fn install_of_nothing_empties(kind: EngineKind) {
    let (dir, engine) = new(kind);
    engine.apply(history(1)).unwrap();
    engine.install(&mut std::iter::empty()).unwrap();
    assert_eq!(all(&*engine), Map::new());
    assert_eq!(all(&*reopen(&dir, engine, kind)), Map::new());
}

fn an_interrupted_install_changes_nothing(kind: EngineKind) {
    let (dir, engine) = new(kind);
    engine.apply(history(1)).unwrap();
    let expected = all(&*engine);
    let broken = || Error::Io { path: "the source".into(), reason: "cut".to_owned() };
    let pairs = (0..10_000).map(|n| Ok((Bytes::from(format!("{n:05}")), bytes("new"))));
    let error = engine.install(&mut pairs.chain([Err(broken())])).unwrap_err();
    assert_eq!(error.to_string(), broken().to_string());
    assert_eq!(all(&*engine), expected);
    engine.apply(history(2)).unwrap();
    let expected = all(&*engine);
    let engine = reopen(&dir, engine, kind);
    assert_eq!(all(&*engine), expected);
    engine.install(&mut as_pairs(&Map::from([(bytes("a"), bytes("1"))]))).unwrap();
    assert_eq!(keys(&*engine, Unbounded, Unbounded, false), "a");
}

fn install_is_repeatable(kind: EngineKind) {
    let (_dir, engine) = new(kind);
    let pairs = Map::from([(bytes("a"), Bytes::new()), (bytes("b"), Bytes::from(vec![1; 3 << 20]))]);
    for _ in 0..3 {
        engine.install(&mut as_pairs(&pairs)).unwrap();
        assert_eq!(all(&*engine), pairs);
    }
}

fn reopens_with_everything(kind: EngineKind) {
    let (dir, mut engine) = new(kind);
    let mut model = engine::Model::default();
    for round in 0..5 {
        for n in 1..=200 {
            engine.apply(history(round * 200 + n)).unwrap();
        }
        if round % 2 == 0 {
            engine.flush().unwrap();
        }
        engine = reopen(&dir, engine, kind);
        assert_eq!(model.check(&*engine), (round + 1) * 200);
    }
}
