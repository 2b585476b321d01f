//! What a store gives out for a backup, and what becomes of it in another one.

use common::backup::block::Records;
use common::backup::plan::Plan;
use common::backup::record::Record;
use common::backup::{DatabaseEnd, Load};
use common::command::{EditKind, Op};
use common::ids::{DbUid, Index};

use crate::store::export::Export;
use crate::store::testing::{Map, address, command, db, edit, graft, local};
use common::rev::Rev;

fn rev(text: &str) -> Rev {
    Rev::parse(text).expect("valid")
}

/// All records of some databases, cut into blocks that hold one record if `small`.
fn exported(map: &Map, databases: &[DbUid], small: bool) -> (Vec<Record>, Vec<DatabaseEnd>) {
    let mut export = Export::new(databases.to_vec());
    let mut records = Vec::new();
    loop {
        let mut block = if small { Records::of(1) } else { Records::default() };
        export.fill(map, &mut block).expect("a sound store");
        if block.is_empty() {
            return (records, export.finish().databases);
        }
        records.extend(block.decode().expect("records"));
    }
}

fn store() -> Map {
    let mut map = Map::owning_all();
    let at = |text: &str| address(db(1), text);
    let ops = [
        edit(at("plain"), None, EditKind::Update, r#"{"n":1}"#, 1000),
        graft(at("forked"), vec![rev("3-c"), rev("2-b"), rev("1-a")], false, r#"{"of":"c"}"#, 1000),
        graft(at("forked"), vec![rev("2-b"), rev("1-a")], false, r#"{"of":"b"}"#, 1000),
        graft(at("forked"), vec![rev("2-x"), rev("1-a")], true, "{}", 1000),
        graft(at("gone"), vec![rev("2-y"), rev("1-y")], true, r#"{"why":"so"}"#, 1000),
        graft(at("two-roots"), vec![rev("1-a")], false, "{}", 1000),
        graft(at("two-roots"), vec![rev("5-b"), rev("4-b")], false, r#"{"late":true}"#, 1000),
        local(at("_local/l"), None, Some(r#"{"l":1}"#)),
        local(at("_local/dead"), None, Some("{}")),
        local(at("_local/dead"), None, None),
        edit(address(db(2), "other"), None, EditKind::Update, "{}", 1000),
        edit(address(db(3), "dropped"), None, EditKind::Update, "{}", 1000),
        Op::DropDb { db: db(3) },
    ];
    for (n, op) in ops.into_iter().enumerate() {
        map.fold(Index(n as u64 + 1), &[command(n as u128 + 1, op)]);
    }
    map
}

#[test]
fn blocks_of_any_size_hold_the_same_records() {
    let map = store();
    // One of them asked for twice.
    let all = [db(2), db(3), db(1), db(2)];
    let (records, ends) = exported(&map, &all, false);
    assert_eq!(exported(&map, &all, true), (records.clone(), ends.clone()));
    let bodies = records.iter().filter(|record| matches!(record, Record::Body(_))).count();
    assert_eq!((records.len(), bodies), (2 + 5 + 8 + 1, 8));
    let told: Vec<_> = ends.iter().map(|end| (end.uid, end.dropped, end.tally.docs, end.tally.deleted)).collect();
    assert_eq!(told, [(db(2), false, 1, 0), (db(3), true, 0, 0), (db(1), false, 3, 1)]);
}

#[test]
fn what_was_given_out_makes_the_same_documents_in_another_store() {
    let (records, ends) = exported(&store(), &[db(1)], false);
    let mut plan = Plan::default();
    let loads: Vec<Load> = records.into_iter().filter_map(|record| plan.load(record)).collect();
    for backwards in [false, true] {
        let mut order: Vec<&Load> = loads.iter().collect();
        if backwards {
            order.reverse();
        }
        let mut other = Map::owning_all();
        // Twice: what is loaded again changes nothing.
        for (n, load) in order.iter().chain(&order).enumerate() {
            let op = match load {
                Load::Revision { id, path, deleted, json } => {
                    let json = std::str::from_utf8(json).expect("text");
                    graft(address(db(9), id.as_str()), path.clone(), *deleted, json, u32::MAX)
                }
                Load::Local { id, json } => {
                    let json = std::str::from_utf8(json).expect("text");
                    local(address(db(9), id.as_str()), None, Some(json))
                }
            };
            other.fold(Index(n as u64 + 1), &[command(n as u128 + 1, op)]);
        }
        let (_, again) = exported(&other, &[db(9)], false);
        assert_eq!(again[0].tally, ends[0].tally, "backwards: {backwards}");
    }
}

#[test]
fn a_document_that_the_counters_do_not_know_is_damage() {
    let mut map = store();
    let key = crate::store::keys::Key::Doc(db(1), crate::store::testing::id("plain")).encode();
    assert!(map.0.remove(&key).is_some());
    let mut export = Export::new(vec![db(1)]);
    let mut block = Records::default();
    let error = export.fill(&map, &mut block).expect_err("a document is missing");
    assert!(error.to_string().contains("it counts 3 documents and 1 deleted ones, and has 2 and 1"), "{error}");
}
