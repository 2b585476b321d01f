//! Every engine, through any steps, holds what an ordered map would; so do its views.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod engine;

use std::ops::Bound::{self, Excluded, Included, Unbounded};

use bytes::Bytes;
use common::config::EngineKind;
use engine::{Map, all, apply_to, as_pairs, new, reopen};
use proptest::prelude::*;
use shard_node::storage::{Batch, Read};

#[test]
fn fjall_matches_a_map() {
    matches_a_map(EngineKind::Fjall);
}

#[test]
fn sled_matches_a_map() {
    matches_a_map(EngineKind::Sled);
}

#[test]
fn memory_matches_a_map() {
    matches_a_map(EngineKind::Memory);
}

#[derive(Debug, Clone)]
enum Step {
    Apply(Batch),
    Flush,
    Reopen,
    TakeView,
    DropView,
    Install(Map),
    Scan { low: Bound<Bytes>, high: Bound<Bytes>, reverse: bool },
}

fn small_key() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(b'a'), Just(254), Just(255)], 1..4)
        .prop_map(Bytes::from)
}

fn small_value() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn bound() -> impl Strategy<Value = Bound<Bytes>> {
    prop_oneof![Just(Unbounded), small_key().prop_map(Included), small_key().prop_map(Excluded)]
}

fn step() -> impl Strategy<Value = Step> {
    let change = (small_key(), prop::option::weighted(0.7, small_value()));
    prop_oneof![
        8 => prop::collection::vec(change, 0..12).prop_map(|changes| Step::Apply(Batch { changes })),
        6 => (bound(), bound(), any::<bool>()).prop_map(|(low, high, reverse)| Step::Scan { low, high, reverse }),
        2 => Just(Step::TakeView),
        1 => Just(Step::DropView),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => prop::collection::btree_map(small_key(), small_value(), 0..30).prop_map(Step::Install),
    ]
}

fn within(map: &Map, low: &Bound<Bytes>, high: &Bound<Bytes>, reverse: bool) -> Vec<(Bytes, Bytes)> {
    let above = |key: &Bytes| match low {
        Unbounded => true,
        Included(low) => key >= low,
        Excluded(low) => key > low,
    };
    let below = |key: &Bytes| match high {
        Unbounded => true,
        Included(high) => key <= high,
        Excluded(high) => key < high,
    };
    let mut pairs: Vec<_> =
        map.iter().filter(|(key, _)| above(key) && below(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
    if reverse {
        pairs.reverse();
    }
    pairs
}

fn matches_a_map(kind: EngineKind) {
    // Each case opens databases on disk several times; memory is where many cases are cheap, and it shares its views
    // with sled.
    let cases = if kind == EngineKind::Memory { 400 } else { 25 };
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..60))| {
        let (dir, mut engine) = new(kind);
        let mut model = Map::new();
        let mut views: Vec<(Box<dyn Read>, Map)> = Vec::new();
        for step in steps {
            match step {
                Step::Apply(batch) => {
                    engine.apply(batch.clone()).unwrap();
                    apply_to(&mut model, batch);
                }
                Step::Flush => engine.flush().unwrap(),
                Step::Reopen => {
                    views.clear();
                    engine = reopen(&dir, engine, kind);
                }
                Step::TakeView => views.push((engine.view().unwrap(), model.clone())),
                Step::DropView => drop(views.pop()),
                Step::Install(pairs) => {
                    engine.install(&mut as_pairs(&pairs)).unwrap();
                    model = pairs;
                }
                Step::Scan { low, high, reverse } => {
                    let mut readers: Vec<(&dyn Read, &Map)> = vec![(&*engine, &model)];
                    readers.extend(views.iter().map(|(view, map)| (&**view, map)));
                    for (reader, map) in readers {
                        let bounds = (low.as_ref().map(|key| &key[..]), high.as_ref().map(|key| &key[..]));
                        let found: Vec<_> = reader.scan(bounds.0, bounds.1, reverse).map(Result::unwrap).collect();
                        prop_assert_eq!(found, within(map, &low, &high, reverse));
                        if let Included(key) | Excluded(key) = &low {
                            prop_assert_eq!(reader.get(key).unwrap(), map.get(key).cloned());
                        }
                    }
                }
            }
        }
        views.clear();
        let engine = reopen(&dir, engine, kind);
        prop_assert_eq!(all(&*engine), model);
    });
}
