//! How fast the engines take documents. By hand:
//! `cargo test --release -p quorate-shard-node --test engine_speed -- --ignored --nocapture`
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod engine;

use std::time::Instant;

use bytes::Bytes;
use common::config::EngineKind;
use rand::{RngExt, SeedableRng};
use shard_node::storage::{self, Batch};

const DOCUMENTS: u64 = 300_000;
const BATCH: u64 = 16;
/// The default of `storage.engine_cache_bytes`.
const CACHE_BYTES: u64 = 16 << 20;

/// About 1 KB, like JSON: half of it repeats.
fn document(random: &mut impl rand::Rng) -> Bytes {
    let mut text = String::with_capacity(1024);
    while text.len() < 1000 {
        text.push_str(&format!(r#"{{"name":"{:016x}","count":{}}},"#, random.random::<u64>(), random.random::<u16>()));
    }
    Bytes::from(text)
}

/// As a replica does: looks for each document in vain, stores it, its place by sequence, and the applied index.
fn load(kind: EngineKind, dir: &std::path::Path, documents: u64, seed: u64) {
    let engine = storage::open(kind, dir, CACHE_BYTES).unwrap();
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let (mut longest, start) = (0.0_f64, Instant::now());
    for n in 0..documents / BATCH {
        let mut changes = Vec::new();
        for i in 0..BATCH {
            let id = format!("d/{:032x}", random.random::<u128>());
            assert!(engine.get(id.as_bytes()).unwrap().is_none());
            let seq = format!("s/{:016x}", n * BATCH + i);
            changes.push((Bytes::from(seq), Some(Bytes::from(id.clone()))));
            changes.push((Bytes::from(id), Some(document(&mut random))));
        }
        changes.push((Bytes::from_static(engine::APPLIED), Some(Bytes::from(n.to_string()))));
        let before = Instant::now();
        engine.apply(Batch { changes }).unwrap();
        longest = longest.max(before.elapsed().as_secs_f64());
    }
    let loaded = start.elapsed().as_secs_f64();
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let start = Instant::now();
    let mut gets = 0;
    while gets < documents.min(50_000) {
        let id = format!("d/{:032x}", random.random::<u128>());
        assert!(engine.get(id.as_bytes()).unwrap().is_some());
        document(&mut random);
        gets += 1;
    }
    println!(
        "{kind:?}: {:.0} documents/s, longest apply {:.0} ms, {:.0} gets/s, {} MB",
        documents as f64 / loaded,
        longest * 1e3,
        gets as f64 / start.elapsed().as_secs_f64(),
        engine.size_bytes() >> 20
    );
}

fn usage() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let memory = status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"));
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Fields 14 and 15, counted from the state, which is field 3.
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let seconds = |field: usize| fields[field - 3].parse::<f64>().unwrap() / 100.0;
    format!("{} cpu {:.1}+{:.1} s", memory.collect::<Vec<_>>().join(" "), seconds(14), seconds(15))
}

#[test]
#[ignore = "a measurement"]
fn one_replica() {
    for kind in [EngineKind::Fjall, EngineKind::Sled, EngineKind::Memory] {
        let dir = tempfile::tempdir_in(".").unwrap();
        load(kind, &dir.path().join("engine"), DOCUMENTS, 1);
        println!("{}", usage());
    }
}

#[test]
#[ignore = "a measurement"]
fn three_replicas() {
    let kind = match std::env::var("ENGINE").as_deref() {
        Ok("sled") => EngineKind::Sled,
        _ => EngineKind::Fjall,
    };
    let dir = tempfile::tempdir_in(".").unwrap();
    std::thread::scope(|threads| {
        for replica in 0..3 {
            let dir = dir.path().join(replica.to_string());
            threads.spawn(move || load(kind, &dir, DOCUMENTS, replica));
        }
    });
    println!("{}", usage());
}
