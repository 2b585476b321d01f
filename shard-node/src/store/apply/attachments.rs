//! Attachments: uploads on their way in, and blobs that are kept as long as a stored revision names them.
//!
//! The count of a blob goes with the bodies: one that is stored holds every blob it names, one that goes lets go of
//! them, and a blob that nobody holds goes with its chunks. What is new is held before what is old is let go.
//!
//! An upload's chunks lie where its blob's will, so that no byte is written twice. It is open until a write names it;
//! that write takes it, or it is forgotten, whatever becomes of the write.

use common::attachment::{Attachment, BlobDigest, CHUNK_BYTES, Sent, Source, chunks_of, digest_with};
use common::command::{Address, Attached, Bearer, By, Edit, Outcome, PutChunk};
use common::edit::{self, Asker, Decision};
use common::ids::{DbUid, Index, UploadId};
use common::rev::Rev;
use common::rev_tree::RevTree;

use super::{Apply, Found, take};
use crate::storage::Error;
use crate::store::keys::{self, Key};
use crate::store::record::{self, BlobRecord, Body, DocRecord, UploadRecord};
use crate::store::{damaged, decoded, key_of};

/// Chunks forgotten with one command, those of the last upload excepted. More would delay the writes that come
/// meanwhile.
const FORGOTTEN_CHUNKS_MAX: u32 = 4_096;

impl Apply<'_> {
    /// Writes a document with attachments.
    pub(super) fn attached(
        &mut self,
        index: Index,
        asker: Asker,
        by: Option<By>,
        op: &Attached,
    ) -> Result<Outcome, Error> {
        let at = op.write.doc();
        if let Some(refusal) = self.refusal(at)? {
            return Ok(refusal);
        }
        let outcome = match by {
            Some(By::Nobody) => Outcome::Done,
            _ => self.write_attached(index, asker, by, op, at)?,
        };
        // It is put to the shard's functions and sent again, without its bytes.
        if outcome == Outcome::OtherValidators {
            return Ok(outcome);
        }
        for upload in op.attachments.iter().filter_map(Sent::upload) {
            self.forget_upload(at.db, upload)?;
        }
        Ok(outcome)
    }

    fn write_attached(
        &mut self,
        index: Index,
        asker: Asker,
        by: Option<By>,
        op: &Attached,
        at: &Address,
    ) -> Result<Outcome, Error> {
        let key = Key::Doc(at.db, at.id.clone()).encode();
        let old = self.open(&key)?;
        let tree = old.as_ref().map(|(_, tree)| tree);
        let json = op.write.body().json.clone();
        let settled = Body::plain(json.clone());
        let (decision, attachments) = match &op.write {
            Bearer::Edit(edit) => {
                let parent = match edit::leaf(tree, asker, edit) {
                    Ok(parent) => parent.cloned(),
                    Err(decision) => return self.carry_out(index, at, Found { key, old }, decision, settled),
                };
                let revpos = parent.as_ref().map_or(0, |parent| parent.generation).saturating_add(1);
                let attachments =
                    match self.resolve(at, old.as_ref(), parent.as_ref(), &op.attachments, Some(revpos))? {
                        Ok(attachments) => attachments,
                        Err(refused) => return Ok(refused),
                    };
                (edit::decide(tree, asker, &with_attachments(edit, &attachments)), attachments)
            }
            Bearer::Graft(graft) => {
                let decision = edit::decide_graft(tree, asker, graft);
                if !matches!(decision, Decision::Write { .. }) {
                    return self.carry_out(index, at, Found { key, old }, decision, settled);
                }
                let from = edit::kept_ancestor(tree, &graft.path);
                match self.resolve(at, old.as_ref(), from, &op.attachments, None)? {
                    Ok(attachments) => (decision, attachments),
                    Err(refused) => return Ok(refused),
                }
            }
        };
        if matches!(decision, Decision::Write { .. }) {
            if !self.is_let_in(at, by)? {
                return Ok(Outcome::OtherValidators);
            }
            for attachment in &attachments {
                self.hold(at.db, attachment, &op.attachments)?;
            }
        }
        self.carry_out(index, at, Found { key, old }, decision, Body::new(json, &attachments))
    }

    /// The attachments a revision is to have, as they will be stored; or why it cannot be written. Changes nothing.
    /// Stubs are taken from the revision `from`; what is new gets `revpos`, if there is one.
    fn resolve(
        &self,
        at: &Address,
        old: Option<&(DocRecord, RevTree)>,
        from: Option<&Rev>,
        sent: &[Sent],
        revpos: Option<u64>,
    ) -> Result<Result<Vec<Attachment>, Outcome>, Error> {
        let known = match (old, from) {
            (Some((record, tree)), Some(from)) => self.attachments_of(at, record, tree, from)?,
            _ => Vec::new(),
        };
        let mut resolved = Vec::with_capacity(sent.len());
        for sent in sent {
            match sent {
                Sent::Stub { name, revpos } => {
                    let kept = known.iter().find(|known| known.name == *name);
                    match kept.filter(|kept| revpos.is_none_or(|revpos| revpos == kept.revpos)) {
                        Some(kept) => resolved.push(kept.clone()),
                        None => return Ok(Err(Outcome::MissingStub { name: name.clone() })),
                    }
                }
                Sent::New { attachment, source } => {
                    if !self.is_here(at.db, attachment, source)? {
                        return Ok(Err(Outcome::MissingUpload));
                    }
                    let revpos = revpos.unwrap_or(attachment.revpos);
                    resolved.push(Attachment { revpos, ..attachment.clone() });
                }
            }
        }
        Ok(Ok(resolved))
    }

    /// The attachments of a revision; none if its body is not kept.
    fn attachments_of(
        &self,
        at: &Address,
        record: &DocRecord,
        tree: &RevTree,
        rev: &Rev,
    ) -> Result<Vec<Attachment>, Error> {
        let unreadable = |key: &[u8]| damaged(key, "its attachments cannot be read");
        if *rev == record.winner {
            let key = Key::Doc(at.db, at.id.clone());
            return record.attachments().map_err(|record::Unknown| unreadable(&key.encode()));
        }
        if !tree.get(rev).is_some_and(|node| node.stored) {
            return Ok(Vec::new());
        }
        let key = Key::Body(at.db, at.id.clone(), rev.clone()).encode();
        let body = decoded(&key, self.overlay.get(&key)?, Body::decode)?;
        let body = body.ok_or_else(|| damaged(&key, "a revision's body is gone"))?;
        body.attachments().map_err(|record::Unknown| unreadable(&key))
    }

    /// Whether all bytes of a new attachment are here.
    fn is_here(&self, db: DbUid, attachment: &Attachment, source: &Source) -> Result<bool, Error> {
        let Source::Uploaded(upload) = source else { return Ok(true) };
        if self.blob(db, attachment.content.blob)?.is_some() {
            return Ok(true);
        }
        let bytes = attachment.content.stored_bytes;
        // Nothing has no chunks that could have come.
        if bytes == 0 {
            return Ok(true);
        }
        let whole = |upload: UploadRecord| upload.bytes == bytes && u64::from(upload.chunks) == chunks_of(bytes);
        Ok(self.upload(db, *upload)?.is_some_and(whole))
    }

    /// Counts one more revision that names a blob, which is made of what was sent if it is not there yet.
    fn hold(&mut self, db: DbUid, attachment: &Attachment, sent: &[Sent]) -> Result<(), Error> {
        let digest = attachment.content.blob;
        let blob = match self.blob(db, digest)? {
            Some(known) => BlobRecord { references: known.references.saturating_add(1), ..known },
            None => {
                let place = self.lay_down(db, digest, sent)?;
                let known = self.db(db)?;
                known.counted = true;
                known.counters.blobs += 1;
                known.counters.blob_bytes += attachment.content.stored_bytes;
                BlobRecord { place, bytes: attachment.content.stored_bytes, references: 1 }
            }
        };
        self.overlay.put(Key::Blob(db, digest).encode(), record::encode(&blob));
        Ok(())
    }

    /// Puts the bytes of a new blob where they stay; where that is.
    fn lay_down(&mut self, db: DbUid, digest: BlobDigest, sent: &[Sent]) -> Result<UploadId, Error> {
        let source = sent.iter().find_map(|sent| match sent {
            Sent::New { attachment, source } if attachment.content.blob == digest => Some(source),
            _ => None,
        });
        match source {
            Some(Source::Uploaded(upload)) => {
                // From here on its chunks are the blob's.
                self.overlay.delete(Key::Upload(db, *upload).encode());
                Ok(*upload)
            }
            Some(Source::Carried(bytes)) => {
                // No upload is called so but by chance in 2^128.
                let place = UploadId(uuid::Uuid::from_slice(&digest.0[..16]).expect("sixteen bytes make one"));
                for (number, start) in (0..).zip((0..bytes.len()).step_by(CHUNK_BYTES)) {
                    let chunk = bytes.slice(start..bytes.len().min(start + CHUNK_BYTES));
                    self.overlay.put(Key::Chunk(db, place, number).encode(), chunk);
                }
                Ok(place)
            }
            None => Err(damaged(&Key::Blob(db, digest).encode(), "a stored revision names it and it is not there")),
        }
    }

    /// Counts one revision less that names the blobs of a body, which is about to go.
    pub(super) fn release(&mut self, db: DbUid, body: &Body) -> Result<(), Error> {
        let counters = Key::Counters(db).encode();
        let attachments = body.attachments();
        for attachment in attachments.map_err(|record::Unknown| damaged(&counters, "attachments cannot be read"))? {
            let digest = attachment.content.blob;
            let key = Key::Blob(db, digest).encode();
            let blob = self.blob(db, digest)?.ok_or_else(|| damaged(&key, "a stored revision names it"))?;
            if blob.references > 1 {
                let blob = BlobRecord { references: blob.references - 1, ..blob };
                self.overlay.put(key, record::encode(&blob));
                continue;
            }
            self.overlay.delete(key);
            for number in 0..u32::try_from(chunks_of(blob.bytes)).unwrap_or(u32::MAX) {
                self.overlay.delete(Key::Chunk(db, blob.place, number).encode());
            }
            let known = self.db(db)?;
            known.counted = true;
            take(&mut known.counters.blobs, 1, db)?;
            take(&mut known.counters.blob_bytes, blob.bytes, db)?;
        }
        Ok(())
    }

    /// Deletes the body under `key`, which nobody can ask for any more, and lets go of its attachments.
    pub(super) fn drop_body(&mut self, db: DbUid, key: bytes::Bytes) -> Result<(), Error> {
        // Most databases have no attachments, and their bodies need not be read.
        if self.db(db)?.counters.blobs > 0
            && let Some(body) = decoded(&key, self.overlay.get(&key)?, Body::decode)?
        {
            self.release(db, &body)?;
        }
        self.overlay.delete(key);
        Ok(())
    }

    /// Takes a chunk of an upload.
    pub(super) fn put_chunk(&mut self, index: Index, op: &PutChunk) -> Result<Outcome, Error> {
        if let Some(refusal) = self.refusal(&op.doc)? {
            return Ok(refusal);
        }
        let db = op.doc.db;
        let known = self.upload(db, op.upload)?;
        let chunk = Key::Chunk(db, op.upload, op.number).encode();
        // A late copy of a first chunk whose upload was taken: it must not open the upload again.
        if known.is_none() && op.number == 0 && self.overlay.get(&chunk)?.is_some() {
            return Ok(Outcome::Done);
        }
        let UploadRecord { chunks, bytes, .. } = known.unwrap_or_default();
        if op.number > chunks {
            return Ok(Outcome::MissingUpload);
        }
        if op.number == chunks {
            self.overlay.put(chunk, op.bytes.clone());
            let upload = UploadRecord { touched: index, chunks: chunks + 1, bytes: bytes + op.bytes.len() as u64 };
            self.overlay.put(Key::Upload(db, op.upload).encode(), record::encode(&upload));
        }
        Ok(Outcome::Done)
    }

    /// Forgets uploads that got their last chunk before an entry of the log.
    pub(super) fn forget_uploads(&mut self, before: Index) -> Result<Outcome, Error> {
        let mut old = Vec::new();
        for pair in self.overlay.scan(&keys::all_uploads()) {
            let (key, value) = pair?;
            let Key::Upload(db, upload) = key_of(&key)? else { return Err(damaged(&key, "it lies among the uploads")) };
            let record: Option<UploadRecord> = decoded(&key, Some(value), |value| record::decode(value))?;
            old.extend(record.filter(|record| record.touched < before).map(|record| (db, upload, record.chunks)));
        }
        let (mut chunks, mut more) = (0, false);
        for (db, upload, of_upload) in old {
            more = chunks >= FORGOTTEN_CHUNKS_MAX;
            if more {
                break;
            }
            chunks += of_upload;
            self.forget_upload(db, upload)?;
        }
        Ok(Outcome::Swept { more })
    }

    /// Forgets an upload, if it is still open.
    fn forget_upload(&mut self, db: DbUid, upload: UploadId) -> Result<(), Error> {
        let Some(known) = self.upload(db, upload)? else { return Ok(()) };
        self.overlay.delete(Key::Upload(db, upload).encode());
        for number in 0..known.chunks {
            self.overlay.delete(Key::Chunk(db, upload, number).encode());
        }
        Ok(())
    }

    fn blob(&self, db: DbUid, digest: BlobDigest) -> Result<Option<BlobRecord>, Error> {
        let key = Key::Blob(db, digest).encode();
        decoded(&key, self.overlay.get(&key)?, |value| record::decode(value))
    }

    fn upload(&self, db: DbUid, upload: UploadId) -> Result<Option<UploadRecord>, Error> {
        let key = Key::Upload(db, upload).encode();
        decoded(&key, self.overlay.get(&key)?, |value| record::decode(value))
    }
}

/// The edit, its digest that of the body with its attachments.
fn with_attachments(edit: &Edit, attachments: &[Attachment]) -> Edit {
    let mut edit = edit.clone();
    edit.body.digest = digest_with(edit.body.digest, attachments);
    edit
}
