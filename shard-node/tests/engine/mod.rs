//! What the engine tests share: short forms, and the history that the crash tests write and check.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use common::config::EngineKind;
use shard_node::storage::{self, Batch, Engine, Error, Pair, Read};

pub(crate) type Map = BTreeMap<Bytes, Bytes>;

pub(crate) const CACHE_BYTES: u64 = 4 << 20;
/// The key under which every batch of a history stores its number, as a replica stores its applied index.
pub(crate) const APPLIED: &[u8] = b"applied";

pub(crate) fn open(kind: EngineKind, dir: &Path) -> Arc<dyn Engine> {
    storage::open(kind, dir, CACHE_BYTES).unwrap_or_else(|error| panic!("{kind:?} does not open: {error}"))
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// `("a", "1")` stores, `("a", "-")` deletes.
pub(crate) fn batch(changes: &[(&str, &str)]) -> Batch {
    let change = |(key, value): &(&str, &str)| (bytes(key), (*value != "-").then(|| bytes(value)));
    Batch { changes: changes.iter().map(change).collect() }
}

pub(crate) fn all(reader: &dyn Read) -> Map {
    reader.scan(Bound::Unbounded, Bound::Unbounded, false).collect::<Result<_, _>>().unwrap()
}

pub(crate) fn as_pairs(map: &Map) -> impl Iterator<Item = Result<Pair, Error>> {
    map.clone().into_iter().map(Ok)
}

/// The `n`th batch of a history: stores, overwrites and deletes, all of it a function of `n`.
pub(crate) fn history(n: u64) -> Batch {
    let mut changes = Vec::new();
    for i in 0..8 {
        let key = Bytes::from(format!("key-{:04}", n.wrapping_mul(7919).wrapping_add(i * 131) % 2000));
        let size = (n * 37 + i * 211) % 1500;
        let value = !(n + i).is_multiple_of(5);
        changes.push((key, value.then(|| Bytes::from(format!("{n}-{i}-{}", "x".repeat(size as usize))))));
    }
    changes.push((Bytes::from_static(APPLIED), Some(Bytes::from(n.to_string()))));
    Batch { changes }
}

pub(crate) fn apply_to(map: &mut Map, batch: Batch) {
    for (key, value) in batch.changes {
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}

/// The number of the last batch of a history that `reader` has.
pub(crate) fn applied(reader: &dyn Read) -> u64 {
    let value = reader.get(APPLIED).unwrap();
    value.map_or(0, |value| std::str::from_utf8(&value).unwrap().parse().unwrap())
}

/// The pairs after the first `n` batches of a history. Extends what it knows, so checking round after round is cheap.
#[derive(Default)]
pub(crate) struct Model {
    n: u64,
    map: Map,
}

impl Model {
    pub(crate) fn at(&mut self, n: u64) -> &Map {
        if n < self.n {
            *self = Self::default();
        }
        while self.n < n {
            self.n += 1;
            apply_to(&mut self.map, history(self.n));
        }
        &self.map
    }

    /// Checks that `reader` holds exactly the first batches of a history, whole ones. Returns how many.
    pub(crate) fn check(&mut self, reader: &dyn Read) -> u64 {
        let n = applied(reader);
        let (found, expected) = (all(reader), self.at(n));
        assert_eq!(found.len(), expected.len(), "number of pairs after batch {n}");
        for (key, value) in expected {
            assert_eq!(found.get(key), Some(value), "{key:?} after batch {n}");
        }
        n
    }
}

/// A new engine in a folder of its own.
pub(crate) fn new(kind: EngineKind) -> (tempfile::TempDir, Arc<dyn Engine>) {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(kind, &dir.path().join("replica").join("engine"));
    (dir, engine)
}

/// Closes in order, as a node does, and opens again. Memory has nothing to come back to and stays open.
pub(crate) fn reopen(dir: &tempfile::TempDir, engine: Arc<dyn Engine>, kind: EngineKind) -> Arc<dyn Engine> {
    if kind == EngineKind::Memory {
        return engine;
    }
    engine.flush().unwrap();
    drop(engine);
    open(kind, &dir.path().join("replica").join("engine"))
}
