use bytes::Bytes;
use uuid::Uuid;

use super::block::{Records, Writer};
use super::reader::{Damaged, Piece, Reader};
use super::record::{Body, Document, Local, Record, Unreadable};
use super::tally::{RESTORE_MARK, Tallies};
use super::*;
use crate::ids::RequestId;
use crate::rev_tree::RevTree;

const DB: DbUid = DbUid(Uuid::from_u128(0x1001));
const OTHER: DbUid = DbUid(Uuid::from_u128(0x1002));
const DROPPED: DbUid = DbUid(Uuid::from_u128(0x1003));

fn rev(text: &str) -> Rev {
    Rev::parse(text).expect("valid")
}

fn id(text: &str) -> DocId {
    DocId::parse(text).expect("valid")
}

fn request(n: u128) -> RequestId {
    RequestId(Uuid::from_u128(n))
}

/// `1-a`, `2-b` on it, and `2-c` beside that, which is a deletion; the body of `1-a` is gone.
fn conflicted() -> RevTree {
    let mut tree = RevTree::default();
    tree.graft(&[rev("2-b"), rev("1-a")], false, request(1));
    tree.graft(&[rev("2-c"), rev("1-a")], true, request(2));
    tree
}

fn body(at: u32, json: &str) -> Record {
    Record::Body(Body { at, json: Bytes::copy_from_slice(json.as_bytes()) })
}

fn local(text: &str, json: &str) -> Record {
    Record::Local(Local { id: id(text), counter: 3, json: Bytes::copy_from_slice(json.as_bytes()) })
}

fn records() -> Vec<Record> {
    let mut plain = RevTree::default();
    plain.extend(None, rev("1-x"), false, request(3));
    let mut deleted = plain.clone();
    deleted.extend(Some(&rev("1-x")), rev("2-y"), true, request(4));
    vec![
        Record::Database(DB),
        Record::Document(Document::of(id("a"), &conflicted())),
        body(1, r#"{"of":"b"}"#),
        body(2, "{}"),
        Record::Document(Document::of(id("b"), &plain)),
        body(0, r#"{"of":"x"}"#),
        local("_local/l", "{}"),
        Record::Database(OTHER),
        Record::Document(Document::of(id("gone"), &deleted)),
        body(0, "{}"),
        body(1, "{}"),
    ]
}

fn header() -> Header {
    Header {
        format: FORMAT,
        backup: Uuid::from_u128(7),
        cluster: ClusterId::of("c"),
        shard: ShardId(1),
        term: Term(2),
        index: Index(3),
    }
}

fn end(records: &[Record]) -> End {
    let mut tallies = Tallies::default();
    records.iter().for_each(|record| tallies.push(record).expect("in order"));
    let there = [DB, OTHER].into_iter().filter_map(|uid| {
        let tally = *tallies.of(uid)?;
        Some(DatabaseEnd { uid, dropped: false, tally })
    });
    let dropped = DatabaseEnd { uid: DROPPED, dropped: true, tally: Tally::default() };
    End { databases: there.chain([dropped]).collect() }
}

/// The stream's blocks, with so many records in each.
fn blocks(records: &[Record], each: usize) -> Vec<Bytes> {
    let mut writer = Writer::default();
    let mut blocks = vec![writer.header(&header())];
    for chunk in records.chunks(each) {
        let mut open = Records::default();
        chunk.iter().for_each(|record| open.push(record));
        blocks.push(writer.records(&open));
    }
    blocks.push(writer.end(&end(records)));
    blocks
}

fn read(bytes: &[u8], cut: usize) -> Result<Vec<Record>, Damaged> {
    let mut reader = Reader::default();
    let mut records = Vec::new();
    for part in bytes.chunks(cut) {
        reader.push(part);
        while let Some(piece) = reader.read()? {
            match piece {
                Piece::Header(read) => assert_eq!(read, header()),
                Piece::Records(more) => records.extend(more),
                Piece::End(_) => {}
            }
        }
    }
    reader.finish().map(|()| records)
}

#[test]
fn a_stream_comes_back_however_it_is_cut() {
    for each in [1, 2, 100] {
        let stream = blocks(&records(), each).concat();
        for cut in [1, 7, stream.len()] {
            assert_eq!(read(&stream, cut), Ok(records()));
        }
    }
    assert_eq!(read(&blocks(&[], 1).concat(), 5), Ok(vec![]));
}

#[test]
fn every_flipped_byte_and_every_cut_is_found_with_its_place() {
    let stream = blocks(&records(), 4).concat();
    for at in 0..stream.len() {
        assert!(read(&stream[..at], 64).is_err(), "cut at {at}");
        for flip in [0x01, 0x10, 0x80, 0xff] {
            let mut flipped = stream.clone();
            flipped[at] ^= flip;
            let error = read(&flipped, 64).expect_err("flipped");
            assert!(error.offset <= at as u64, "{at}: {error}");
        }
    }
    let error = read(&[&stream[..], b"x"].concat(), 64).expect_err("longer");
    assert_eq!(error.offset, stream.len() as u64);
}

#[test]
fn blocks_left_out_repeated_or_exchanged_are_found() {
    let whole = blocks(&records(), 3);
    for at in 0..whole.len() {
        let mut without = whole.clone();
        without.remove(at);
        assert!(read(&without.concat(), 64).is_err(), "without {at}");
        let mut twice = whole.clone();
        twice.insert(at, whole[at].clone());
        assert!(read(&twice.concat(), 64).is_err(), "twice {at}");
        if at > 0 {
            let mut exchanged = whole.clone();
            exchanged.swap(at - 1, at);
            assert!(read(&exchanged.concat(), 64).is_err(), "exchanged {at}");
        }
    }
}

#[test]
fn an_end_that_counted_something_else_is_refused() {
    let mut shorter = records();
    shorter.pop();
    shorter.pop();
    shorter.pop();
    let mut writer = Writer::default();
    let mut open = Records::default();
    shorter.iter().for_each(|record| open.push(record));
    let stream = [writer.header(&header()), writer.records(&open), writer.end(&end(&records()))].concat();
    assert!(read(&stream, 64).expect_err("a document less").reason.contains("should be"));
}

#[test]
fn records_out_of_order_are_refused() {
    let refused = |records: &[Record]| {
        let mut tallies = Tallies::default();
        records.iter().try_for_each(|record| tallies.push(record)).expect_err("refused")
    };
    let all = records();
    let [database, document, first, second, plain] = [0, 1, 2, 3, 4].map(|at| all[at].clone());
    assert_eq!(refused(std::slice::from_ref(&document)), "a record of no database");
    assert_eq!(refused(&[database.clone(), first.clone()]), "a body that belongs to nothing before it");
    assert_eq!(
        refused(&[database.clone(), document.clone(), second.clone()]),
        "a body that belongs to nothing before it"
    );
    assert_eq!(refused(&[database.clone(), document, first, plain.clone()]), "a document without all its bodies");
    assert_eq!(refused(&[database.clone(), local("_local/l", "{}"), plain]), "a document behind a local document");
    assert!(refused(&[database.clone(), database]).contains("comes twice"));
}

#[test]
fn a_tally_is_the_same_whatever_the_order_and_the_shards() {
    let all = records();
    let count = |records: &[Record]| {
        let mut tallies = Tallies::default();
        records.iter().for_each(|record| tallies.push(record).expect("in order"));
        *tallies.of(DB).expect("it was met")
    };
    let whole = count(&all);
    assert_eq!((whole.docs, whole.deleted, whole.locals, whole.bodies, whole.bytes), (2, 0, 1, 3, 24));
    let other_order = [&all[..1], &all[4..6], &all[1..4], &all[6..7]].concat();
    assert_eq!(count(&other_order), whole);
    let mut sum = count(&[&all[..1], &all[4..7]].concat());
    sum.add(&count(&all[..4]));
    assert_eq!(sum, whole);
    let marked = [&all[..7], &[local(RESTORE_MARK, "{}")]].concat();
    assert_eq!(count(&marked), whole);
    let mut changed = all[..7].to_vec();
    changed[5] = body(0, r#"{"of":"y"}"#);
    assert_eq!(count(&changed).docs, whole.docs);
    assert_ne!(count(&changed).digest, whole.digest);
}

#[test]
fn a_kind_that_is_not_known_is_named() {
    let bytes = [9, 1, 0, 0, 0, 0];
    assert_eq!(Record::decode(&mut &bytes[..]), Err(Unreadable::Kind(9)));
}
