//! The disk engines come back from `kill -9` as whole batches, in order, with everything flushed.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "engine/child.rs"]
mod child;
mod engine;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use common::config::EngineKind;
use engine::{Map, Model, all, applied, as_pairs, history, open};
use rand::{RngExt, SeedableRng};
use shard_node::storage::Batch;

const ROUNDS: u32 = 25;

#[test]
fn fjall_survives_kill() {
    survives_kill(EngineKind::Fjall);
}

#[test]
fn sled_survives_kill() {
    survives_kill(EngineKind::Sled);
}

#[test]
fn fjall_survives_kill_during_install() {
    survives_kill_during_install(EngineKind::Fjall);
}

#[test]
fn sled_survives_kill_during_install() {
    survives_kill_during_install(EngineKind::Sled);
}

fn random() -> rand::rngs::StdRng {
    let seed = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("repeat with SEED={seed}");
    rand::rngs::StdRng::seed_from_u64(seed)
}

/// What the child processes do; nothing in a normal run.
#[test]
fn child_job() {
    let Some(job) = child::job() else { return };
    let engine = open(job.kind, &job.dir);
    match job.word.as_str() {
        "apply" => {
            for n in applied(&*engine) + 1.. {
                engine.apply(history(n)).unwrap();
                if n.is_multiple_of(97) {
                    engine.flush().unwrap();
                    child::report("flushed", n);
                }
            }
        }
        "large" => {
            for n in applied(&*engine) + 1.. {
                engine.apply(large(n)).unwrap();
                // More than two memtables: the first one has been written.
                if n.is_multiple_of(128) {
                    child::report("applied", n);
                }
            }
        }
        "install" => {
            for round in 1.. {
                engine.install(&mut as_pairs(&installed(round))).unwrap();
                child::report("installed", round);
            }
        }
        word => panic!("{word}"),
    }
}

fn survives_kill(kind: EngineKind) {
    let mut random = random();
    let dir = tempfile::tempdir().unwrap();
    let (mut model, mut before, mut stops) = (Model::default(), 0, BTreeSet::new());
    for round in 0..ROUNDS {
        let running = child::start("child_job", "apply", kind, dir.path());
        let mut reports = Vec::new();
        // The first rounds hit the making of the database, the others its use.
        let time = if round < 8 {
            random.random_range(0..30)
        } else {
            reports.extend(running.next());
            random.random_range(0..250)
        };
        reports.extend(running.wait(Duration::from_millis(time)));
        reports.extend(running.kill());

        let engine = open(kind, dir.path());
        let now = model.check(&*engine);
        assert!(now >= child::last(&reports, "flushed"), "round {round}: flushed batches are gone");
        assert!(now >= before, "round {round}: what an earlier round had is gone");
        stops.insert(now);
        before = now;
    }
    println!("{kind:?}: {} batches, stopped at {} different ones", before, stops.len());
    assert!(stops.len() > 3, "the kills came too early to mean anything");
}

/// What the `round`th install puts in.
fn installed(round: u64) -> Map {
    let value = |n: u64| Bytes::from(format!("{round}-{}", "z".repeat((n % 400) as usize)));
    (0..2_000 + round % 7).map(|n| (Bytes::from(format!("{n:06}")), value(n))).collect()
}

fn survives_kill_during_install(kind: EngineKind) {
    let mut random = random();
    let dir = tempfile::tempdir().unwrap();
    let mut installs = 0;
    for round in 0..ROUNDS {
        let running = child::start("child_job", "install", kind, dir.path());
        let mut reports = Vec::new();
        // Every other round lets one install finish, however slow the machine is.
        if round % 2 == 1 {
            reports.extend(running.next());
        }
        reports.extend(running.wait(Duration::from_millis(random.random_range(0..150))));
        reports.extend(running.kill());
        installs += reports.len();

        let last = child::last(&reports, "installed");
        let found = all(&*open(kind, dir.path()));
        let expected = [last, last + 1].map(|round| if round == 0 { Map::new() } else { installed(round) });
        // Nothing installed in this round: what an earlier round left is there.
        let earlier = last == 0 && (1..200).any(|round| found == installed(round));
        assert!(expected.contains(&found) || earlier, "round {round}: {} pairs after install {last}", found.len());
    }
    println!("{kind:?}: {installs} installs");
    assert!(installs > 3, "the kills came too early to mean anything");
}

/// A batch that fills a good part of what an engine keeps in memory.
fn large(n: u64) -> Batch {
    let mut batch = history(n);
    for part in 0..8 {
        let value = Bytes::from(vec![(n % 251) as u8; 20_000]);
        batch.changes.push((Bytes::from(format!("large-{}-{part}", n % 5)), Some(value)));
    }
    batch
}

/// Nobody flushes: what is there is what the engine has written by itself.
#[test]
fn fjall_ends_no_memtable_within_a_batch() {
    let mut random = random();
    let dir = tempfile::tempdir().unwrap();
    let (mut expected, mut before, mut stops) = (Map::new(), 0, BTreeSet::new());
    for round in 0..ROUNDS {
        let running = child::start("child_job", "large", EngineKind::Fjall, dir.path());
        let mut reports = Vec::from_iter(running.next());
        reports.extend(running.wait(Duration::from_millis(random.random_range(0..400))));
        reports.extend(running.kill());

        let engine = open(EngineKind::Fjall, dir.path());
        let now = applied(&*engine);
        assert!(now >= before, "round {round}: what an earlier round had is gone");
        (before + 1..=now).for_each(|n| engine::apply_to(&mut expected, large(n)));
        assert!(all(&*engine) == expected, "round {round}: not the first {now} batches");
        stops.insert(now);
        before = now;
    }
    println!("{before} batches, stopped at {} different ones", stops.len());
    assert!(stops.len() > 3, "the kills came too early to mean anything");
}
