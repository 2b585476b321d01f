//! Single facts that scripts and the model do not show: costs, bounds, damage, reading while the engine lives on.

use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use common::change::{ChangesRequest, PENDING_COUNTED_MAX};
use common::command::{Command, EditKind, Op, Outcome, Purge};
use common::ids::{DbUid, Index, Seq, Slot};
use common::mango::Selector;
use common::query::{Answer, Query, Range, RangePage, Revs, Tally};
use common::rev::Rev;

use crate::storage::{Error, Pair, Pairs, Read};
use crate::store::apply::Apply;
use crate::store::keys::Key;
use crate::store::testing::{Map, address, command, db, edit, graft, id};
use crate::store::{Filter, applied, apply, changes, filtered, read, snapshot};

fn rev(text: &str) -> Rev {
    Rev::parse(text).expect("valid")
}

/// Grafts `N-x` on the revisions below it, with a body of `bytes` bytes.
fn version(n: u64, name: &str, generation: u64, bytes: usize) -> Command {
    let path = (1..=generation).rev().map(|generation| rev(&format!("{generation}-x"))).collect();
    let json = format!(r#"{{"pad":"{}"}}"#, "x".repeat(bytes));
    command(u128::from(n) + 1, graft(address(db(0), name), path, false, &json, 1000))
}

fn all(limit: u32) -> Range {
    Range {
        db: db(0),
        low: None,
        high: None,
        low_exclusive: false,
        high_exclusive: false,
        descending: false,
        limit,
        bodies: true,
        conflicts: false,
        count_before: true,
    }
}

fn page(store: &Map, range: Range) -> RangePage {
    match read(store, &Query::Range(range)).expect("a sound store") {
        Answer::Range(page) => page,
        other => panic!("{other:?}"),
    }
}

fn since(since: u64, limit: u32) -> ChangesRequest {
    ChangesRequest { bodies: true, count_pending: true, ..ChangesRequest::behind(db(0), Seq(since), limit) }
}

fn winner(reader: &dyn Read, revs: Revs) -> Result<Answer, Error> {
    read(reader, &Query::Doc { db: db(0), id: id("a"), revs, tree: false })
}

/// Counts how often each kind of key is read.
struct Counted<'a> {
    store: &'a Map,
    docs: AtomicUsize,
    others: AtomicUsize,
}

impl Read for Counted<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let kind = if matches!(Key::decode(key), Ok(Key::Doc(..))) { &self.docs } else { &self.others };
        kind.fetch_add(1, Relaxed);
        self.store.get(key)
    }

    fn scan(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, reverse: bool) -> Pairs<'_> {
        self.store.scan(low, high, reverse)
    }
}

#[test]
fn a_selector_passes_over_rows_without_losing_the_place() {
    let mut store = Map::owning_all();
    let mut apply = Apply::new(&store);
    for (n, bytes) in [3, 50, 4].into_iter().enumerate() {
        let n = n as u64;
        apply.command(Index(n + 1), &version(n, &format!("d{n}"), 1, bytes)).expect("a sound store");
    }
    let batch = apply.finish(Bytes::new()).batch;
    store.apply(batch);
    let selector = Selector::parse(br#"{"pad":{"$regex":"^x{1,4}$"}}"#).expect("a selector").to_json();
    let request = ChangesRequest { selector: Some(selector.into()), ..since(0, 10) };
    let filter = Filter::of(&request).expect("a selector");
    let page = filtered(&store, &request, filter.as_ref()).expect("a sound store");
    let shown: Vec<_> = page.rows.iter().map(|row| (row.seq.0, row.is_passed_over(), row.json.is_some())).collect();
    assert_eq!(shown, [(1, false, true), (2, true, false), (3, false, true)]);
    assert_eq!(page.rows[1].leaves, []);
    assert_eq!(page.rows[2].matching.as_deref(), Some(&page.rows[2].leaves[..]));
    let unreadable = ChangesRequest { selector: Some(r#"{"a":{"$nope":1}}"#.into()), ..since(0, 10) };
    assert!(Filter::of(&unreadable).is_err());
}

#[test]
fn documents_are_counted_within_their_ends_and_behind_a_place() {
    let mut store = Map::owning_all();
    let mut apply = Apply::new(&store);
    for (n, name) in ["a:1", "a:2", "a:3", "a", "b:1"].into_iter().enumerate() {
        let n = n as u64;
        apply.command(Index(n + 1), &version(n, name, 1, 0)).expect("a sound store");
    }
    let batch = apply.finish(Bytes::new()).batch;
    store.apply(batch);
    let count = |after: Option<&str>| {
        let tally = Tally { db: db(0), low: "a:".into(), high: "a;".into(), after: after.map(id) };
        match read(&store, &Query::Tally(tally)).expect("a sound store") {
            Answer::Counted(counted) => (counted.docs, counted.deleted, counted.bytes, counted.resume),
            other => panic!("{other:?}"),
        }
    };
    let bytes = r#"{"pad":""}"#.len() as u64;
    assert_eq!(count(None), (3, 0, 3 * bytes, None));
    assert_eq!(count(Some("a:2")), (1, 0, bytes, None));
    assert_eq!(count(Some("a")), (3, 0, 3 * bytes, None), "a place outside of the ends changes nothing");
}

#[test]
fn an_edit_costs_one_read_and_at_most_four_changes() {
    let mut store = Map::owning_all();
    // Counters, indexes, validation functions, and whether it is dropped: once per database and batch; slots: once per
    // batch; applied and counters put.
    let (shared_reads, shared_changes) = (5, 2);
    for (generation, expected) in [(1, 2), (2, 4), (3, 4)] {
        let counted = Counted { store: &store, docs: AtomicUsize::new(0), others: AtomicUsize::new(0) };
        let mut apply = Apply::new(&counted);
        for (n, name) in ["a", "b", "c"].into_iter().enumerate() {
            let n = generation * 10 + n as u64;
            apply.command(Index(n), &version(n, name, generation, 10)).expect("a sound store");
        }
        let folded = apply.finish(Bytes::from_static(b"here"));
        assert_eq!(folded.batch.changes.len(), 3 * expected + shared_changes, "generation {generation}");
        assert_eq!(counted.docs.into_inner(), 3);
        assert_eq!(counted.others.into_inner(), shared_reads);
        assert_eq!(folded.changed, [db(0)]);
        store.apply(folded.batch);
        assert_eq!(applied(&store).expect("a sound store"), Some(Bytes::from_static(b"here")));
    }
}

#[test]
fn old_and_read_bodies_are_slices_of_their_record() {
    let mut store = Map::owning_all();
    store.fold(Index(1), &[version(1, "a", 1, 100)]);
    let record = store.0[&Key::Doc(db(0), id("a")).encode()].clone();
    let Ok(Answer::Doc(Some(answer))) = winner(&store, Revs::Winner) else { panic!("it is there") };
    assert!(record.as_ptr_range().contains(&answer.found[0].json.as_ptr()));
    store.fold(Index(2), &[version(2, "a", 2, 100)]);
    let moved = &store.0[&Key::Body(db(0), id("a"), rev("1-x")).encode()];
    assert!(record.as_ptr_range().contains(&moved.as_ptr()));
}

#[test]
fn system_databases_need_no_slot() {
    let mut store = Map::default();
    let put = |db: DbUid| command(1, edit(address(db, "a"), None, EditKind::Update, "{}", 1000));
    let (outcomes, _) = store.fold(Index(1), &[put(db(0)), put(DbUid::DBS)]);
    assert_eq!(outcomes[0], Outcome::NotOwner { version: 0 });
    assert!(matches!(outcomes[1], Outcome::Written { seq: Seq(1), .. }));
}

#[test]
fn unsorted_slots_are_owned_all_the_same() {
    let mut store = Map::default();
    store.fold(Index(1), &[command(1, Op::AdoptSlots { version: 1, slots: vec![Slot(9), Slot(7), Slot(9)] })]);
    assert_eq!(apply::slots(&store).expect("a sound store").owned, [Slot(7), Slot(9)]);
}

#[test]
fn pages_end_after_four_mebibytes() {
    let mut store = Map::owning_all();
    for (n, name) in ["a", "b", "c"].into_iter().enumerate() {
        store.fold(Index(1), &[version(n as u64, name, 1, 3 << 20)]);
    }
    let first = page(&store, all(100));
    assert_eq!((first.rows.len(), first.more), (2, true));
    let first = changes(&store, &since(0, 100)).expect("a sound store");
    assert_eq!((first.rows.len(), first.more, first.pending), (2, true, 1));
    let last = changes(&store, &since(2, 100)).expect("a sound store");
    assert_eq!((last.rows.len(), last.more, last.pending), (1, false, 0));
}

#[test]
fn far_away_ends_are_bounded_and_not_counted() {
    let many = PENDING_COUNTED_MAX + 10;
    let mut store = Map::owning_all();
    let mut commands: Vec<Command> = (0..many).map(|n| version(n, &format!("d{n:06}"), 1, 0)).collect();
    // One document twice, so that seqs and rows are not the same number.
    commands.push(version(many, "d000000", 2, 0));
    store.fold(Index(1), &commands);
    let far = changes(&store, &since(5, 1)).expect("a sound store");
    let rows_behind = many - 5;
    assert!(far.pending >= rows_behind && far.pending <= many, "{}", far.pending);
    let near = changes(&store, &since(100, 1)).expect("a sound store");
    assert_eq!(near.pending, many + 1 - 101);
    let from_start = changes(&store, &since(0, 1)).expect("a sound store");
    assert_eq!(from_start.pending, many - 1);
    let from = |text: &str| Range { low: Some(text.into()), ..all(1) };
    assert_eq!(page(&store, from("d000500")).before, Some(500));
    assert_eq!(page(&store, from("d000501")).before, None);
}

#[test]
fn damage_is_an_error_and_never_an_outcome() {
    let mut store = Map::owning_all();
    store.fold(Index(1), &[version(1, "a", 1, 10), version(2, "a", 2, 10)]);
    let sound = store.clone();
    let damaged = |result: Result<_, Error>| match result {
        Err(Error::Damaged { reason, .. }) => reason,
        Err(other) => panic!("{other}"),
        Ok(()) => panic!("damage went unseen"),
    };
    let doc = Key::Doc(db(0), id("a")).encode();

    store.0.insert(doc.clone(), Bytes::from_static(b"\xffrotten"));
    damaged(Apply::new(&store).command(Index(2), &version(3, "a", 3, 10)).map(|_| ()));
    damaged(winner(&store, Revs::Winner).map(|_| ()));
    damaged(changes(&store, &since(0, 10)).map(|_| ()));
    damaged(snapshot::rebuild(snapshot::pairs(&store)).collect::<Result<Vec<_>, _>>().map(|_| ()));

    store = sound.clone();
    store.0.remove(&Key::Body(db(0), id("a"), rev("1-x")).encode());
    let reason = damaged(winner(&store, Revs::Exact(rev("1-x"))).map(|_| ()));
    assert!(reason.starts_with("a revision's body is gone: doc "), "{reason}");

    store = sound;
    store.0.remove(&doc);
    damaged(changes(&store, &since(0, 10)).map(|_| ()));
}

/// An engine that applies a batch right after a document's record was read for the first time.
struct Living {
    before: Map,
    after: Map,
    reads: AtomicUsize,
}

impl Read for Living {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let is_doc = matches!(Key::decode(key), Ok(Key::Doc(..)));
        let reads = if is_doc { self.reads.fetch_add(1, Relaxed) } else { self.reads.load(Relaxed) };
        if reads == 0 { self.before.get(key) } else { self.after.get(key) }
    }

    fn scan(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, reverse: bool) -> Pairs<'_> {
        self.before.scan(low, high, reverse)
    }
}

fn living(before: &Map, commands: &[Command], reads: usize) -> Living {
    let mut after = before.clone();
    after.fold(Index(9), commands);
    Living { before: before.clone(), after, reads: AtomicUsize::new(reads) }
}

#[test]
fn a_read_that_meets_a_change_half_way_begins_again() {
    let at = || address(db(0), "a");
    let mut before = Map::owning_all();
    let (low, high) = (vec![rev("1-a")], vec![rev("1-b")]);
    before
        .fold(Index(1), &[command(1, graft(at(), low, false, "{}", 9)), command(2, graft(at(), high, false, "{}", 9))]);
    // The winner goes, so the other leaf's body moves into the record between the two reads.
    let path = vec![rev("2-b"), rev("1-b")];
    let engine = living(&before, &[command(3, graft(at(), path, true, "{}", 9))], 0);
    let Ok(Answer::Doc(Some(answer))) = winner(&engine, Revs::Exact(rev("1-a"))) else { panic!("it is there") };
    assert_eq!((answer.seq, answer.found.len()), (Seq(3), 1));
}

#[test]
fn a_read_that_meets_a_compaction_half_way_begins_again() {
    let mut before = Map::owning_all();
    before.fold(Index(1), &[version(1, "a", 1, 10), version(2, "a", 2, 10)]);
    let engine = living(&before, &[command(3, Op::Compact { doc: address(db(0), "a") })], 0);
    let Ok(Answer::Doc(Some(answer))) = winner(&engine, Revs::Exact(rev("1-x"))) else { panic!("it is there") };
    assert_eq!((answer.found.len(), answer.missing), (0, vec![rev("1-x")]));
}

#[test]
fn a_document_purged_while_a_page_is_read_is_left_out() {
    let mut before = Map::owning_all();
    before.fold(Index(1), &[version(1, "a", 1, 10), version(2, "b", 1, 10)]);
    let purge = Purge { doc: address(db(0), "a"), revs: vec![rev("1-x")], infos_limit: 1000 };
    let engine = living(&before, &[command(3, Op::Purge(purge))], 1);
    let page = changes(&engine, &since(0, 10)).expect("a sound store");
    let names: Vec<&str> = page.rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(names, ["b"]);
}

#[test]
fn a_document_that_moved_on_is_left_to_the_next_page() {
    let mut before = Map::owning_all();
    before.fold(Index(1), &[version(1, "a", 1, 10), version(2, "b", 1, 10)]);
    let engine = living(&before, &[version(3, "a", 2, 10)], 1);
    let mut engine_with_old_counters = engine;
    let counters = Key::Counters(db(0)).encode();
    let old = before.0[&counters].clone();
    engine_with_old_counters.after.0.insert(counters, old);
    let page = changes(&engine_with_old_counters, &since(0, 10)).expect("a sound store");
    let names: Vec<&str> = page.rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!((names, page.last_seq), (vec!["b"], Seq(2)));
}

#[test]
fn a_drop_in_the_middle_of_an_answer_is_not_damage() {
    let mut before = Map::owning_all();
    before.fold(Index(1), &[version(1, "a", 1, 10)]);
    let mut engine = living(&before, &[command(2, Op::DropDb { db: db(0) })], 1);
    engine.after.0.retain(|key, _| !matches!(Key::decode(key), Ok(Key::Doc(..))));
    assert!(changes(&engine, &since(0, 10)).expect("no damage").dropped);
    assert_eq!(winner(&engine, Revs::Winner).expect("no damage"), Answer::Dropped);
}

#[test]
fn a_snapshot_out_of_order_is_refused() {
    let mut store = Map::owning_all();
    store.fold(Index(1), &[version(1, "a", 1, 10), version(2, "b", 1, 10)]);
    let mut pairs: Vec<Result<Pair, Error>> = snapshot::pairs(&store).collect();
    assert!(pairs.iter().all(|pair| snapshot::wanted(&pair.as_ref().expect("sound").0)));
    let last = pairs.len() - 1;
    pairs.swap(last - 1, last);
    let mut rebuilt = snapshot::rebuild(pairs.into_iter());
    assert!(rebuilt.by_ref().any(|pair| pair.is_err()));
    assert!(rebuilt.next().is_none());
}

#[test]
fn two_documents_at_one_place_are_refused() {
    let mut store = Map::owning_all();
    store.fold(Index(1), &[version(1, "a", 1, 10)]);
    let record = store.0[&Key::Doc(db(0), id("a")).encode()].clone();
    store.0.insert(Key::Doc(db(0), id("b")).encode(), record);
    assert!(snapshot::rebuild(snapshot::pairs(&store)).any(|pair| pair.is_err()));
}
