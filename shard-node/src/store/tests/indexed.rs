//! Random histories with indexes made, dropped and kept meanwhile: what is found through an index is what is found
//! without one and what a look at every document finds, and the order of batches makes no difference.

use std::collections::BTreeMap;

use common::command::{Command, EditKind, Op};
use common::ids::Index;
use common::mango::bounds::bounds;
use common::mango::index::{Definition, Index as Defined, of_ddoc};
use common::mango::kept::Kept;
use common::mango::plan::{self, Query as Question, UseIndex};
use common::mango::{Projection, Selector, Sort, Value, key};
use common::query::{Answer, Find, FindPage, Place, Query};
use common::rev::Rev;
use proptest::prelude::*;

use crate::store::apply::{Apply, Folded};
use crate::store::testing::{Map, address, command, db, edit};
use crate::store::{indexes, read, snapshot};

const DDOCS: [&str; 3] = [
    r#"{"language":"query","views":{"a":{"map":{"fields":{"a":"asc"}},"options":{}}}}"#,
    r#"{"language":"query","views":{"ab":{"map":{"fields":{"a":"asc","b.c":"asc"}},"options":{}},
        "b":{"map":{"fields":{"b":"asc"}},"options":{}}}}"#,
    r#"{"language":"query","views":{"p":{"map":{"fields":{"a":"asc"},
        "partial_filter_selector":{"b":{"$exists":true}}},"options":{}}}}"#,
];
const SELECTORS: [&str; 9] = [
    r#"{"a":{"$gt":1}}"#,
    r#"{"a":{"$gte":null,"$lt":"b"}}"#,
    r#"{"a":2,"b.c":{"$gte":1}}"#,
    r#"{"a":{"$exists":true},"b":{"$exists":true}}"#,
    r#"{"b":{"$lte":{"c":2}}}"#,
    r#"{"a":{"$beginsWith":"a"}}"#,
    r#"{"a":{"$gt":"A"},"$or":[{"b.c":1},{"b":[1]}]}"#,
    r#"{"a":{"$in":[1,"ä",true]},"b":{"$ne":1}}"#,
    r#"{"a":{"$gt":9007199254740992}}"#,
];
const VALUES: [&str; 16] = [
    "null",
    "true",
    "false",
    "0",
    "1",
    "2.0",
    "-1e3",
    "9007199254740993",
    "\"a\"",
    "\"A\"",
    "\"ä\"",
    "\"ab\"",
    "[]",
    "[1]",
    "{}",
    "{\"c\":1}",
];

#[derive(Debug, Clone)]
enum Step {
    Put { id: u8, a: Option<usize>, b: Option<usize> },
    Delete { id: u8 },
    Define { ddoc: usize, live: bool },
    Keep,
    Build,
}

fn any_step() -> impl Strategy<Value = Step> {
    let value = || prop::option::weighted(0.8, 0..VALUES.len());
    prop_oneof![
        20 => (0u8..12, value(), value()).prop_map(|(id, a, b)| Step::Put { id, a, b }),
        4 => (0u8..12).prop_map(|id| Step::Delete { id }),
        3 => (0..DDOCS.len(), prop::bool::weighted(0.8)).prop_map(|(ddoc, live)| Step::Define { ddoc, live }),
        4 => Just(Step::Keep),
        4 => Just(Step::Build),
    ]
}

/// What the design documents define.
fn wanted(map: &Map) -> Vec<Kept> {
    let known = indexes(map, db(0)).expect("a sound store");
    let kept = |ddoc: &str, definition: &Definition| Kept {
        ddoc: ddoc.into(),
        definition: definition.clone(),
        by_partition: false,
        keys: key::VERSION,
    };
    known.defined.iter().flat_map(|(ddoc, all)| all.iter().map(|one| kept(ddoc, one))).collect()
}

/// The winner of a document: its revision, if it is there at all.
fn winner(map: &Map, id: &str) -> Option<Rev> {
    let query =
        Query::Doc { db: db(0), id: crate::store::testing::id(id), revs: common::query::Revs::Winner, tree: false };
    let Ok(Answer::Doc(doc)) = read(map, &query) else { panic!("a document answers this") };
    doc.and_then(|doc| doc.found.into_iter().next()).filter(|found| !found.deleted).map(|found| found.rev)
}

fn made(map: &Map, n: u128, step: &Step) -> Command {
    let put = |name: &str, json: Option<String>| {
        let kind = if json.is_some() { EditKind::Update } else { EditKind::Delete };
        edit(address(db(0), name), winner(map, name), kind, json.as_deref().unwrap_or("{}"), 3)
    };
    let op = match step {
        Step::Put { id, a, b } => {
            let member = |name, value: &Option<usize>| value.map(|value| format!("\"{name}\":{}", VALUES[value]));
            let members: Vec<String> = [member("a", a), member("b", b)].into_iter().flatten().collect();
            put(&format!("d{id}"), Some(format!("{{{}}}", members.join(","))))
        }
        Step::Delete { id } => put(&format!("d{id}"), None),
        Step::Define { ddoc, live } => put(&format!("_design/{ddoc}"), live.then(|| DDOCS[*ddoc].to_owned())),
        Step::Keep => {
            let version = indexes(map, db(0)).expect("a sound store").version;
            Op::AdoptIndexes { db: db(0), version, indexes: wanted(map) }
        }
        Step::Build => Op::BuildIndexes { db: db(0) },
    };
    command(n + 1_000, op)
}

/// All that is found, a few at a time.
fn found(map: &Map, find: &Find) -> Vec<(Place, Rev)> {
    let (mut all, mut after): (Vec<(Place, Rev)>, Option<Place>) = (Vec::new(), None);
    loop {
        let query = Query::Find(Box::new(Find { after, ..find.clone() }));
        let Ok(Answer::Found(FindPage { rows, resume, .. })) = read(map, &query) else { panic!("found") };
        all.extend(rows.into_iter().map(|row| (row.place, row.rev)));
        match resume {
            Some(place) => after = Some(place),
            None => return all,
        }
    }
}

/// Every whole index gives what a look at all documents gives, in its order, both ways.
fn check(map: &Map) {
    let known = indexes(map, db(0)).expect("a sound store");
    for text in SELECTORS {
        let selector = Selector::parse(text.as_bytes()).expect("a selector");
        let find = Find {
            db: db(0),
            selector: selector.to_json().into(),
            index: None,
            version: None,
            low: bytes::Bytes::new(),
            high: None,
            descending: false,
            after: None,
            limit: 3,
            conflicts: false,
        };
        let brute = brute(map, &selector);
        let ids = |found: &[(Place, Rev)]| found.iter().map(|(place, _)| place.id.to_string()).collect::<Vec<_>>();
        assert_eq!(ids(&found(map, &find)), brute, "{text} without an index");
        for kept in known.kept.iter().filter(|kept| kept.complete) {
            let defined = [Defined { ddoc: kept.index.ddoc.clone(), definition: kept.index.definition.clone() }];
            let this = UseIndex { ddoc: kept.index.ddoc.clone(), name: Some(kept.index.definition.name.clone()) };
            let question = Question {
                selector: &selector,
                sort: &Sort::default(),
                projection: &Projection::default(),
                use_index: Some(&this),
                allow_fallback: true,
                partition: None,
                partitioned: false,
            };
            let plan = plan::choose(&question, &defined, false).expect("a plan").0.expect("a plan");
            if plan.index.is_none() || plan.nothing {
                continue;
            }
            let ends = bounds(&plan, None);
            let (low, high) = (ends.low.into(), ends.high.map(Into::into));
            let up = found(map, &Find { index: Some(kept.number), low, high, ..find.clone() });
            assert!(up.is_sorted_by(|(a, _), (b, _)| a < b));
            let down = Find { descending: true, ..find.clone() };
            let ends = bounds(&plan, None);
            let (low, high) = (ends.low.into(), ends.high.map(Into::into));
            let mut down = found(map, &Find { index: Some(kept.number), low, high, ..down });
            down.reverse();
            assert_eq!(up, down, "{text} both ways");
            let mut sorted = ids(&up);
            sorted.sort();
            let of_partial: Vec<String> = match kept.index.definition.partial_selector() {
                Some(partial) => {
                    let inside = self::brute(map, &partial);
                    brute.iter().filter(|id| inside.contains(id)).cloned().collect()
                }
                None => brute.clone(),
            };
            assert_eq!(sorted, of_partial, "{text} through {}", kept.index.definition.name);
        }
    }
}

/// The ids of all documents that match, by parsing each as a whole.
fn brute(map: &Map, selector: &Selector) -> Vec<String> {
    let matches = |name: &String| {
        let query = Query::Doc {
            db: db(0),
            id: crate::store::testing::id(name),
            revs: common::query::Revs::Winner,
            tree: false,
        };
        let Ok(Answer::Doc(Some(doc))) = read(map, &query) else { return false };
        let Some(found) = doc.found.first().filter(|found| !found.deleted) else { return false };
        selector.matches(&Value::parse(&found.json).expect("JSON"))
    };
    let mut names: Vec<String> = (0..12).map(|n| format!("d{n}")).collect();
    names.sort();
    names.into_iter().filter(matches).collect()
}

proptest! {
    #[test]
    fn indexes_find_what_is_there(steps in prop::collection::vec(any_step(), 1..60), cuts in prop::collection::vec(1usize..9, 60)) {
        let mut map = Map::owning_all();
        let mut commands = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            let command = made(&map, n as u128, step);
            map.fold(Index(n as u64 + 1), std::slice::from_ref(&command));
            commands.push(command);
            if n % 8 == 0 {
                check(&map);
            }
        }
        // The same commands in other batches give the same store.
        let mut other = Map::owning_all();
        let mut entries = commands.iter().zip(1u64..).peekable();
        for cut in cuts {
            let mut apply = Apply::new(&other);
            let mut last = 0;
            for (command, index) in entries.by_ref().take(cut) {
                apply.command(Index(index), command).expect("a sound store");
                last = index;
            }
            if last > 0 {
                let Folded { batch, .. } = apply.finish(last.to_string().into());
                other.apply(batch);
            }
        }
        prop_assert_eq!(&map, &other);
        // In the end everything is made, and a snapshot carries it.
        let mut n = 10_000;
        let mut fold = |map: &mut Map, step: &Step| {
            n += 1;
            let command = made(map, n, step);
            map.fold(Index(n as u64), &[command]);
        };
        fold(&mut map, &Step::Keep);
        while indexes(&map, db(0)).expect("a sound store").is_unfinished() {
            fold(&mut map, &Step::Build);
        }
        check(&map);
        let entries = map.0.keys().filter(|key| key.len() > 18 && key[17] == 8).count();
        prop_assert_eq!(entries, expected_entries(&map));
        let pairs = snapshot::rebuild(snapshot::pairs(&map)).map(|pair| pair.expect("a sound snapshot"));
        prop_assert_eq!(&Map(pairs.collect::<BTreeMap<_, _>>()), &map);
    }
}

/// How many entries there should be: none is left of what is kept no longer.
fn expected_entries(map: &Map) -> usize {
    let known = indexes(map, db(0)).expect("a sound store");
    let all = DDOCS.iter().flat_map(|ddoc| of_ddoc(ddoc.as_bytes()));
    let known = |definition: &Definition| known.kept.iter().any(|kept| kept.index.definition == *definition);
    let count = |definition: Definition| {
        let mut conditions: Vec<String> =
            definition.columns().map(|column| format!("{{\"{column}\":{{\"$exists\":true}}}}")).collect();
        conditions.extend(definition.partial.as_ref().map(ToString::to_string));
        let selector = Selector::parse(format!("{{\"$and\":[{}]}}", conditions.join(",")).as_bytes());
        brute(map, &selector.expect("a selector")).len()
    };
    all.filter(known).map(count).sum()
}
