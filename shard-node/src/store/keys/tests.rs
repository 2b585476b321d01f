use proptest::prelude::*;

use super::*;

fn any_rev() -> impl Strategy<Value = Rev> {
    let digest = any::<[u8; 16]>().prop_map(RevHash::Digest);
    let foreign = "[a-z\u{0}é]{1,5}".prop_map(|text| RevHash::new(&text));
    (any::<u64>(), prop_oneof![digest, foreign]).prop_map(|(generation, hash)| Rev { generation, hash })
}

fn any_id() -> impl Strategy<Value = DocId> {
    "[a-c\u{0}\u{1}é\u{10ffff}]{1,4}".prop_map(|text| DocId::parse(&text).expect("valid"))
}

/// Few databases, so that keys of the same one meet; the greatest uid among them.
fn any_db() -> impl Strategy<Value = DbUid> {
    prop::sample::select(vec![0, 1, 0x0101, u128::MAX - 1, u128::MAX]).prop_map(|uid| DbUid(uuid::Uuid::from_u128(uid)))
}

fn any_signature() -> impl Strategy<Value = Signature> {
    prop::sample::select(vec![[0; 16], [7; 16], [u8::MAX; 16]]).prop_map(Signature)
}

fn any_upload() -> impl Strategy<Value = UploadId> {
    prop::sample::select(vec![0, 1, u128::MAX]).prop_map(|upload| UploadId(uuid::Uuid::from_u128(upload)))
}

fn any_key() -> impl Strategy<Value = Key> {
    let local = "[a-c]{1,3}".prop_map(|text| DocId::parse(&format!("_local/{text}")).expect("valid"));
    prop_oneof![
        Just(Key::Applied),
        "[a-z]{0,5}".prop_map(|name| Key::Meta(name.into())),
        any_db().prop_map(Key::Dropped),
        any_db().prop_map(Key::Counters),
        (any_db(), any_id()).prop_map(|(db, id)| Key::Doc(db, id)),
        (any_db(), any_id(), any_rev()).prop_map(|(db, id, rev)| Key::Body(db, id, rev)),
        (any_db(), any::<u64>()).prop_map(|(db, seq)| Key::BySeq(db, Seq(seq))),
        (any_db(), "[a-b\u{0};é]{1,3}", any::<u64>()).prop_map(|(db, name, seq)| Key::ByPartition(
            db,
            name.into(),
            Seq(seq)
        )),
        (any_db(), local).prop_map(|(db, id)| Key::Local(db, id)),
        any_db().prop_map(Key::Purges),
        (any_db(), any::<u64>()).prop_map(|(db, number)| Key::Purge(db, number)),
        (any_db(), any::<u128>())
            .prop_map(|(db, request)| Key::PurgeRequest(db, RequestId(uuid::Uuid::from_u128(request)))),
        (any_db(), any::<u32>(), "[a-c]{0,3}").prop_map(|(db, number, rest)| Key::Entry(db, number, rest.into())),
        any_db().prop_map(Key::Indexes),
        any_db().prop_map(Key::Validators),
        (any_db(), any_signature(), "[a-c]{0,3}").prop_map(|(db, view, rest)| Key::View(db, view, rest.into())),
        (any_db(), any_upload()).prop_map(|(db, upload)| Key::Upload(db, upload)),
        (any_db(), any::<[u8; 32]>()).prop_map(|(db, digest)| Key::Blob(db, BlobDigest(digest))),
        (any_db(), any_upload(), any::<u32>()).prop_map(|(db, upload, number)| Key::Chunk(db, upload, number)),
    ]
}

/// What the order of the bytes is meant to be.
fn rank(key: &Key) -> (u8, Option<DbUid>, u8, String, u64) {
    let none = String::new;
    match key {
        Key::Applied => (1, None, 0, none(), 0),
        Key::Meta(name) => (2, None, 0, name.to_string(), 0),
        Key::Dropped(db) => (3, Some(*db), 0, none(), 0),
        Key::Upload(db, upload) => (4, Some(*db), 0, upload.to_string(), 0),
        Key::Counters(db) => (5, Some(*db), 1, none(), 0),
        Key::Doc(db, id) => (5, Some(*db), 2, id.to_string(), 0),
        Key::Body(db, id, rev) => (5, Some(*db), 3, id.to_string(), rev.generation),
        Key::BySeq(db, seq) => (5, Some(*db), 4, none(), seq.0),
        // As the ids of its documents sort: with the colon.
        Key::ByPartition(db, name, seq) => (5, Some(*db), 5, format!("{name}:"), seq.0),
        Key::Local(db, id) => (5, Some(*db), 6, id.to_string(), 0),
        Key::Purges(db) => (5, Some(*db), 9, none(), 0),
        Key::Purge(db, number) => (5, Some(*db), 10, none(), *number),
        Key::PurgeRequest(db, request) => (5, Some(*db), 11, request.to_string(), 0),
        Key::Entry(db, number, rest) => (5, Some(*db), 8, format!("{number:010} {rest:?}"), 0),
        Key::Indexes(db) => (5, Some(*db), 12, none(), 0),
        Key::Validators(db) => (5, Some(*db), 14, none(), 0),
        Key::View(db, view, rest) => (5, Some(*db), 13, format!("{view} {rest:?}"), 0),
        Key::Blob(db, digest) => (5, Some(*db), 7, format!("1{digest}"), 0),
        Key::Chunk(db, upload, number) => (5, Some(*db), 7, format!("2{upload}"), u64::from(*number)),
    }
}

proptest! {
    #[test]
    fn keys_come_back_as_written(key in any_key()) {
        prop_assert_eq!(Key::decode(&key.encode()), Ok(key));
    }

    #[test]
    fn bytes_sort_as_their_meaning(a in any_key(), b in any_key()) {
        let meaning = rank(&a).cmp(&rank(&b));
        if meaning.is_ne() {
            prop_assert_eq!(a.encode().cmp(&b.encode()), meaning);
        }
    }

    #[test]
    fn a_database_is_one_range_and_its_uploads_another(key in any_key(), db in any_db()) {
        let bytes = key.encode();
        let within = |(low, high): Span| low.as_slice() <= &bytes[..] && &bytes[..] < high.as_slice();
        let upload = matches!(key, Key::Upload(..));
        prop_assert_eq!(within(whole_db(db)), key.db() == Some(db) && !upload);
        prop_assert_eq!(within(uploads(db)), key.db() == Some(db) && upload);
        prop_assert_eq!(within(all_uploads()), upload);
    }

    #[test]
    fn bodies_behind_a_document_are_those_of_greater_ids(id in any_id(), after in any_id(), rev in any_rev()) {
        let db = DbUid(uuid::Uuid::from_u128(7));
        let (low, high) = bodies(db, Some(&after));
        let bytes = Key::Body(db, id.clone(), rev).encode();
        prop_assert_eq!(low.as_slice() <= &bytes[..] && &bytes[..] < high.as_slice(), id > after);
    }

    #[test]
    fn an_index_of_views_is_one_range(key in any_key(), db in any_db(), signature in any_signature()) {
        let (low, high) = view(db, signature);
        let bytes = key.encode();
        let inside = low.as_slice() <= &bytes[..] && &bytes[..] < high.as_slice();
        prop_assert_eq!(inside, matches!(&key, Key::View(of, view, _) if (*of, *view) == (db, signature)));
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(key) = Key::decode(&bytes) {
            prop_assert_eq!(&key.encode()[..], &bytes[..]);
        }
    }
}

#[test]
fn the_bytes_on_disk_never_change() {
    let db = DbUid(uuid::Uuid::from_u128(0x0102));
    let hex = |key: Key| key.encode().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let id = || DocId::parse("a").expect("valid");
    let uid = "00000000000000000000000000000102";
    assert_eq!(hex(Key::Applied), "01");
    assert_eq!(hex(Key::Meta("slots".into())), "02736c6f7473");
    assert_eq!(hex(Key::Dropped(db)), format!("03{uid}"));
    assert_eq!(hex(Key::Counters(db)), format!("10{uid}01"));
    assert_eq!(hex(Key::Doc(db, id())), format!("10{uid}0261"));
    let rev = Rev::parse("2-bbb").expect("valid");
    assert_eq!(hex(Key::Body(db, id(), rev)), format!("10{uid}03610000000000000000000201626262"));
    assert_eq!(hex(Key::BySeq(db, Seq(258))), format!("10{uid}040000000000000102"));
    assert_eq!(hex(Key::ByPartition(db, "p".into(), Seq(258))), format!("10{uid}05703a0000000000000102"));
    assert_eq!(hex(Key::Local(db, id())), format!("10{uid}0661"));
    assert_eq!(hex(Key::Entry(db, 3, Bytes::from_static(b"ka"))), format!("10{uid}08000000036b61"));
    assert_eq!(hex(Key::Indexes(db)), format!("10{uid}0a"));
    assert_eq!(hex(Key::Validators(db)), format!("10{uid}0c"));
    assert_eq!(hex(Key::Purges(db)), format!("10{uid}09"));
    assert_eq!(hex(Key::Purge(db, 258)), format!("10{uid}09010000000000000102"));
    let view = Key::View(db, Signature([9; 16]), Bytes::from_static(b"r"));
    assert_eq!(hex(view), format!("10{uid}0b{}72", "09".repeat(16)));
    let upload = UploadId(uuid::Uuid::from_u128(0x0506));
    assert_eq!(hex(Key::Upload(db, upload)), format!("04{uid}{:032x}", 0x0506));
    assert_eq!(hex(Key::Blob(db, BlobDigest([0xab; 32]))), format!("10{uid}0701{}", "ab".repeat(32)));
    assert_eq!(hex(Key::Chunk(db, upload, 258)), format!("10{uid}0702{:032x}00000102", 0x0506));
    let request = RequestId(uuid::Uuid::from_u128(0x0304));
    assert_eq!(hex(Key::PurgeRequest(db, request)), format!("10{uid}0902{:032x}", 0x0304));
}
