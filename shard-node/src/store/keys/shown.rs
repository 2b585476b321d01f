//! A key as people read it, in errors and dumps.

use std::fmt;

use common::ids::RequestId;

use super::Key;

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied => f.write_str("applied"),
            Self::Meta(name) => write!(f, "meta {name}"),
            Self::Dropped(db) => write!(f, "dropped {db}"),
            Self::Counters(db) => write!(f, "counters {db}"),
            Self::Doc(db, id) => write!(f, "doc {db} {id}"),
            Self::Body(db, id, rev) => write!(f, "body {db} {id} {rev}"),
            Self::BySeq(db, seq) => write!(f, "seq {db} {seq}"),
            Self::ByPartition(db, partition, seq) => write!(f, "seq {db} {partition} {seq}"),
            Self::Local(db, id) => write!(f, "local {db} {id}"),
            Self::Purges(db) => write!(f, "purges {db}"),
            Self::Purge(db, number) => write!(f, "purge {db} {number}"),
            Self::PurgeRequest(db, RequestId(request)) => write!(f, "purge request {db} {request}"),
            Self::Entry(db, number, rest) => write!(f, "entry {db} {number} {rest:?}"),
            Self::Indexes(db) => write!(f, "indexes {db}"),
            Self::Validators(db) => write!(f, "validators {db}"),
            Self::View(db, signature, rest) => write!(f, "view {db} {signature} {rest:?}"),
            Self::Upload(db, upload) => write!(f, "upload {db} {upload}"),
            Self::Blob(db, digest) => write!(f, "blob {db} {digest}"),
            Self::Chunk(db, upload, number) => write!(f, "chunk {db} {upload} {number}"),
        }
    }
}
