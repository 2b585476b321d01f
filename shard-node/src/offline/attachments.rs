//! Whether the attachments of an engine are whole, and counted as they are named. Told pair by pair.

use std::collections::BTreeMap;

use bytes::Bytes;
use common::attachment::{Attachment, BlobDigest, CHUNK_BYTES, chunks_of};
use common::ids::{DbUid, UploadId};

use crate::store::keys::Key;
use crate::store::record::{self, BlobRecord, Body, DocRecord, UploadRecord};

/// What was met of attachments so far.
#[derive(Default)]
pub(super) struct Attachments {
    dropped: Vec<DbUid>,
    /// How often stored revisions name each blob.
    named: BTreeMap<(DbUid, BlobDigest), u64>,
    blobs: BTreeMap<(DbUid, BlobDigest), BlobRecord>,
    uploads: BTreeMap<(DbUid, UploadId), UploadRecord>,
    /// Chunks under each name: how many, up to the first that is missing or too short, and their bytes.
    chunks: BTreeMap<(DbUid, UploadId), (u64, u64)>,
}

impl Attachments {
    /// Looks at a pair; what of it cannot be read. Pairs come in the order of their keys.
    pub(super) fn push(&mut self, key: &Key, value: &Bytes) -> Option<String> {
        let read = match key {
            Key::Dropped(db) => {
                self.dropped.push(*db);
                return None;
            }
            // That the record itself can be read is looked at elsewhere.
            Key::Doc(db, _) => match DocRecord::decode(value) {
                Ok(record) => record.attachments().map(|attachments| self.name(*db, &attachments)),
                Err(record::Unknown) => return None,
            },
            Key::Body(db, ..) => {
                let attachments = Body::decode(value).and_then(|body| body.attachments());
                attachments.map(|attachments| self.name(*db, &attachments))
            }
            Key::Blob(db, blob) => record::decode(value).map(|record| _ = self.blobs.insert((*db, *blob), record)),
            Key::Upload(db, upload) => {
                record::decode(value).map(|record| _ = self.uploads.insert((*db, *upload), record))
            }
            Key::Chunk(db, upload, number) => {
                let (count, bytes) = self.chunks.entry((*db, *upload)).or_default();
                // All before it must be whole, or what follows is not where a reader looks for it.
                if *count == u64::from(*number) && *bytes == *count * CHUNK_BYTES as u64 {
                    (*count, *bytes) = (*count + 1, *bytes + value.len() as u64);
                }
                Ok(())
            }
            _ => return None,
        };
        read.err().map(|record::Unknown| format!("the record of {key} cannot be read"))
    }

    fn name(&mut self, db: DbUid, attachments: &[Attachment]) {
        for attachment in attachments {
            *self.named.entry((db, attachment.content.blob)).or_default() += 1;
        }
    }

    /// What does not fit together, once all pairs were seen.
    pub(super) fn finish(mut self) -> Vec<String> {
        let dropped = std::mem::take(&mut self.dropped);
        let live = |db: &DbUid| !dropped.contains(db);
        let mut wrong = Vec::new();
        for ((db, blob), count) in self.named.iter().filter(|((db, _), _)| live(db)) {
            match self.blobs.get(&(*db, *blob)) {
                None => wrong.push(format!("attachment {blob} of database {db} is not there")),
                Some(record) if record.references != *count => {
                    let known = record.references;
                    wrong.push(format!("attachment {blob} of database {db} is named {count} times and counts {known}"));
                }
                Some(_) => {}
            }
        }
        for ((db, blob), record) in self.blobs.iter().filter(|((db, _), _)| live(db)) {
            if !self.named.contains_key(&(*db, *blob)) {
                wrong.push(format!("attachment {blob} of database {db} is kept and nobody names it"));
            }
            let here = self.chunks.remove(&(*db, record.place)).unwrap_or_default();
            if here != (chunks_of(record.bytes), record.bytes) {
                wrong.push(format!("attachment {blob} of database {db} is not whole"));
            }
        }
        for ((db, upload), record) in self.uploads.iter().filter(|((db, _), _)| live(db)) {
            let here = self.chunks.remove(&(*db, *upload)).unwrap_or_default();
            if here != (u64::from(record.chunks), record.bytes) {
                wrong.push(format!("upload {upload} for database {db} is not as far as it says"));
            }
        }
        for (db, upload) in self.chunks.keys().filter(|(db, _)| live(db)) {
            wrong.push(format!("parts of attachments of database {db} belong to nothing: {upload}"));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Map, address, attached, command, db, edit, id, new_attachment, upload};
    use common::command::{EditKind, Op, PutChunk};
    use common::ids::Index;

    fn store() -> Map {
        let mut map = Map::owning_all();
        let edit = |name| edit(address(db(0), name), None, EditKind::Update, "{}", 10);
        let doc = || address(db(0), "x");
        let chunk = |upload_n, bytes: &'static [u8]| {
            Op::PutChunk(PutChunk { doc: doc(), upload: upload(upload_n), number: 0, bytes: Bytes::from_static(bytes) })
        };
        let ops = [
            attached(edit("a"), vec![new_attachment("f", 1, b"same", None), new_attachment("g", 1, b"same", None)]),
            chunk(100, b"uploaded"),
            attached(edit("b"), vec![new_attachment("f", 1, b"uploaded", Some(upload(100)))]),
            chunk(101, b"open"),
        ];
        for (n, op) in ops.into_iter().enumerate() {
            map.fold(Index(n as u64), &[command(n as u128, op)]);
        }
        map
    }

    fn found(map: &Map) -> Vec<String> {
        let mut attachments = Attachments::default();
        let pairs = map.0.iter().map(|(key, value)| (Key::decode(key).expect("ours"), value));
        let mut all: Vec<String> = pairs.filter_map(|(key, value)| attachments.push(&key, value)).collect();
        all.extend(attachments.finish());
        all
    }

    #[test]
    fn what_is_sound_is_not_complained_of_and_each_damage_is_named() {
        assert_eq!(found(&store()), Vec::<String>::new());
        let without = |wanted: fn(&Key) -> bool| {
            let mut map = store();
            map.0.retain(|key, _| !wanted(&Key::decode(key).expect("ours")));
            found(&map)
        };
        let says = |found: Vec<String>, what: &str| assert!(found.iter().any(|line| line.contains(what)), "{found:?}");
        says(without(|key| matches!(key, Key::Chunk(..))), "is not whole");
        says(without(|key| matches!(key, Key::Blob(..))), "is not there");
        says(without(|key| *key == Key::Doc(db(0), id("a"))), "nobody names it");
        says(without(|key| matches!(key, Key::Upload(..))), "belong to nothing");
        let mut map = store();
        let key = Key::Blob(db(0), crate::store::testing::content(b"same").blob).encode();
        let mut blob: BlobRecord = record::decode(&map.0[&key]).expect("sound");
        assert_eq!(blob.references, 2);
        blob.references = 3;
        map.0.insert(key, record::encode(&blob));
        says(found(&map), "is named 2 times and counts 3");
    }
}
