//! The one ordered key space of a replica: what each key means, and its bytes.
//!
//! The bytes sort as the meaning does: documents of a database by the bytes of their ids, its stream by seq. All keys
//! of one database lie side by side, so that a dropped one is one range. Reads and writes nothing.

mod shown;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use common::attachment::BlobDigest;
use common::ids::{DbUid, DocId, RequestId, Seq, UploadId};
use common::rev::{Rev, RevHash};
use common::view::Signature;

/// Tags of the keys that concern the whole shard. All below [`DB`], so that a reader of a sorted stream of pairs knows
/// the dropped databases before it meets their keys.
const APPLIED: u8 = 0x01;
const META: u8 = 0x02;
const DROPPED: u8 = 0x03;
// Not among the keys of its database, so that those of all databases are found without asking for each.
const UPLOAD: u8 = 0x04;
/// Tag of every key of a database; behind it the uid and one of the kinds below.
const DB: u8 = 0x10;

const COUNTERS: u8 = 1;
const DOC: u8 = 2;
const BODY: u8 = 3;
// Behind the documents: `snapshot::rebuild` makes the stream from them as they pass by.
const BY_SEQ: u8 = 4;
const BY_PARTITION: u8 = 5;
const LOCAL: u8 = 6;
const ATTACHMENTS: u8 = 7;
/// What stands behind [`ATTACHMENTS`]: one of these.
const BLOB: u8 = 1;
const CHUNK: u8 = 2;
const INDEX: u8 = 8;
const PURGES: u8 = 9;
/// What stands behind [`PURGES`]: nothing, or one of these.
const PURGE_NUMBER: u8 = 1;
const PURGE_REQUEST: u8 = 2;
const INDEXES: u8 = 10;
const VIEW: u8 = 11;
const VALIDATORS: u8 = 12;

const TAG: usize = 1;
const UID: usize = 16;
/// Bytes before what tells two keys of one kind and database apart.
const HEAD: usize = TAG + UID + 1;

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The record of what was applied last; opaque to the store.
    Applied,
    /// A named fact of the shard, such as the slots it owns.
    Meta(Box<str>),
    /// A database that was dropped; its uid is refused for ever.
    Dropped(DbUid),
    /// A database's counters.
    Counters(DbUid),
    /// A document's record: tree, seq, the winner's body.
    Doc(DbUid, DocId),
    /// The body of a revision that is not the winner.
    Body(DbUid, DocId, Rev),
    /// A document's place in the stream of changes.
    BySeq(DbUid, Seq),
    /// A document's place in the stream of its partition, by the partition's name.
    ByPartition(DbUid, Box<str>, Seq),
    /// A local document.
    Local(DbUid, DocId),
    /// Which purges of a database are remembered.
    Purges(DbUid),
    /// A purge that is remembered, by its number.
    Purge(DbUid, u64),
    /// The number of a purge that is remembered, by its request.
    PurgeRequest(DbUid, RequestId),
    /// An entry of an index, by the index's number: the key of its columns, then the document's id. Where one ends and
    /// the other begins stands in its value.
    Entry(DbUid, u32, Bytes),
    /// What is known of a database's indexes.
    Indexes(DbUid),
    /// What is known of a database's validation functions.
    Validators(DbUid),
    /// A part of an index of views, see [`super::views`].
    View(DbUid, Signature, Bytes),
    /// An upload that no write has named yet.
    Upload(DbUid, UploadId),
    /// Where a blob lies, and how many stored revisions name it.
    Blob(DbUid, BlobDigest),
    /// A chunk of a blob or of an upload, by its number.
    Chunk(DbUid, UploadId, u32),
}

/// Bytes that are no key of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

impl Key {
    /// The key's bytes.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Applied => Bytes::from_static(&[APPLIED]),
            Self::Meta(name) => [&[META], name.as_bytes()].concat().into(),
            Self::Dropped(db) => [&[DROPPED][..], db.0.as_bytes()].concat().into(),
            Self::Counters(db) => in_db(*db, COUNTERS, 0).into(),
            Self::Doc(db, id) => doc_bound(*db, id.as_str()).into(),
            Self::Body(db, id, rev) => {
                let mut key = in_db(*db, BODY, id.as_str().len() + 2 + 8 + 1 + 16);
                push_escaped(&mut key, id.as_str());
                push_rev(&mut key, rev);
                key.into()
            }
            Self::BySeq(db, seq) => by_seq(*db, *seq),
            Self::ByPartition(db, partition, seq) => by_partition(*db, partition, *seq),
            Self::Local(db, id) => local_bound(*db, id.as_str()).into(),
            Self::Purges(db) => in_db(*db, PURGES, 0).into(),
            Self::Purge(db, number) => tagged(*db, PURGES, PURGE_NUMBER, &number.to_be_bytes()),
            Self::PurgeRequest(db, RequestId(request)) => tagged(*db, PURGES, PURGE_REQUEST, request.as_bytes()),
            Self::Upload(db, UploadId(upload)) => [&uploads(*db).0[..], upload.as_bytes()].concat().into(),
            Self::Blob(db, BlobDigest(digest)) => tagged(*db, ATTACHMENTS, BLOB, digest),
            Self::Chunk(db, UploadId(upload), number) => {
                tagged(*db, ATTACHMENTS, CHUNK, &[&upload.as_bytes()[..], &number.to_be_bytes()].concat())
            }
            Self::Entry(db, number, rest) => [&entries(*db, *number).0[..], rest].concat().into(),
            Self::Indexes(db) => in_db(*db, INDEXES, 0).into(),
            Self::Validators(db) => in_db(*db, VALIDATORS, 0).into(),
            Self::View(db, signature, rest) => [&view(*db, *signature).0[..], rest].concat().into(),
        }
    }

    /// What `key` stands for.
    pub fn decode(key: &[u8]) -> Result<Self, Unknown> {
        match key.split_first().ok_or(Unknown)? {
            (&APPLIED, []) => Ok(Self::Applied),
            (&META, name) => Ok(Self::Meta(text(name)?.into())),
            (&DROPPED, uid) => Ok(Self::Dropped(uid_of(uid)?)),
            (&UPLOAD, rest) => {
                let (db, upload) = rest.split_at_checked(UID).ok_or(Unknown)?;
                Ok(Self::Upload(uid_of(db)?, upload_of(upload)?))
            }
            (&DB, _) => Self::decode_in_db(db_of(key)?, key),
            _ => Err(Unknown),
        }
    }

    fn decode_in_db(db: DbUid, key: &[u8]) -> Result<Self, Unknown> {
        let rest = key.get(HEAD..).ok_or(Unknown)?;
        match key[HEAD - 1] {
            COUNTERS if rest.is_empty() => Ok(Self::Counters(db)),
            DOC => Ok(Self::Doc(db, id(rest)?)),
            BODY => {
                let (escaped, rev) = split_escaped(rest)?;
                Ok(Self::Body(db, id(&escaped)?, rev_of(rev)?))
            }
            BY_SEQ => Ok(Self::BySeq(db, Seq(u64_of(rest)?))),
            BY_PARTITION => {
                let end = rest.iter().position(|byte| *byte == b':').ok_or(Unknown)?;
                Ok(Self::ByPartition(db, text(&rest[..end])?.into(), Seq(u64_of(&rest[end + 1..])?)))
            }
            LOCAL => Ok(Self::Local(db, id(rest)?)),
            INDEX => {
                let (number, rest) = rest.split_first_chunk().ok_or(Unknown)?;
                Ok(Self::Entry(db, u32::from_be_bytes(*number), Bytes::copy_from_slice(rest)))
            }
            INDEXES if rest.is_empty() => Ok(Self::Indexes(db)),
            VALIDATORS if rest.is_empty() => Ok(Self::Validators(db)),
            VIEW => {
                let (signature, rest) = rest.split_first_chunk().ok_or(Unknown)?;
                Ok(Self::View(db, Signature(*signature), Bytes::copy_from_slice(rest)))
            }
            ATTACHMENTS => match rest.split_first() {
                Some((&BLOB, digest)) => Ok(Self::Blob(db, BlobDigest(digest.try_into().map_err(|_| Unknown)?))),
                Some((&CHUNK, rest)) => {
                    let (upload, number) = rest.split_at_checked(UID).ok_or(Unknown)?;
                    let number = u32::from_be_bytes(number.try_into().map_err(|_| Unknown)?);
                    Ok(Self::Chunk(db, upload_of(upload)?, number))
                }
                _ => Err(Unknown),
            },
            PURGES => match rest.split_first() {
                None => Ok(Self::Purges(db)),
                Some((&PURGE_NUMBER, number)) => Ok(Self::Purge(db, u64_of(number)?)),
                Some((&PURGE_REQUEST, request)) => {
                    let request = uuid::Uuid::from_slice(request).map_err(|_| Unknown)?;
                    Ok(Self::PurgeRequest(db, RequestId(request)))
                }
                Some(_) => Err(Unknown),
            },
            _ => Err(Unknown),
        }
    }

    /// The database the key belongs to; `None` for keys of the whole shard, [`Key::Dropped`] among them.
    pub fn db(&self) -> Option<DbUid> {
        match self {
            Self::Applied | Self::Meta(_) | Self::Dropped(_) => None,
            Self::Counters(db) | Self::Doc(db, _) | Self::Body(db, ..) | Self::BySeq(db, _) | Self::Local(db, _) => {
                Some(*db)
            }
            Self::ByPartition(db, ..) => Some(*db),
            Self::Purges(db) | Self::Purge(db, _) | Self::PurgeRequest(db, _) => Some(*db),
            Self::Entry(db, ..) | Self::Indexes(db) | Self::Validators(db) | Self::View(db, ..) => Some(*db),
            Self::Upload(db, _) | Self::Blob(db, _) | Self::Chunk(db, ..) => Some(*db),
        }
    }
}

/// Where a document called `text` would stand; any text, since a range may begin and end anywhere.
pub(crate) fn doc_bound(db: DbUid, text: &str) -> Vec<u8> {
    bound(db, DOC, text)
}

/// Where a local document called `text` would stand.
pub(crate) fn local_bound(db: DbUid, text: &str) -> Vec<u8> {
    bound(db, LOCAL, text)
}

fn bound(db: DbUid, kind: u8, text: &str) -> Vec<u8> {
    let mut key = in_db(db, kind, text.len());
    key.extend_from_slice(text.as_bytes());
    key
}

/// The bytes of [`Key::BySeq`].
pub(crate) fn by_seq(db: DbUid, seq: Seq) -> Bytes {
    let mut key = in_db(db, BY_SEQ, 8);
    key.extend_from_slice(&seq.0.to_be_bytes());
    key.into()
}

/// The bytes of [`Key::ByPartition`]. A name has no colon, so that the one behind it ends it.
pub(crate) fn by_partition(db: DbUid, partition: &str, seq: Seq) -> Bytes {
    let mut key = in_db(db, BY_PARTITION, partition.len() + 1 + 8);
    key.extend_from_slice(partition.as_bytes());
    key.push(b':');
    key.extend_from_slice(&seq.0.to_be_bytes());
    key.into()
}

/// The partition in whose stream a document has a place.
///
/// A shard is not told which databases have partitions, and a snapshot could not tell: every id that has the form has a
/// place. The catalog's documents are never in partitions.
pub(crate) fn partition_of(db: DbUid, id: &DocId) -> Option<&str> {
    if db.is_system() { None } else { id.partition().ok().flatten() }
}

/// A range of keys: from the first, up to but not including the second.
pub(crate) type Span = (Vec<u8>, Vec<u8>);

/// All documents of a database.
pub(crate) fn docs(db: DbUid) -> Span {
    (in_db(db, DOC, 0), in_db(db, DOC + 1, 0))
}

/// All bodies of a database under keys of their own, but those of documents up to and including `after`.
pub(crate) fn bodies(db: DbUid, after: Option<&DocId>) -> Span {
    let mut low = in_db(db, BODY, 0);
    if let Some(after) = after {
        push_escaped(&mut low, after.as_str());
        // In the place of the end of the id: behind all its bodies, before every longer id.
        *low.last_mut().expect("it ends with two zeros") = 1;
    }
    (low, in_db(db, BODY + 1, 0))
}

/// All local documents of a database.
pub(crate) fn locals(db: DbUid) -> Span {
    (in_db(db, LOCAL, 0), in_db(db, LOCAL + 1, 0))
}

/// All entries of an index.
pub(crate) fn entries(db: DbUid, number: u32) -> Span {
    let of = |number: u32| {
        let mut key = in_db(db, INDEX, 4);
        key.extend_from_slice(&number.to_be_bytes());
        key
    };
    // Numbers count up from zero, one for each index ever made.
    (of(number), number.checked_add(1).map_or_else(|| in_db(db, INDEX + 1, 0), of))
}

/// An index of views.
pub(crate) fn view(db: DbUid, signature: Signature) -> Span {
    let mut low = in_db(db, VIEW, signature.0.len());
    low.extend_from_slice(&signature.0);
    let high = match signature.0.iter().rposition(|byte| *byte < u8::MAX) {
        Some(at) => {
            let mut high = low[..HEAD + at].to_vec();
            high.push(signature.0[at] + 1);
            high
        }
        None => in_db(db, VIEW + 1, 0),
    };
    (low, high)
}

/// All indexes of views.
pub(crate) fn views(db: DbUid) -> Span {
    (in_db(db, VIEW, 0), in_db(db, VIEW + 1, 0))
}

/// All uploads for a database that no write has named yet.
pub(crate) fn uploads(db: DbUid) -> Span {
    let low = [&[UPLOAD][..], db.0.as_bytes()].concat();
    let high = [&low[..], &[0xff; UID + 1]].concat();
    (low, high)
}

/// All uploads for all databases that no write has named yet.
pub(crate) fn all_uploads() -> Span {
    (vec![UPLOAD], vec![UPLOAD + 1])
}

/// Everything of a database but the note that it was dropped, and uploads.
pub(crate) fn whole_db(db: DbUid) -> Span {
    (in_db(db, 0, 0), in_db(db, u8::MAX, 0))
}

/// Everything of all databases.
pub(crate) fn all_dbs() -> Span {
    (vec![DB], vec![DB + 1])
}

/// All notes of dropped databases.
pub(crate) fn all_dropped() -> Span {
    (vec![DROPPED], vec![DROPPED + 1])
}

/// Keys that can be made again from other keys: a snapshot leaves them out.
pub(crate) fn is_derived(key: &Key) -> bool {
    matches!(key, Key::BySeq(..) | Key::ByPartition(..) | Key::View(..))
}

fn in_db(db: DbUid, kind: u8, room: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(HEAD + room);
    key.push(DB);
    key.extend_from_slice(db.0.as_bytes());
    key.push(kind);
    key
}

fn tagged(db: DbUid, kind: u8, tag: u8, rest: &[u8]) -> Bytes {
    let mut key = in_db(db, kind, 1 + rest.len());
    key.push(tag);
    key.extend_from_slice(rest);
    key.into()
}

/// Text with an end that sorts before everything: `00` ends it, and a zero inside is followed by `01`.
fn push_escaped(key: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        key.push(byte);
        if byte == 0 {
            key.push(1);
        }
    }
    key.extend_from_slice(&[0, 0]);
}

fn split_escaped(bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), Unknown> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    loop {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(0), Some(0)) => return Ok((plain, &bytes[at + 2..])),
            (Some(0), Some(1)) => {
                plain.push(0);
                at += 2;
            }
            (Some(0), _) | (None, _) => return Err(Unknown),
            (Some(byte), _) => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
}

/// Generation first, so that a document's bodies lie in the order they were written; then the hash in its short form,
/// whose order does not matter to anybody.
fn push_rev(key: &mut Vec<u8>, rev: &Rev) {
    key.extend_from_slice(&rev.generation.to_be_bytes());
    match &rev.hash {
        RevHash::Digest(bytes) => {
            key.push(0);
            key.extend_from_slice(bytes);
        }
        RevHash::Text(text) => {
            key.push(1);
            key.extend_from_slice(text.as_bytes());
        }
    }
}

fn rev_of(bytes: &[u8]) -> Result<Rev, Unknown> {
    let (generation, hash) = bytes.split_at_checked(8).ok_or(Unknown)?;
    let hash = match hash.split_first().ok_or(Unknown)? {
        (0, digest) => RevHash::Digest(digest.try_into().map_err(|_| Unknown)?),
        (1, hash) => RevHash::Text(text(hash)?.into()),
        _ => return Err(Unknown),
    };
    Ok(Rev { generation: u64_of(generation)?, hash })
}

fn db_of(key: &[u8]) -> Result<DbUid, Unknown> {
    uid_of(key.get(TAG..TAG + UID).ok_or(Unknown)?)
}

fn upload_of(bytes: &[u8]) -> Result<UploadId, Unknown> {
    Ok(UploadId(uuid::Uuid::from_slice(bytes).map_err(|_| Unknown)?))
}

fn uid_of(bytes: &[u8]) -> Result<DbUid, Unknown> {
    Ok(DbUid(uuid::Uuid::from_slice(bytes).map_err(|_| Unknown)?))
}

fn u64_of(bytes: &[u8]) -> Result<u64, Unknown> {
    Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| Unknown)?))
}

fn text(bytes: &[u8]) -> Result<&str, Unknown> {
    std::str::from_utf8(bytes).map_err(|_| Unknown)
}

fn id(bytes: &[u8]) -> Result<DocId, Unknown> {
    DocId::parse(text(bytes)?).map_err(|_| Unknown)
}
