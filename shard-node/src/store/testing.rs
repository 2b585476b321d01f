//! For tests: the smallest store there can be, and short ways to write commands.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use common::attachment::{Attachment, BlobDigest, Content, Encoding, Sent, Source};
use common::command::{Address, Attached, Bearer, Body, Command, Edit, EditKind, Graft, LocalEdit, Op, Outcome};
use common::ids::{DbUid, DocId, Index, RequestId, Slot, UploadId};
use common::rev::Rev;

use super::apply::{Apply, Folded};
use crate::storage::{Batch, Error, Pairs, Read};

/// An ordered map that can be read as an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Map(pub(crate) BTreeMap<Bytes, Bytes>);

impl Map {
    /// A store that owns all slots.
    pub(crate) fn owning_all() -> Self {
        let mut map = Self::default();
        let slots = (0..1024).map(Slot).collect();
        map.fold(Index(0), &[command(0, Op::AdoptSlots { version: 1, slots })]);
        map
    }

    pub(crate) fn apply(&mut self, batch: Batch) {
        for (key, value) in batch.changes {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }

    /// Folds one batch of commands, all of the entry at `index`.
    pub(crate) fn fold(&mut self, index: Index, commands: &[Command]) -> (Vec<Outcome>, Vec<DbUid>) {
        let mut apply = Apply::new(self);
        let fold = |command| apply.command(index, command).expect("a sound store");
        let outcomes = commands.iter().map(fold).collect();
        let Folded { batch, changed } = apply.finish(index.0.to_string().into());
        self.apply(batch);
        (outcomes, changed)
    }
}

impl Read for Map {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, reverse: bool) -> Pairs<'_> {
        let pairs = self.0.range::<[u8], _>((low, high)).map(|(key, value)| Ok((key.clone(), value.clone())));
        if reverse { Box::new(pairs.rev()) } else { Box::new(pairs) }
    }
}

pub(crate) fn db(n: u128) -> DbUid {
    DbUid(uuid::Uuid::from_u128(0x1000 + n))
}

pub(crate) fn id(text: &str) -> DocId {
    DocId::parse(text).expect("a valid id")
}

pub(crate) fn request(n: u128) -> RequestId {
    RequestId(uuid::Uuid::from_u128(n))
}

pub(crate) fn command(n: u128, op: Op) -> Command {
    Command { request: request(n), retry: false, op }
}

pub(crate) fn address(db: DbUid, text: &str) -> Address {
    Address { db, slot: Slot(7), id: id(text) }
}

/// A body; its digest is no MD5, but as good as one here: different texts have different ones.
pub(crate) fn body(json: &str) -> Body {
    let mut digest = [0u8; 16];
    for (at, byte) in json.bytes().enumerate() {
        digest[at % 16] = byte.wrapping_add(digest[at % 16].wrapping_mul(31));
    }
    Body { json: Bytes::copy_from_slice(json.as_bytes()), digest }
}

pub(crate) fn edit(doc: Address, parent: Option<Rev>, kind: EditKind, json: &str, revs_limit: u32) -> Op {
    Op::Edit(Edit { doc, parent, kind, body: body(json), revs_limit })
}

pub(crate) fn graft(doc: Address, path: Vec<Rev>, deleted: bool, json: &str, revs_limit: u32) -> Op {
    Op::Graft(Graft { doc, path, deleted, body: body(json), revs_limit })
}

/// Bytes as an attachment has them; what names them is no SHA-256, but as good as one here.
pub(crate) fn content(bytes: &[u8]) -> Content {
    let mut blob = [bytes.len() as u8; 32];
    for (at, byte) in bytes.iter().enumerate() {
        blob[at % 32] = byte.wrapping_add(blob[at % 32].wrapping_mul(31));
    }
    let (md5, length) = (*blob.first_chunk().expect("longer"), bytes.len() as u64);
    Content { blob: BlobDigest(blob), md5, stored_bytes: length, length, encoding: Encoding::Identity }
}

/// A new attachment with these bytes.
pub(crate) fn new_attachment(name: &str, revpos: u64, bytes: &[u8], upload: Option<UploadId>) -> Sent {
    let (name, content_type) = (name.into(), "text/plain".into());
    let attachment = Attachment { name, content_type, revpos, content: content(bytes) };
    let carried = || Source::Carried(Bytes::copy_from_slice(bytes));
    Sent::New { attachment, source: upload.map_or_else(carried, Source::Uploaded) }
}

/// The op, with attachments.
pub(crate) fn attached(op: Op, attachments: Vec<Sent>) -> Op {
    let write = match op {
        Op::Edit(edit) => Bearer::Edit(edit),
        Op::Graft(graft) => Bearer::Graft(graft),
        other => panic!("{other:?} bears no attachments"),
    };
    Op::Attached(Box::new(Attached { write, attachments }))
}

pub(crate) fn upload(n: u128) -> UploadId {
    UploadId(uuid::Uuid::from_u128(n))
}

pub(crate) fn local(doc: Address, parent: Option<u64>, json: Option<&str>) -> Op {
    let json = json.map(|json| Bytes::copy_from_slice(json.as_bytes()));
    Op::Local(LocalEdit { doc, parent, json })
}
