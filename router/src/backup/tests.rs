use std::fs;
use std::path::Path;

use bytes::Bytes;
use common::backup::block::{Records, Writer};
use common::backup::record::{Body, Document, Local, Record};
use common::backup::tally::Tallies;
use common::backup::{DatabaseEnd, End, FORMAT, Header};
use common::ids::{ClusterId, DbName, DbUid, DocId, Index, RequestId, ShardId, Term};
use common::rev::Rev;
use common::rev_tree::RevTree;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::catalog::Database;
use super::error::{Damage, Error};
use super::folder::Folder;
use super::manifest::{self, Manifest, Part, Saved, file_of};
use super::progress::Progress;
use super::verify::verify;

const UID: DbUid = DbUid(Uuid::from_u128(0x1001));
const BACKUP: Uuid = Uuid::from_u128(7);

fn records(shard: ShardId) -> Vec<Record> {
    let id = |text: String| DocId::parse(&text).expect("valid");
    let mut tree = RevTree::default();
    tree.graft(&[Rev::parse("1-a").expect("valid")], false, RequestId(Uuid::nil()));
    vec![
        Record::Database(UID),
        Record::Document(Document::of(id(format!("doc-{shard}")), &tree)),
        Record::Body(Body { at: 0, json: Bytes::from_static(b"{\"sound\":true}") }),
        Record::Local(Local { id: id(format!("_local/{shard}")), counter: 1, json: Bytes::from_static(b"{}") }),
    ]
}

/// Writes a shard's file.
fn part(folder: &Folder, backup: Uuid, shard: ShardId) -> (Part, DatabaseEnd) {
    let (mut writer, mut open, mut tallies) = (Writer::default(), Records::default(), Tallies::default());
    for record in records(shard) {
        tallies.push(&record).expect("in order");
        open.push(&record);
    }
    let tally = *tallies.of(UID).expect("met");
    let end = DatabaseEnd { uid: UID, dropped: false, tally };
    let (term, index) = (Term(2), Index(9));
    let header = Header { format: FORMAT, backup, cluster: ClusterId::of("c"), shard, term, index };
    let mut file = folder.begin(&file_of(shard)).expect("a file");
    for block in [writer.header(&header), writer.records(&open), writer.end(&End { databases: vec![end.clone()] })] {
        file.write(&block).expect("room");
    }
    let (bytes, sha256) = file.finish().expect("room");
    (Part { shard, file: file_of(shard), bytes, sha256, term, index, documents: 1 }, end)
}

/// A backup of two shards in `path`.
fn backup(path: &Path) -> Manifest {
    let folder = Folder::create(path).expect("an empty folder");
    let (shards, ends): (Vec<_>, Vec<_>) = [0, 1].map(|n| part(&folder, BACKUP, ShardId(n))).into_iter().unzip();
    let mut tally = ends[0].tally;
    tally.add(&ends[1].tally);
    let database = Database {
        name: DbName::parse("db").expect("valid"),
        uid: UID,
        partitioned: false,
        created_ms: 1,
        revs_limit: 1000,
        purged_infos_limit: 1000,
        security: Some(RawValue::from_string("{\"admins\":{\"n\":1.0}}".to_owned()).expect("JSON")),
        documents: 2,
    };
    let manifest = Manifest {
        format: FORMAT,
        quorate: "0".to_owned(),
        backup: BACKUP,
        cluster: "c".to_owned(),
        cluster_id: ClusterId::of("c"),
        began_ms: 1,
        ended_ms: 2,
        databases: vec![Saved { database, tally }],
        left_out: Vec::new(),
        shards,
    };
    folder.seal(&manifest).expect("room");
    manifest
}

fn verified(path: &Path) -> Result<Manifest, Error> {
    verify(path, &Progress::new(true))
}

fn damages(path: &Path) -> Vec<Damage> {
    match verified(path) {
        Err(Error::Damaged(damages)) => damages,
        other => panic!("not found to be damaged: {other:?}"),
    }
}

#[test]
fn a_sound_backup_is_called_so_and_keeps_its_settings_to_the_letter() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("backup");
    backup(&path);
    let manifest = verified(&path).expect("sound");
    assert_eq!((manifest.databases[0].tally.docs, manifest.databases[0].tally.locals), (2, 2));
    let security = manifest.databases[0].database.security.as_ref().map(|json| json.get());
    assert_eq!(security, Some("{\"admins\":{\"n\":1.0}}"));
    assert!(matches!(Folder::create(&path), Err(Error::Usage(_))), "a folder is never written twice");
}

#[test]
fn every_flipped_byte_and_every_cut_of_every_file_is_found() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("backup");
    backup(&path);
    for name in ["shard-0.backup", "shard-1.backup", manifest::FILE] {
        let file = path.join(name);
        let sound = fs::read(&file).expect("written");
        for at in 0..sound.len() {
            for flip in [0x20, 0xff] {
                let mut flipped = sound.clone();
                flipped[at] ^= flip;
                fs::write(&file, &flipped).expect("room");
                let found = damages(&path);
                assert!(found.len() == 1 && found[0].file == name, "{name} at {at}: {found:?}");
                assert!(found[0].offset <= at as u64, "{name} at {at}: {found:?}");
            }
            fs::write(&file, &sound[..at]).expect("room");
            let found = damages(&path);
            assert!(found.len() == 1 && found[0].file == name, "{name} cut at {at}: {found:?}");
        }
        fs::write(&file, [&sound[..], b" "].concat()).expect("room");
        assert_eq!(damages(&path)[0].file, name);
        fs::write(&file, sound).expect("room");
    }
    verified(&path).expect("sound again");
}

#[test]
fn each_damaged_file_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("backup");
    backup(&path);
    fs::remove_file(path.join("shard-0.backup")).expect("there");
    fs::write(path.join("shard-1.backup"), b"something else").expect("room");
    let shown = verified(&path).expect_err("damaged").to_string();
    let wanted = "the backup is damaged\nshard-0.backup: damaged at byte 0: it is missing\n\
                  shard-1.backup: damaged at byte 0: this is no file of a Quorate backup";
    assert_eq!(shown, wanted);
}

#[test]
fn a_file_of_another_backup_or_shard_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("backup");
    backup(&path);
    fs::copy(path.join("shard-0.backup"), path.join("shard-1.backup")).expect("room");
    assert!(damages(&path)[0].reason.contains("not the file that the manifest names"));
    let other = Folder::create(&dir.path().join("other")).expect("an empty folder");
    part(&other, Uuid::from_u128(8), ShardId(1));
    fs::copy(dir.path().join("other/shard-1.backup"), path.join("shard-1.backup")).expect("room");
    assert!(damages(&path)[0].reason.contains("not the file that the manifest names"));
}

#[test]
fn without_a_manifest_it_is_incomplete_and_a_part_keeps_its_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("backup");
    backup(&path);
    fs::remove_file(path.join(manifest::FILE)).expect("there");
    let error = verified(&path).expect_err("incomplete");
    assert!(matches!(&error, Error::Incomplete(_)), "{error}");
    assert!(error.to_string().contains("incomplete backup"), "{error}");
    assert!(matches!(verified(&dir.path().join("nowhere")), Err(Error::File { .. })));
    let folder = Folder::create(&dir.path().join("begun")).expect("an empty folder");
    folder.begin("shard-0.backup").expect("a file").write(b"half").expect("room");
    assert!(dir.path().join("begun/shard-0.backup.part").exists());
    assert!(!dir.path().join("begun/shard-0.backup").exists());
}
