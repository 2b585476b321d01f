//! What a store gives out for a backup, and what becomes of it in another one.

use common::attachment::{BlobDigest, CHUNK_BYTES, Sent, Source};
use common::backup::block::Records;
use common::backup::plan::Plan;
use common::backup::record::{Chunk, Record};
use common::backup::{DatabaseEnd, Load};
use common::command::{EditKind, Op, PutChunk};
use common::ids::{DbUid, Index, UploadId};

use crate::store::export::Export;
use crate::store::testing::{Map, address, attached, command, db, edit, graft, local, new_attachment, upload};
use common::rev::Rev;
use sha2::{Digest, Sha256};

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

/// The bytes as they are named in earnest: they are checked on their way out.
fn new(name: &str, revpos: u64, bytes: &[u8]) -> Sent {
    let Sent::New { mut attachment, source } = new_attachment(name, revpos, bytes, None) else { panic!("it is new") };
    attachment.content.blob = BlobDigest(Sha256::digest(bytes).into());
    Sent::New { attachment, source }
}

fn upload_of(id: &str, blob: BlobDigest) -> UploadId {
    upload(id.bytes().chain(blob.0[..8].iter().copied()).fold(7, |sum, byte| (sum << 3) ^ u128::from(byte)))
}

fn store() -> Map {
    let mut map = Map::owning_all();
    let large = vec![b'x'; 2 * CHUNK_BYTES + 1];
    let Sent::New { attachment, .. } = new("large", 1, &large) else { panic!("it is new") };
    for (number, bytes) in (0..).zip(large.chunks(CHUNK_BYTES)) {
        let bytes = bytes.to_vec().into();
        let chunk = PutChunk { doc: address(db(1), "with"), upload: upload(1), number, bytes };
        map.fold(Index(0), &[command(1000 + u128::from(number), Op::PutChunk(chunk))]);
    }
    let large = Sent::New { attachment, source: Source::Uploaded(upload(1)) };
    let kept = |name: &str| Sent::Stub { name: name.into(), revpos: None };
    let at = |text: &str| address(db(1), text);
    let ops = [
        edit(at("plain"), None, EditKind::Update, r#"{"n":1}"#, 1000),
        graft(at("forked"), vec![rev("3-c"), rev("2-b"), rev("1-a")], false, r#"{"of":"c"}"#, 1000),
        graft(at("forked"), vec![rev("2-b"), rev("1-a")], false, r#"{"of":"b"}"#, 1000),
        graft(at("forked"), vec![rev("2-x"), rev("1-a")], true, "{}", 1000),
        graft(at("gone"), vec![rev("2-y"), rev("1-y")], true, r#"{"why":"so"}"#, 1000),
        graft(at("two-roots"), vec![rev("1-a")], false, "{}", 1000),
        graft(at("two-roots"), vec![rev("5-b"), rev("4-b")], false, r#"{"late":true}"#, 1000),
        attached(graft(at("with"), vec![rev("1-a")], false, "{}", 1000), vec![new("small", 1, b"some"), large]),
        attached(
            graft(at("with"), vec![rev("2-b"), rev("1-a")], false, "{}", 1000),
            vec![kept("large"), new("also", 2, b"some"), new("empty", 2, b"")],
        ),
        attached(graft(at("other-with"), vec![rev("1-a")], true, "{}", 1000), vec![new("same", 1, b"some")]),
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
    let chunks = records.iter().filter(|record| matches!(record, Record::Chunk(_))).count();
    // The bytes of one document come once, those of two documents twice.
    assert_eq!((records.len(), bodies, chunks), (2 + 7 + 8 + 1 + 3 + 5, 8, 3 + 1 + 1));
    let told: Vec<_> = ends.iter().map(|end| (end.uid, end.dropped, end.tally.docs, end.tally.deleted)).collect();
    assert_eq!(told, [(db(2), false, 1, 0), (db(3), true, 0, 0), (db(1), false, 4, 2)]);
}

#[test]
fn what_was_given_out_makes_the_same_documents_in_another_store() {
    let (records, ends) = exported(&store(), &[db(1)], false);
    let mut plan = Plan::default();
    let loads: Vec<Load> = records.into_iter().flat_map(|record| plan.load(record)).collect();
    for backwards in [false, true] {
        let mut order: Vec<&Load> = loads.iter().collect();
        if backwards {
            order.reverse();
            // Bytes go before what names them, and in order.
            order.sort_by_key(|load| match load {
                Load::Chunk { chunk, .. } => (0, chunk.number),
                _ => (1, 0),
            });
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
                Load::Attached { id, path, deleted, json, attachments } => {
                    let json = std::str::from_utf8(json).expect("text");
                    let sent = attachments.iter().map(|attachment| Sent::New {
                        attachment: attachment.clone(),
                        source: Source::Uploaded(upload_of(id.as_str(), attachment.content.blob)),
                    });
                    let graft = graft(address(db(9), id.as_str()), path.clone(), *deleted, json, u32::MAX);
                    attached(graft, sent.collect())
                }
                Load::Chunk { id, chunk: Chunk { blob, number, bytes } } => Op::PutChunk(PutChunk {
                    doc: address(db(9), id.as_str()),
                    upload: upload_of(id.as_str(), *blob),
                    number: *number,
                    bytes: bytes.clone(),
                }),
            };
            other.fold(Index(n as u64 + 1), &[command(n as u128 + 1, op)]);
        }
        let (_, again) = exported(&other, &[db(9)], false);
        assert_eq!(again[0].tally, ends[0].tally, "backwards: {backwards}");
    }
}

#[test]
fn bytes_that_are_not_those_that_are_named_are_not_given_out() {
    let mut map = store();
    let key = crate::store::keys::Key::Chunk(db(1), upload(1), 1).encode();
    let mut bytes = map.0[&key].to_vec();
    bytes[7] ^= 1;
    map.0.insert(key, bytes.into());
    let mut export = Export::new(vec![db(1)]);
    let failed = loop {
        let mut block = Records::default();
        match export.fill(&map, &mut block) {
            Ok(()) => assert!(!block.is_empty(), "it came to the end"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(failed.contains("the bytes of attachment"), "{failed}");
}

#[test]
fn a_document_that_the_counters_do_not_know_is_damage() {
    let mut map = store();
    let key = crate::store::keys::Key::Doc(db(1), crate::store::testing::id("plain")).encode();
    assert!(map.0.remove(&key).is_some());
    let mut export = Export::new(vec![db(1)]);
    let mut block = Records::default();
    let error = export.fill(&map, &mut block).expect_err("a document is missing");
    assert!(error.to_string().contains("it counts 4 documents and 2 deleted ones, and has 3 and 2"), "{error}");
}
