use std::collections::BTreeMap;

use common::command::{EditKind, Op, Outcome, Purge};
use common::ids::Index;
use common::mango::{Value, key};
use common::rev::Rev;
use common::view::{Builtin, Group, GroupLevel, Partial, Reducing, Rows, Span};
use proptest::prelude::*;

use super::super::testing::{Map, address, command, db, edit, id};
use super::*;

const DB: fn() -> DbUid = || db(1);

fn group() -> Group {
    let maps = vec!["a".into(), "b".into()];
    Group { maps, library: "{}".into(), include_design: false, local_seq: false, by_partition: false }
}

/// What stands for two map functions: the first emits each item of `k` with `v`, the second the id.
fn mapped(id: &DocId, text: &str) -> Mapped {
    let doc = Value::parse(text.as_bytes()).expect("a document");
    assert_eq!(doc.get("_id").and_then(Value::as_str), Some(id.as_str()));
    let pairs = match doc.get("k") {
        Some(Value::Array(keys)) => {
            let value = doc.get("v").map_or("null".to_owned(), Value::to_json);
            keys.iter().map(|key| format!("[{},{value}]", key.to_json())).collect::<Vec<_>>().join(",")
        }
        _ => String::new(),
    };
    let mut rows = rows_of(0, &format!("[{pairs}]")).expect("short keys");
    rows.extend(rows_of(1, &format!("[[{},1]]", serde_json::Value::from(id.as_str()))).expect("a short key"));
    Mapped { rows, skipped: false }
}

/// Takes in all there is.
fn bring_up(map: &mut Map, group: &Group) -> State {
    let signature = group.signature();
    loop {
        let state = state(map, DB(), signature).expect("sound").unwrap_or_default();
        let pending = pending(map, DB(), group, &state).expect("sound").expect("not dropped");
        let Ok(Pending { docs, seq, purges, complete }) = pending else {
            let batch = clear(map, DB(), signature, usize::MAX).expect("sound");
            map.apply(batch);
            continue;
        };
        let mapped = docs.into_iter().map(|PendingDoc { id, text }| {
            let mapped = text.map_or_else(Mapped::default, |text| mapped(&id, &text));
            (id, mapped)
        });
        let (batch, state) =
            fold(map, (DB(), signature, false), &state, mapped.collect(), (seq, purges)).expect("sound");
        map.apply(batch);
        if complete {
            return state;
        }
    }
}

fn everything(limit: u32) -> Rows {
    Rows {
        spans: vec![Span { low: Bytes::new(), high: None }],
        descending: false,
        after: None,
        limit,
        docs: true,
        conflicts: false,
        count_before: true,
        reducing: None,
    }
}

/// All rows of a map, page by page: key, id, value.
fn read_all(map: &Map, group: &Group, of: u32, mut asked: Rows) -> Vec<(String, String, String)> {
    let signature = group.signature();
    let state = state(map, DB(), signature).expect("sound").unwrap_or_default();
    let mut all = Vec::new();
    loop {
        let raw = Raw { db: DB(), signature, map: of, rows: &asked };
        let page = rows(map, &raw, &state).expect("sound");
        all.extend(page.rows.iter().map(|row| {
            assert!(row.doc.is_some(), "its document is there");
            (row.key.to_string(), row.id.to_string(), row.value.to_string())
        }));
        match page.resume {
            Some(resume) => asked.after = Some(resume),
            None => return all,
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize, Vec<i8>, i8),
    Delete(usize),
    Purge(usize),
    BringUp,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..6, prop::collection::vec(-2i8..3, 0..4), any::<i8>()).prop_map(|(doc, keys, v)| Step::Put(doc, keys, v)),
        1 => (0usize..6).prop_map(Step::Delete),
        1 => (0usize..6).prop_map(Step::Purge),
        2 => Just(Step::BringUp),
    ]
}

/// A store, and what should be in it: for each document its revision, keys and value.
struct World {
    map: Map,
    docs: BTreeMap<String, (Rev, Vec<i8>, i8, bool)>,
    entry: u64,
    infos_limit: u32,
}

impl World {
    fn new(infos_limit: u32) -> Self {
        Self { map: Map::owning_all(), docs: BTreeMap::new(), entry: 0, infos_limit }
    }

    fn command(&mut self, op: Op) -> Outcome {
        self.entry += 1;
        let (outcomes, _) = self.map.fold(Index(self.entry), &[command(u128::from(self.entry), op)]);
        outcomes.into_iter().next().expect("an outcome")
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Put(doc, keys, value) => {
                let name = format!("d{doc}");
                let parent = self.docs.get(&name).map(|(rev, ..)| rev.clone());
                let json = format!(r#"{{"k":{keys:?},"v":{value}}}"#);
                let op = edit(address(DB(), &name), parent, EditKind::Update, &json, 10);
                if let Outcome::Written { rev, .. } = self.command(op) {
                    self.docs.insert(name, (rev, keys.clone(), *value, false));
                }
            }
            Step::Delete(doc) => {
                let name = format!("d{doc}");
                let Some((rev, .., false)) = self.docs.get(&name).cloned() else { return };
                let op = edit(address(DB(), &name), Some(rev), EditKind::Delete, "{}", 10);
                if let Outcome::Written { rev, .. } = self.command(op) {
                    self.docs.insert(name, (rev, Vec::new(), 0, true));
                }
            }
            Step::Purge(doc) => {
                let name = format!("d{doc}");
                let Some((rev, ..)) = self.docs.remove(&name) else { return };
                let op = Op::Purge(Purge { doc: address(DB(), &name), revs: vec![rev], infos_limit: self.infos_limit });
                assert!(matches!(self.command(op), Outcome::Purged { .. }));
            }
            Step::BringUp => {
                bring_up(&mut self.map, &group());
            }
        }
    }

    fn wanted(&self) -> Vec<(String, String, String)> {
        let mut rows: Vec<(i8, String, usize, String)> = Vec::new();
        for (name, (_, keys, value, deleted)) in &self.docs {
            if !deleted {
                rows.extend(keys.iter().enumerate().map(|(at, key)| (*key, name.clone(), at, value.to_string())));
            }
        }
        rows.sort();
        rows.into_iter().map(|(key, id, _, value)| (key.to_string(), id, value)).collect()
    }
}

proptest! {
    #[test]
    fn an_index_kept_up_equals_one_made_anew_equals_brute_force(
        steps in prop::collection::vec(any_step(), 0..60), limit in 1u32..5, infos_limit in 1u32..4
    ) {
        let mut world = World::new(infos_limit);
        for step in &steps {
            world.step(step);
        }
        let state = bring_up(&mut world.map, &group());
        let kept = read_all(&world.map, &group(), 0, everything(limit));
        prop_assert_eq!(&kept, &world.wanted());
        prop_assert_eq!(state.counts.first().copied().unwrap_or(0), kept.len() as u64);
        let backwards = read_all(&world.map, &group(), 0, Rows { descending: true, ..everything(limit) });
        prop_assert_eq!(backwards.into_iter().rev().collect::<Vec<_>>(), kept.clone());
        let live = world.docs.values().filter(|(.., deleted)| !deleted).count();
        prop_assert_eq!(read_all(&world.map, &group(), 1, everything(limit)).len(), live);
        let cleared = clear(&world.map, DB(), group().signature(), usize::MAX).expect("sound");
        world.map.apply(cleared);
        prop_assert!(signatures(&world.map, DB()).expect("sound").is_empty());
        bring_up(&mut world.map, &group());
        prop_assert_eq!(read_all(&world.map, &group(), 0, everything(limit)), kept);
    }

    #[test]
    fn groups_are_what_their_rows_come_to(steps in prop::collection::vec(any_step(), 0..60), limit in 1u32..4) {
        let mut world = World::new(10);
        for step in &steps {
            world.step(step);
        }
        let state = bring_up(&mut world.map, &group());
        for (level, one) in [(GroupLevel::Exact, false), (GroupLevel::All, true)] {
            let reducing = Reducing { by: Ok(Builtin::Sum), level };
            let mut asked = Rows { reducing: Some(reducing.clone()), ..everything(limit) };
            let mut sums: Vec<(String, Partial)> = Vec::new();
            loop {
                let raw = Raw { db: DB(), signature: group().signature(), map: 0, rows: &asked };
                let page = groups(&world.map, &raw, &reducing, &state).expect("sound");
                for group in page.groups {
                    match sums.last_mut().filter(|(key, _)| **key == *group.key) {
                        Some((_, sum)) => sum.merge(group.partial),
                        None => sums.push((group.key.to_string(), group.partial)),
                    }
                }
                match page.resume {
                    Some(resume) => asked.after = Some(resume),
                    None => break,
                }
            }
            let mut wanted: Vec<(String, i64)> = Vec::new();
            for (key, _, value) in world.wanted() {
                let key = if one { "null".to_owned() } else { key };
                let value: i64 = value.parse().expect("a number");
                match wanted.last_mut().filter(|(known, _)| *known == key) {
                    Some((_, sum)) => *sum += value,
                    None => wanted.push((key, value)),
                }
            }
            let shown: Vec<(String, String)> = sums.iter().map(|(key, sum)| (key.clone(), sum.show())).collect();
            prop_assert_eq!(shown, wanted.iter().map(|(key, sum)| (key.clone(), sum.to_string())).collect::<Vec<_>>());
        }
    }
}

#[test]
fn more_purges_than_a_step_takes_leave_no_row() {
    let mut world = World::new(1_000);
    let many = 2 * super::pending::DOCS_MAX + 1;
    (0..many).for_each(|n| world.step(&Step::Put(n, vec![1], 0)));
    let state = bring_up(&mut world.map, &group());
    assert_eq!(state.counts[0], many as u64);
    // The last one stays: purges move no stream.
    (0..many - 1).for_each(|n| world.step(&Step::Purge(n)));
    bring_up(&mut world.map, &group());
    assert_eq!(read_all(&world.map, &group(), 0, everything(10)), world.wanted());
    assert_eq!(world.wanted().len(), 1);
}

#[test]
fn a_key_that_no_engine_holds_is_refused() {
    let long = format!("[[\"{}\",1]]", "x".repeat(60_000));
    assert_eq!(rows_of(0, &long), Err(TooLong));
    assert_eq!(rows_of(0, "[[\"x\",1]]").expect("short")[0].sorts_as, key::of(&Value::String("x".into())));
}

#[test]
fn a_dropped_database_has_nothing_to_map_and_its_indexes_are_swept() {
    let mut world = World::new(10);
    world.step(&Step::Put(1, vec![1], 1));
    bring_up(&mut world.map, &group());
    assert_eq!(signatures(&world.map, DB()).expect("sound"), [group().signature()]);
    world.command(Op::DropDb { db: DB() });
    assert_eq!(pending(&world.map, DB(), &group(), &State::default()).expect("sound"), None);
    let batch = crate::store::sweep(&world.map, 1_000).expect("sound");
    world.map.apply(batch);
    assert!(signatures(&world.map, DB()).expect("sound").is_empty());
    assert_eq!(id("d1").as_str(), "d1");
}

#[test]
fn an_index_that_is_not_kept_loses_its_state_and_the_rest_is_left_over() {
    let mut world = World::new(10);
    world.step(&Step::Put(1, vec![1], 1));
    let other = Group { local_seq: true, ..group() };
    for group in [&group(), &other] {
        bring_up(&mut world.map, group);
    }
    assert!(leftovers(&world.map).expect("sound").is_empty());
    let keep = Op::KeepViews { db: DB(), signatures: vec![other.signature()] };
    assert_eq!(world.command(keep), Outcome::Done);
    let of = |group: &Group| (DB(), group.signature());
    assert_eq!(state(&world.map, DB(), group().signature()).expect("sound"), None);
    assert!(state(&world.map, DB(), other.signature()).expect("sound").is_some());
    assert_eq!(leftovers(&world.map).expect("sound"), [of(&group())]);
    let batch = clear(&world.map, DB(), group().signature(), usize::MAX).expect("sound");
    world.map.apply(batch);
    assert_eq!(signatures(&world.map, DB()).expect("sound"), [other.signature()]);
    world.command(Op::DropDb { db: DB() });
    assert_eq!(world.command(Op::KeepViews { db: DB(), signatures: Vec::new() }), Outcome::Dropped);
}

#[test]
fn a_snapshot_leaves_indexes_out() {
    let mut world = World::new(10);
    world.step(&Step::Put(1, vec![1], 1));
    bring_up(&mut world.map, &group());
    let pairs = crate::store::snapshot::pairs(&world.map);
    let views = pairs.filter(|pair| matches!(pair, Ok((key, _)) if matches!(Key::decode(key), Ok(Key::View(..)))));
    assert_eq!(views.count(), 0);
}
