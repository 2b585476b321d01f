//! Blobs and uploads of the model: whole texts, and where they lie.

use std::collections::BTreeMap;

use bytes::Bytes;
use common::attachment::{BlobDigest, CHUNK_BYTES, Content, Sent, Source, chunks_of};
use common::command::{Outcome, PutChunk};
use common::ids::{DbUid, Index, UploadId};

use super::content;
use crate::store::keys::Key;
use crate::store::record::{self, BlobRecord, UploadRecord};
use crate::store::testing::Map;

/// What each upload brings, which is always the same: its length. Two bring equal bytes, one nothing, one two chunks.
pub(super) const UPLOADS: [usize; 4] = [5, 5, 0, CHUNK_BYTES + 3];

/// The bytes of an upload.
pub(super) fn bytes_of(upload: usize) -> Bytes {
    Bytes::from(vec![b'x'; UPLOADS[upload]])
}

#[derive(Debug, Default, Clone)]
pub(super) struct Blobs {
    /// Where each blob lies, and its bytes.
    places: BTreeMap<(DbUid, BlobDigest), (UploadId, Bytes)>,
    /// Open uploads: when they got something last, and their chunks.
    open: BTreeMap<(DbUid, UploadId), (Index, Vec<Bytes>)>,
}

/// What a store has: blobs with place, bytes and references; uploads with chunks; all chunks.
type Stored = (Vec<(DbUid, BlobDigest, BlobRecord)>, Vec<(DbUid, UploadId, UploadRecord)>, Vec<(DbUid, UploadId, u32)>);

impl Blobs {
    pub(super) fn of(&self, db: DbUid) -> Vec<(BlobDigest, Bytes)> {
        let of_db = self.places.iter().filter(|((of, _), _)| *of == db);
        of_db.map(|((_, digest), (_, bytes))| (*digest, bytes.clone())).collect()
    }

    pub(super) fn chunk(&mut self, index: Index, op: &PutChunk) -> Outcome {
        let key = (op.doc.db, op.upload);
        let taken = self
            .places
            .iter()
            .any(|((db, _), (place, bytes))| (*db, *place) == key && op.number == 0 && !bytes.is_empty());
        if !self.open.contains_key(&key) && taken {
            return Outcome::Done;
        }
        let have = self.open.get(&key).map_or(0, |(_, chunks)| chunks.len());
        if op.number as usize > have {
            return Outcome::MissingUpload;
        }
        if op.number as usize == have {
            let (touched, chunks) = self.open.entry(key).or_default();
            *touched = index;
            chunks.push(op.bytes.clone());
        }
        Outcome::Done
    }

    pub(super) fn forget(&mut self, before: Index) {
        self.open.retain(|_, (touched, _)| *touched >= before);
    }

    pub(super) fn is_whole(&self, db: DbUid, upload: UploadId, content: &Content) -> bool {
        let whole = |(_, chunks): &(Index, Vec<Bytes>)| {
            chunks.iter().map(Bytes::len).sum::<usize>() as u64 == content.stored_bytes
                && chunks.len() as u64 == chunks_of(content.stored_bytes)
        };
        content.stored_bytes == 0
            || self.places.contains_key(&(db, content.blob))
            || self.open.get(&(db, upload)).is_some_and(whole)
    }

    /// A write of these goes in.
    pub(super) fn take(&mut self, db: DbUid, sent: &[Sent]) {
        for sent in sent {
            let Sent::New { attachment, source } = sent else { continue };
            let key = (db, attachment.content.blob);
            if self.places.contains_key(&key) {
                continue;
            }
            let of_digest = || UploadId(uuid::Uuid::from_slice(&key.1.0[..16]).expect("sixteen"));
            let (place, bytes) = match source {
                Source::Carried(bytes) => (of_digest(), bytes.clone()),
                Source::Uploaded(upload) => {
                    let (_, chunks) =
                        self.open.remove(&(db, *upload)).filter(|_| attachment.content.length > 0).unwrap_or_default();
                    (*upload, chunks.concat().into())
                }
            };
            assert_eq!(content(&bytes).blob, key.1);
            self.places.insert(key, (place, bytes));
        }
    }

    /// An upload was named by a write, whatever became of it.
    pub(super) fn close(&mut self, db: DbUid, upload: UploadId) {
        self.open.remove(&(db, upload));
    }

    /// Only blobs that are named stay, and of dropped databases nothing.
    pub(super) fn keep(&mut self, named: &BTreeMap<DbUid, Vec<Content>>, dropped: &[DbUid]) {
        let is_named = |db: &DbUid, digest: &BlobDigest| {
            named.get(db).is_some_and(|all| all.iter().any(|content| content.blob == *digest))
        };
        self.places.retain(|(db, digest), _| is_named(db, digest));
        self.open.retain(|(db, _), _| !dropped.contains(db));
    }

    /// What the store must have.
    pub(super) fn expected(&self, named: &BTreeMap<DbUid, Vec<Content>>) -> Stored {
        let mut chunks = Vec::new();
        let blobs = self.places.iter().map(|((db, digest), (place, bytes))| {
            let bytes = bytes.len() as u64;
            chunks.extend((0..chunks_of(bytes)).map(|number| (*db, *place, number as u32)));
            let references = named[db].iter().filter(|content| content.blob == *digest).count() as u64;
            (*db, *digest, BlobRecord { place: *place, bytes, references })
        });
        let blobs = blobs.collect();
        let uploads = self.open.iter().map(|((db, upload), (touched, parts))| {
            chunks.extend((0..parts.len()).map(|number| (*db, *upload, number as u32)));
            let bytes = parts.iter().map(Bytes::len).sum::<usize>() as u64;
            (*db, *upload, UploadRecord { touched: *touched, chunks: parts.len() as u32, bytes })
        });
        let uploads = uploads.collect();
        chunks.sort_unstable();
        (blobs, uploads, chunks)
    }
}

/// What a store has of databases that are not dropped.
pub(super) fn stored(store: &Map, live: impl Fn(&DbUid) -> bool) -> Stored {
    let (mut blobs, mut uploads, mut chunks) = Stored::default();
    for (key, value) in &store.0 {
        match Key::decode(key).expect("a key of ours") {
            Key::Blob(db, digest) if live(&db) => blobs.push((db, digest, record::decode(value).expect("sound"))),
            Key::Upload(db, upload) if live(&db) => uploads.push((db, upload, record::decode(value).expect("sound"))),
            Key::Chunk(db, upload, number) if live(&db) => chunks.push((db, upload, number)),
            _ => {}
        }
    }
    (blobs, uploads, chunks)
}
