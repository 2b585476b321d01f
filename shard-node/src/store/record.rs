//! The values behind the keys: a version byte, then postcard; a body's JSON text last and as it is, so that readers
//! slice it off without a copy.
//!
//! [`Key::Body`](super::keys::Key::Body) has no record unless there are attachments: its value is the JSON text alone,
//! which lets the old winner's body move there as a slice of the record it stood in.

mod body;

use std::cell::RefCell;

use bytes::Bytes;
use common::attachment::Attachment;
use common::ids::{DocId, Index, RequestId, Seq, Slot, UploadId};
use common::mango::kept::ShardIndexes;
use common::query::DbCounters;
use common::rev::Rev;
use common::rev_tree::RevTree;
use common::validation::ShardValidators;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use body::Body;

/// Version byte of every record. A new layout takes the next number and decodes both.
const VERSION: u8 = 1;
/// Version byte of the record of a document whose winner has attachments.
const ATTACHED: u8 = 2;

/// Room kept between two records; a larger one is given back.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A value that is no record of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

/// A document. What most readers want stands outside the tree, which is decoded only when asked for: with a thousand
/// revisions it is the larger part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocRecord {
    /// Place of the last change in the database's stream.
    pub seq: Seq,
    /// Log index of the last change, for readers that have no view of one point in time.
    pub index: Index,
    /// The winner.
    pub winner: Rev,
    /// Whether the winner is a deletion.
    pub deleted: bool,
    /// Whether the winner is the only leaf.
    pub single: bool,
    /// The winner's JSON text.
    pub json: Bytes,
    /// The winner's attachments, encoded; empty if there are none.
    attachments: Bytes,
    tree: Bytes,
}

#[derive(Serialize, Deserialize)]
struct DocHead {
    seq: Seq,
    index: Index,
    winner: Rev,
    deleted: bool,
    single: bool,
    tree_bytes: u32,
}

impl DocRecord {
    /// The record of a document whose winner has this body; `None` if the tree has no winner.
    pub fn new(seq: Seq, index: Index, tree: &RevTree, body: Body) -> Option<Self> {
        let winner = tree.winner()?;
        let (deleted, single) = (winner.deleted, tree.leaves().len() == 1);
        let (Body { json, attachments }, tree) = (body, plain(tree).into());
        Some(Self { seq, index, winner: winner.rev.clone(), deleted, single, json, attachments, tree })
    }

    /// The winner's body.
    pub fn body(&self) -> Body {
        Body { json: self.json.clone(), attachments: self.attachments.clone() }
    }

    /// The winner's attachments.
    pub fn attachments(&self) -> Result<Vec<Attachment>, Unknown> {
        body::attachments(&self.attachments)
    }

    /// The record's bytes.
    pub fn encode(&self) -> Bytes {
        let head = DocHead {
            seq: self.seq,
            index: self.index,
            winner: self.winner.clone(),
            deleted: self.deleted,
            single: self.single,
            tree_bytes: u32::try_from(self.tree.len()).expect("a tree of revs_limit revisions is far below 4 GiB"),
        };
        let (version, attachments) = match self.attachments.len() {
            0 => (VERSION, Vec::new()),
            len => (ATTACHED, plain(&u32::try_from(len).expect("a list is far below 4 GiB"))),
        };
        encoded(Some(version), &head, |head| {
            let parts = [head, &attachments, &self.attachments, &self.tree, &self.json];
            Bytes::from(parts.concat())
        })
    }

    /// Reads a record; body and tree stay slices of `value`.
    pub fn decode(value: &Bytes) -> Result<Self, Unknown> {
        let (head, attachments, rest): (DocHead, Bytes, Bytes) = match value.first() {
            Some(&ATTACHED) => {
                let (head, rest) = behind(value, 1)?;
                let (attachments_bytes, rest) = behind(&rest, 0)?;
                let (attachments, rest) = split(&rest, attachments_bytes)?;
                (head, attachments, rest)
            }
            _ => {
                let (head, rest) = take(value)?;
                (head, Bytes::new(), rest)
            }
        };
        let DocHead { seq, index, winner, deleted, single, tree_bytes } = head;
        let (tree, json) = split(&rest, tree_bytes)?;
        Ok(Self { seq, index, winner, deleted, single, json, attachments, tree })
    }

    /// The revision tree.
    pub fn tree(&self) -> Result<RevTree, Unknown> {
        match postcard::take_from_bytes(&self.tree) {
            Ok((tree, [])) => Ok(tree),
            _ => Err(Unknown),
        }
    }

    /// The row that stands for this document in the stream.
    pub fn seq_row(&self, id: DocId) -> Result<SeqRow, Unknown> {
        if self.single {
            return Ok(SeqRow { id, leaves: vec![self.winner.clone()], deleted: self.deleted });
        }
        Ok(SeqRow::of(id, &self.tree()?))
    }
}

/// What stands at a seq: enough for a row of a feed without bodies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeqRow {
    /// The document.
    pub id: DocId,
    /// All leaves, the winner first.
    pub leaves: Vec<Rev>,
    /// Whether the winner is a deletion.
    pub deleted: bool,
}

impl SeqRow {
    /// The row of the document `id`, whose tree is `tree`.
    pub fn of(id: DocId, tree: &RevTree) -> Self {
        let leaves = tree.leaves().into_iter().map(|leaf| leaf.rev.clone()).collect();
        Self { id, leaves, deleted: tree.is_deleted() }
    }
}

/// A local document. It outlives its deletion (`live` false), since the requests it remembers do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalRecord {
    /// N of its revision `0-N`.
    pub counter: u64,
    /// Whether it is there.
    pub live: bool,
    /// The latest requests that wrote it and the counter each got, oldest first.
    pub requests: Vec<(RequestId, u64)>,
    /// Its JSON text.
    pub json: Bytes,
}

#[derive(Serialize, Deserialize)]
struct LocalHead {
    counter: u64,
    live: bool,
    requests: Vec<(RequestId, u64)>,
}

impl LocalRecord {
    /// The record's bytes.
    pub fn encode(&self) -> Bytes {
        let head = LocalHead { counter: self.counter, live: self.live, requests: self.requests.clone() };
        let mut bytes = record(&head);
        bytes.extend_from_slice(&self.json);
        bytes.into()
    }

    /// Reads a record; the body stays a slice of `value`.
    pub fn decode(value: &Bytes) -> Result<Self, Unknown> {
        let (LocalHead { counter, live, requests }, json) = take(value)?;
        Ok(Self { counter, live, requests, json })
    }
}

/// The value of an index entry: how long the key of its columns is, in bytes. The id follows it in the entry's key.
pub fn encode_entry(columns_bytes: usize) -> Bytes {
    // Cut at 16 KiB behind the name of a partition, which is shorter than an id.
    let [.., high, low] = columns_bytes.to_be_bytes();
    Bytes::copy_from_slice(&[VERSION, high, low])
}

/// Reads what [`encode_entry`] wrote.
pub fn decode_entry(value: &[u8]) -> Result<usize, Unknown> {
    match value {
        [VERSION, high, low] => Ok(usize::from(u16::from_be_bytes([*high, *low]))),
        _ => Err(Unknown),
    }
}

/// The slots a shard owns, and since which version of the map.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// Version of the shard map; 0 before the first was adopted.
    pub version: u64,
    /// Sorted, each once.
    pub owned: Vec<Slot>,
}

/// The purges of a database: those from `first` up to, but not including, `next` are remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purges {
    /// Number of the oldest one.
    pub first: u64,
    /// Number of the next one: how many there were.
    pub next: u64,
}

/// One purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeRecord {
    /// Its name.
    pub request: RequestId,
    /// The document.
    pub id: DocId,
    /// What was forgotten.
    pub revs: Vec<Rev>,
}

/// An upload that no write has named yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// The log entry that brought its last chunk.
    pub touched: Index,
    /// Its chunks so far: those below this number.
    pub chunks: u32,
    /// Their bytes.
    pub bytes: u64,
}

/// A blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRecord {
    /// The upload under whose name its chunks lie.
    pub place: UploadId,
    /// Its bytes.
    pub bytes: u64,
    /// Stored revisions that name it, once for each of their attachments; never 0.
    pub references: u64,
}

/// A record without a body.
pub trait Record: Serialize + DeserializeOwned {
    /// Version byte it is written with.
    const VERSION: u8 = VERSION;

    /// Reads a record that was written with an older version byte.
    fn of_older(_version: u8, _bytes: &[u8]) -> Result<Self, Unknown> {
        Err(Unknown)
    }
}

impl Record for SeqRow {}
impl Record for Slots {}
/// Version 1 had no count of purges, version 2 none of blobs.
impl Record for DbCounters {
    const VERSION: u8 = 3;

    fn of_older(version: u8, bytes: &[u8]) -> Result<Self, Unknown> {
        let of = |(seq, docs, deleted, bytes), purges| Self { seq, docs, deleted, bytes, purges, ..Self::default() };
        match (version, postcard::take_from_bytes(bytes), postcard::take_from_bytes(bytes)) {
            (1, Ok((counters, [])), _) => Ok(of(counters, 0)),
            (2, _, Ok(((counters, purges), []))) => Ok(of(counters, purges)),
            _ => Err(Unknown),
        }
    }
}
impl Record for UploadRecord {}
impl Record for BlobRecord {}
impl Record for Purges {}
impl Record for PurgeRecord {}
impl Record for ShardIndexes {}
impl Record for ShardValidators {}
/// The number of a purge.
impl Record for u64 {}

/// The bytes of a record without a body.
pub fn encode<R: Record>(value: &R) -> Bytes {
    encoded(Some(R::VERSION), value, Bytes::copy_from_slice)
}

/// Reads a record without a body.
pub fn decode<R: Record>(value: &[u8]) -> Result<R, Unknown> {
    match value.split_first() {
        Some((version, rest)) if *version == R::VERSION => match postcard::take_from_bytes(rest) {
            Ok((record, [])) => Ok(record),
            _ => Err(Unknown),
        },
        Some((version, rest)) => R::of_older(*version, rest),
        None => Err(Unknown),
    }
}

const WRITABLE: &str = "postcard writes every type but sequences of unknown length, and records have none";

fn record<T: Serialize>(value: &T) -> Vec<u8> {
    encoded(Some(VERSION), value, <[u8]>::to_vec)
}

fn plain<T: Serialize>(value: &T) -> Vec<u8> {
    encoded(None, value, <[u8]>::to_vec)
}

/// Encodes `value` behind a version byte, if given, and gives the bytes to `take`. They are made in room that is used again
/// and again: a vector of their own would be moved several times as it grows, and end up larger than they are.
fn encoded<T: Serialize, R>(version: Option<u8>, value: &T, take: impl FnOnce(&[u8]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut bytes = std::mem::take(scratch);
        bytes.clear();
        bytes.extend(version);
        let bytes = postcard::to_extend(value, bytes).expect(WRITABLE);
        let taken = take(&bytes);
        if bytes.capacity() <= SCRATCH_BYTES_MAX {
            *scratch = bytes;
        }
        taken
    })
}

/// The head of a record and what follows it.
fn take<T: DeserializeOwned>(value: &Bytes) -> Result<(T, Bytes), Unknown> {
    if value.first() == Some(&VERSION) { behind(value, 1) } else { Err(Unknown) }
}

/// What stands at `at`, and what follows it.
fn behind<T: DeserializeOwned>(value: &Bytes, at: usize) -> Result<(T, Bytes), Unknown> {
    let (head, rest) = postcard::take_from_bytes(&value[at..]).map_err(|_| Unknown)?;
    Ok((head, value.slice(value.len() - rest.len()..)))
}

/// The first `len` bytes, and the rest.
fn split(value: &Bytes, len: u32) -> Result<(Bytes, Bytes), Unknown> {
    let len = usize::try_from(len).ok().filter(|len| *len <= value.len()).ok_or(Unknown)?;
    Ok((value.slice(..len), value.slice(len..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc() -> DocRecord {
        let mut tree = RevTree::default();
        let rev = |text| Rev::parse(text).expect("valid");
        tree.extend(None, rev("1-a"), false, RequestId(uuid::Uuid::from_u128(1)));
        tree.extend(Some(&rev("1-a")), rev("2-b"), true, RequestId(uuid::Uuid::from_u128(2)));
        DocRecord::new(Seq(3), Index(4), &tree, Body::plain(Bytes::from_static(b"{}"))).expect("it has a winner")
    }

    fn attached() -> DocRecord {
        let body =
            Body::new(Bytes::from_static(b"{}"), &[body::tests::attachment("a"), body::tests::attachment("b/c")]);
        DocRecord { attachments: body.attachments, ..doc() }
    }

    #[test]
    fn a_document_comes_back_as_written_and_its_body_is_a_slice() {
        for (record, attachments) in [(doc(), 0), (attached(), 2)] {
            let bytes = record.encode();
            let decoded = DocRecord::decode(&bytes).expect("our record");
            assert_eq!(decoded, record);
            assert_eq!(decoded.tree().expect("our tree").nodes().len(), 2);
            assert_eq!(decoded.attachments().expect("our attachments").len(), attachments);
            assert!(bytes.as_ptr_range().contains(&decoded.json.as_ptr()));
        }
    }

    #[test]
    fn a_local_document_comes_back_as_written() {
        let requests = vec![(RequestId(uuid::Uuid::from_u128(1)), 1)];
        let local = LocalRecord { counter: 1, live: true, requests, json: Bytes::from_static(b"{}") };
        assert_eq!(LocalRecord::decode(&local.encode()), Ok(local));
    }

    #[test]
    fn counters_of_older_versions_are_read() {
        let old = postcard::to_extend(&(Seq(7), 5u64, 2u64, 90u64), vec![1]).expect("serialises");
        let counters = DbCounters { seq: Seq(7), docs: 5, deleted: 2, bytes: 90, ..Default::default() };
        assert_eq!(decode(&old), Ok(counters));
        let old = postcard::to_extend(&(Seq(7), 5u64, 2u64, 90u64, 3u64), vec![2]).expect("serialises");
        assert_eq!(decode(&old), Ok(DbCounters { purges: 3, ..counters }));
        let counters = DbCounters { purges: 3, blobs: 2, blob_bytes: 1 << 40, ..counters };
        assert_eq!(decode(&encode(&counters)), Ok(counters));
        assert_eq!(decode::<SeqRow>(&[0]), Err(Unknown));
    }

    #[test]
    fn cut_or_foreign_bytes_are_no_record() {
        let bytes = attached().encode();
        for end in 0..bytes.len() - 2 {
            assert_eq!(DocRecord::decode(&bytes.slice(..end)), Err(Unknown), "cut at {end}");
        }
        let bytes = doc().encode();
        for end in 0..bytes.len() - 2 {
            assert_eq!(DocRecord::decode(&bytes.slice(..end)), Err(Unknown), "cut at {end}");
        }
        let newer = [&[ATTACHED + 1], &bytes[1..]].concat();
        assert_eq!(DocRecord::decode(&newer.into()), Err(Unknown));
        let counters = encode(&DbCounters::default());
        assert_eq!(decode::<DbCounters>(&[&counters[..], b"x"].concat()), Err(Unknown));
        assert_eq!(decode::<DbCounters>(b""), Err(Unknown));
    }
}
