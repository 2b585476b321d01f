//! Between router and node: postcard behind one version byte, over HTTP/1.1.
//!
//! | route (node's internal port, cluster secret needed) | body | answer |
//! |---|---|---|
//! | `POST /v1/shards/{shard}/write` | `Vec<Command>` | [`WriteAnswer`] |
//! | `POST /v1/shards/{shard}/read` | [`ReadRequest`] | [`ReadAnswer`] |
//! | `POST /v1/shards/{shard}/changes` | [`ChangesRequest`](crate::change::ChangesRequest) | [`ChangesAnswer`] |
//! | `POST /v1/shards/{shard}/view` | [`ViewRequest`](crate::view::ViewRequest) | [`ViewAnswer`](crate::view::ViewAnswer) |
//! | `POST /v1/shards/{shard}/export` | [`ExportRequest`](crate::backup::ExportRequest) | a stream of type [`BACKUP`], or `Err(Refusal)` |
//!
//! The status repeats what the answer says (200; 421 not primary; 503; 507 …), so that curl and proxies see it too.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::change::ChangesPage;
use crate::command::Outcome;
use crate::query::{Answer, Consistency, Query};
use crate::refusal::Refusal;

/// First byte of every message. A reader refuses what it does not know.
pub const VERSION: u8 = 3;

/// Content type of a shard's part of a backup.
pub const BACKUP: &str = "application/vnd.quorate.backup";

/// Header that carries the cluster secret on the internal port: `Authorization: Bearer <secret>`.
pub const SECRET_HEADER: http::HeaderName = http::header::AUTHORIZATION;

/// To a batch of commands: an outcome for each, in order, or a refusal of all.
pub type WriteAnswer = Result<Vec<Outcome>, Refusal>;
/// To a batch of queries: an answer for each, in order, or a refusal of all.
pub type ReadAnswer = Result<ReadReply, Refusal>;
/// To a request for changes.
pub type ChangesAnswer = Result<ChangesPage, Refusal>;

/// A batch of queries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRequest {
    /// How fresh the answers must be; one for the whole batch.
    pub consistency: Consistency,
    /// For eventual reads: answer however old it is, as long as its age is known. The asker has found no replica that
    /// is in sync.
    pub last_resort: bool,
    /// The questions.
    pub queries: Vec<Query>,
}

/// Answers to a batch of queries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadReply {
    /// An answer for each query, in order.
    pub answers: Vec<Answer>,
    /// How old the answers may be, in milliseconds, as far as the replica can prove; 0 when linearizable.
    pub lag_ms: u64,
}

/// A message that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is empty.
    #[error("empty message")]
    Empty,
    /// Its version byte is unknown here.
    #[error("message version {0} is not known here (this is version {VERSION})")]
    Version(u8),
    /// It is cut or garbled.
    #[error("message cannot be decoded: {0}")]
    Postcard(postcard::Error),
}

/// Encodes `value` behind the version byte.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    encode_about(value, 0)
}

/// The same for a value that takes about `bytes` bytes: large ones are not moved while they grow.
pub fn encode_about<T: Serialize + ?Sized>(value: &T, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + 1);
    out.push(VERSION);
    postcard::to_extend(value, out).expect("wire types always serialise into memory")
}

/// Decodes what [`encode`] made.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match bytes.split_first() {
        None => Err(Error::Empty),
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(Error::Postcard),
        Some((&other, _)) => Err(Error::Version(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ShardId;

    #[test]
    fn messages_come_back_and_foreign_versions_are_refused() {
        let answer: WriteAnswer = Err(Refusal::NoQuorum { shard: ShardId(7) });
        let bytes = encode(&answer);
        assert_eq!(decode::<WriteAnswer>(&bytes), Ok(answer));
        let mut foreign = bytes.clone();
        foreign[0] = 9;
        assert_eq!(decode::<WriteAnswer>(&foreign), Err(Error::Version(9)));
        assert_eq!(decode::<WriteAnswer>(&[]), Err(Error::Empty));
        assert!(matches!(decode::<WriteAnswer>(&bytes[..1]), Err(Error::Postcard(_))));
    }
}
