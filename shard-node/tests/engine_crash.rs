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

/// What a power cut can leave: the pages behind the last fsync are there or not, in any selection.
#[test]
fn fjall_gives_up_only_what_was_not_flushed_when_a_page_of_its_journal_is_missing() {
    use std::io::{Seek, SeekFrom, Write};
    let mut random = random();
    for _ in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        let flushed = random.random_range(1..60);
        let engine = open(EngineKind::Fjall, dir.path());
        (1..=flushed).for_each(|n| engine.apply(history(n)).unwrap());
        engine.flush().unwrap();
        let journal = dir.path().join("0/0.jnl");
        let synced = synced_bytes(&dir.path().join("0/journal.synced"));
        (flushed + 1..flushed + 60).for_each(|n| engine.apply(history(n)).unwrap());
        drop(engine);

        let mut file = std::fs::File::options().write(true).open(&journal).unwrap();
        let hole = synced + random.random_range(0..20_000);
        file.seek(SeekFrom::Start(hole)).unwrap();
        file.write_all(&[0; 64]).unwrap();
        drop(file);

        let now = Model::default().check(&*open(EngineKind::Fjall, dir.path()));
        assert!((flushed..flushed + 60).contains(&now), "flushed {flushed}, came back {now}");
    }
}

fn synced_bytes(note: &std::path::Path) -> u64 {
    std::fs::read_to_string(note).unwrap().split_whitespace().last().unwrap().parse().unwrap()
}
