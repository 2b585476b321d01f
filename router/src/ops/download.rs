//! Reads the bytes of attachments from their document's shard, chunk by chunk, a little ahead of whoever takes them.

use bytes::Bytes;
use common::attachment::{BlobDigest, CHUNK_BYTES, Content};
use common::ids::{DbUid, DocId, ShardId};
use common::query::{Answer, Consistency, Query};
use common::refusal::Refusal;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::{Error, Ops};
use crate::cluster::catalog::DbEntry;

/// Chunks read at once for one reader: the next one is here when the one before is sent.
const AHEAD: usize = 2;

/// Where the bytes of an attachment are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// The shard.
    pub shard: ShardId,
    /// The database.
    pub db: DbUid,
    /// The bytes.
    pub content: Content,
    /// How fresh what named them is.
    pub consistency: Consistency,
}

impl Ops {
    /// The shard that has a document and the bytes of its attachments.
    pub fn shard_of_doc(&self, db: &DbEntry, id: &DocId) -> ShardId {
        self.cluster.locate(db.uid, db.partitioned, id).0
    }

    /// The bytes of a blob from `from` up to `to`, as they are stored.
    pub fn bytes_of(&self, blob: &Blob, from: u64, to: u64) -> BoxStream<'static, Result<Bytes, Error>> {
        let whole = CHUNK_BYTES as u64;
        let to = to.min(blob.content.stored_bytes);
        let numbers = if from < to { from / whole..to.div_ceil(whole) } else { 0..0 };
        let (ops, blob) = (self.clone(), blob.clone());
        let chunks = stream::iter(numbers).map(move |number| {
            let (ops, blob) = (ops.clone(), blob.clone());
            async move {
                let chunk = ops.chunk(&blob, number).await?;
                let start = number * whole;
                let len = chunk.len() as u64;
                let inside = |at: u64| usize::try_from(at.saturating_sub(start).min(len)).unwrap_or(usize::MAX);
                // A chunk of another length would shift all that follows.
                if len != whole.min(blob.content.stored_bytes - start) {
                    return Err(gone(blob.shard));
                }
                Ok(chunk.slice(inside(from)..inside(to)))
            }
        });
        chunks.buffered(AHEAD).boxed()
    }

    /// All bytes of a blob, as they are stored.
    pub async fn all_bytes_of(&self, blob: &Blob) -> Result<Bytes, Error> {
        let pieces = self.bytes_of(blob, 0, blob.content.stored_bytes);
        let all = pieces.try_fold(Vec::new(), async |mut all, piece| {
            all.extend_from_slice(&piece);
            Ok(all)
        });
        Ok(all.await?.into())
    }

    async fn chunk(&self, blob: &Blob, number: u64) -> Result<Bytes, Error> {
        let number = u32::try_from(number).map_err(|_| gone(blob.shard))?;
        let ask = |consistency| self.ask_chunk(blob.shard, consistency, blob.db, blob.content.blob, number);
        if let Some(chunk) = ask(blob.consistency).await? {
            return Ok(chunk);
        }
        // An older replica than the one that named it may have been asked.
        if blob.consistency == Consistency::Eventual
            && let Some(chunk) = ask(Consistency::Linearizable).await?
        {
            return Ok(chunk);
        }
        Err(gone(blob.shard))
    }

    async fn ask_chunk(
        &self,
        shard: ShardId,
        consistency: Consistency,
        db: DbUid,
        blob: BlobDigest,
        number: u32,
    ) -> Result<Option<Bytes>, Error> {
        match self.cluster.read(shard, consistency, Query::Chunk { db, blob, number }).await? {
            (Answer::Chunk(chunk), _) => Ok(chunk),
            (Answer::Dropped, _) => Err(Error::NoDatabase),
            _ => Err(super::confused(shard)),
        }
    }
}

/// The revision that names it is no longer kept: it was replaced and compacted, or purged, while it was read.
fn gone(shard: ShardId) -> Error {
    let reason = "an attachment was deleted while it was read".to_owned();
    Error::Refused(Refusal::OutOfService { shard, reason })
}
