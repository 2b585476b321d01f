//! Brings the bytes of an attachment to its document's shard, chunk by chunk, before the write that names them.
//!
//! At most two chunks of one upload are under way at once, and few of all uploads together: other writes pass in
//! between. An upload that no write names in the end is forgotten by the shard.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use common::attachment::{
    Attachment, BlobDigest, CARRIED_BYTES_MAX, CARRIED_BYTES_TOTAL_MAX, CHUNK_BYTES, Content, Encoding, Sent, Source,
};
use common::command::{Address, Command, Op, Outcome, PutChunk};
use common::ids::{DbName, DocId, RequestId, ShardId, UploadId};
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use md5::Md5;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::{Error, Ops, moved};
use crate::cluster::Cluster;

/// Chunks of one upload under way at once. With one the shard waits for the sender's next bytes; with more they delay
/// the small writes behind them.
const UNDER_WAY_MAX: usize = 2;
/// Chunks of all uploads under way through one router at once.
const UNDER_WAY_TOTAL_MAX: usize = 32;

/// What all uploads of a router share.
#[derive(Debug, Clone)]
pub struct Uploads {
    under_way: Arc<Semaphore>,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { under_way: Arc::new(Semaphore::new(UNDER_WAY_TOTAL_MAX)) }
    }
}

/// An attachment on its way in.
pub struct Upload {
    to: Target,
    buffer: BytesMut,
    number: u32,
    under_way: FuturesOrdered<BoxFuture<'static, Result<(), Error>>>,
    md5: Md5,
    sha256: Sha256,
    bytes: u64,
    label: Label,
    /// Most bytes it may have.
    bytes_max: u64,
    /// Bytes that may travel with the document.
    carried_max: usize,
}

/// Where the chunks go.
#[derive(Clone)]
struct Target {
    cluster: Cluster,
    uploads: Uploads,
    shard: ShardId,
    doc: Address,
    id: UploadId,
}

/// How much of one document's attachments may still travel with it.
#[derive(Debug, Clone, Copy)]
pub struct Allowance(usize);

impl Default for Allowance {
    fn default() -> Self {
        Self(CARRIED_BYTES_TOTAL_MAX)
    }
}

/// What is said of an attachment that is uploaded.
#[derive(Debug, Clone)]
pub struct Label {
    /// Its name.
    pub name: Box<str>,
    /// Its media type.
    pub content_type: Box<str>,
    /// Generation of the revision that brought it, for one made elsewhere.
    pub revpos: u64,
    /// How it is packed.
    pub encoding: Encoding,
    /// How many bytes it has when unpacked, if that is known.
    pub length: Option<u64>,
}

impl Ops {
    /// Begins to bring an attachment of `bytes_max` at most to the shard of a document.
    pub async fn upload(
        &self,
        name: &DbName,
        id: &DocId,
        label: Label,
        bytes_max: u64,
        left: Allowance,
    ) -> Result<Upload, Error> {
        let db = self.db(name).await?;
        if db.partitioned {
            id.partition()?;
        }
        let (shard, doc) = self.cluster.locate(db.uid, db.partitioned, id);
        let id = UploadId(Uuid::from_u128(rand::random()));
        let to = Target { cluster: self.cluster.clone(), uploads: self.uploads.clone(), shard, doc, id };
        Ok(Upload {
            to,
            buffer: BytesMut::new(),
            number: 0,
            under_way: FuturesOrdered::new(),
            md5: Md5::new(),
            sha256: Sha256::new(),
            bytes: 0,
            label,
            bytes_max,
            carried_max: left.0.min(CARRIED_BYTES_MAX),
        })
    }

    /// Puts one chunk of an upload where a backup says. Whether all of it is there is seen by the write that names it.
    pub async fn load_chunk(
        &self,
        name: &DbName,
        id: &DocId,
        upload: UploadId,
        number: u32,
        bytes: Bytes,
    ) -> Result<(), Error> {
        let db = self.db(name).await?;
        let (shard, doc) = self.cluster.locate(db.uid, db.partitioned, id);
        let to = Target { cluster: self.cluster.clone(), uploads: self.uploads.clone(), shard, doc, id: upload };
        match to.put(number, bytes).await {
            // It was taken by a revision that is here.
            Err(Error::UploadLost) => Ok(()),
            done => done,
        }
    }
}

impl Upload {
    /// Takes more bytes. Errors if there are too many, or if the shard does not take them.
    pub async fn push(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.bytes_max {
            return Err(Error::AttachmentTooLarge(self.label.name.clone()));
        }
        self.md5.update(&bytes);
        self.sha256.update(&bytes);
        while !bytes.is_empty() {
            let room = CHUNK_BYTES - self.buffer.len();
            self.buffer.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if self.buffer.len() == CHUNK_BYTES {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Ends it: the attachment as a write names it, once all chunks are on the shard.
    pub async fn finish(mut self, left: &mut Allowance) -> Result<Sent, Error> {
        let carried = self.number == 0 && self.buffer.len() <= self.carried_max;
        let source = if carried {
            left.0 = left.0.saturating_sub(self.buffer.len());
            Source::Carried(self.buffer.split().freeze())
        } else {
            if !self.buffer.is_empty() {
                self.send().await?;
            }
            while let Some(done) = self.under_way.next().await {
                done?;
            }
            Source::Uploaded(self.to.id)
        };
        let Label { name, content_type, revpos, encoding, length } = self.label;
        let content = Content {
            blob: BlobDigest(self.sha256.finalize().into()),
            md5: self.md5.finalize().into(),
            stored_bytes: self.bytes,
            length: length.filter(|_| encoding != Encoding::Identity).unwrap_or(self.bytes),
            encoding,
        };
        Ok(Sent::New { attachment: Attachment { name, content_type, revpos, content }, source })
    }

    async fn send(&mut self) -> Result<(), Error> {
        while self.under_way.len() >= UNDER_WAY_MAX {
            if let Some(done) = self.under_way.next().await {
                done?;
            }
        }
        let permit = self.permit().await?;
        let (to, number, bytes) = (self.to.clone(), self.number, self.buffer.split().freeze());
        self.number += 1;
        let mut sending = async move {
            let _permit = permit;
            to.put(number, bytes).await
        }
        .boxed();
        // Chunks must come to the shard in order, so this one is in the queue before the next is looked at.
        match futures::poll!(&mut sending) {
            std::task::Poll::Ready(done) => done?,
            std::task::Poll::Pending => self.under_way.push_back(sending),
        }
        Ok(())
    }
}

impl Upload {
    /// Waits for room among all uploads. Those under way here go on meanwhile, or they would hold up each other.
    async fn permit(&mut self) -> Result<Option<OwnedSemaphorePermit>, Error> {
        let mut asked = std::pin::pin!(self.to.uploads.under_way.clone().acquire_owned());
        loop {
            tokio::select! {
                permit = &mut asked => return Ok(permit.ok()),
                Some(done) = self.under_way.next() => done?,
            }
        }
    }
}

impl Target {
    async fn put(&self, number: u32, bytes: Bytes) -> Result<(), Error> {
        let op = Op::PutChunk(PutChunk { doc: self.doc.clone(), upload: self.id, number, bytes });
        let request = RequestId(Uuid::from_u128(rand::random()));
        match self.cluster.write_chunk(self.shard, Command { request, retry: false, op }).await? {
            Outcome::Done => Ok(()),
            Outcome::MissingUpload => Err(Error::UploadLost),
            Outcome::Dropped => Err(Error::NoDatabase),
            Outcome::NotOwner { version } => Err(moved(self.shard, version)),
            _ => Err(super::confused(self.shard)),
        }
    }
}
