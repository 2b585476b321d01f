//! Which bytes of attachments follow a body in a backup: those of blobs that its document has not named before.

use std::collections::{BTreeMap, VecDeque};

use super::record::Chunk;
use crate::attachment::{Attachment, BlobDigest, CHUNK_BYTES, chunks_of};

/// The blobs of one document.
#[derive(Debug, Clone, Default)]
pub struct Blobs {
    /// Those met, with their bytes.
    met: BTreeMap<BlobDigest, u64>,
    /// Those whose chunks are still to come, and the number of the next chunk.
    due: VecDeque<(BlobDigest, u64)>,
}

impl Blobs {
    /// A body with these attachments.
    pub fn body(&mut self, attachments: &[Attachment]) {
        for content in attachments.iter().map(|attachment| &attachment.content) {
            if self.met.insert(content.blob, content.stored_bytes).is_none() && content.stored_bytes > 0 {
                self.due.push_back((content.blob, 0));
            }
        }
    }

    /// The chunk that comes next, if one does: whose, its number, and how many bytes it must have.
    pub fn next(&self) -> Option<(BlobDigest, u32, u64)> {
        let (blob, number) = *self.due.front()?;
        let whole = CHUNK_BYTES as u64;
        let left = self.met.get(&blob)?.saturating_sub(number * whole);
        Some((blob, u32::try_from(number).ok()?, left.min(whole)))
    }

    /// Passes the next chunk; whether its blob is whole with it. `None` if it is not the one that comes next.
    pub fn pass(&mut self, chunk: &Chunk) -> Option<bool> {
        let (blob, number, bytes) = self.next()?;
        if (blob, number, bytes) != (chunk.blob, chunk.number, chunk.bytes.len() as u64) {
            return None;
        }
        let last = u64::from(number) + 1 >= chunks_of(*self.met.get(&blob)?);
        match self.due.front_mut() {
            Some((_, next)) if !last => *next += 1,
            _ => _ = self.due.pop_front(),
        }
        Some(last)
    }

    /// Bytes of all blobs met.
    pub fn bytes(&self) -> u64 {
        self.met.values().sum()
    }
}
