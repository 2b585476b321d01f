//! How a snapshot is cut into frames, on the wire and in files.
//!
//! A frame is its length, a CRC32C and its bytes. The first holds the header, the following ones pairs in key order,
//! the last one their count: a stream that was cut short, mixed up or flipped is refused, and the reader says where.
//! Reads and writes no files and no sockets.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use common::ids::{ClusterId, ShardId};
use serde::{Deserialize, Serialize};

use crate::raft::types::{SnapshotMeta, Vote};
use crate::storage::{self, Pair};

/// First byte of every header. A reader refuses what it does not know.
const VERSION: u8 = 1;
/// Bytes of pairs in one frame at most, its last pair excepted. Larger ones cost memory on both sides, smaller ones
/// checksums and wake-ups.
const FRAME_BYTES: usize = 256 << 10;
/// No frame is longer: one pair may be as large as a document, and a garbled length must not allocate more.
const FRAME_BYTES_MAX: usize = 64 << 20;
const HEAD: usize = 8;

/// What stands in front of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The cluster the snapshot belongs to.
    pub(crate) cluster: ClusterId,
    /// Its shard.
    pub(crate) shard: ShardId,
    /// The incarnation it is meant for, so that it never lands in a folder that was made anew meanwhile.
    pub(crate) target: u64,
    /// The vote of the primary that sends it.
    pub(crate) vote: Vote,
    /// Where in the log it stands, and the membership there.
    pub(crate) meta: SnapshotMeta,
}

#[derive(Serialize, Deserialize)]
enum Frame {
    Header { version: u8, header: Header },
    Pairs(Vec<(Bytes, Bytes)>),
    End { pairs: u64 },
}

/// Bytes that are no whole snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("snapshot is damaged at byte {offset}: {reason}")]
pub(crate) struct Damaged {
    /// Where in the stream.
    pub(crate) offset: u64,
    /// What does not hold.
    pub(crate) reason: String,
}

fn encode(frame: &Frame) -> Bytes {
    let body = postcard::to_extend(frame, vec![0; HEAD]).expect("frames always serialise into memory");
    let mut body = body;
    let (head, rest) = body.split_at_mut(HEAD);
    let len = u32::try_from(rest.len()).expect("a pair is far smaller than 4 GiB");
    head[..4].copy_from_slice(&len.to_le_bytes());
    head[4..].copy_from_slice(&crc32c::crc32c(rest).to_le_bytes());
    body.into()
}

/// All frames of a snapshot. An error of `pairs` ends the stream without the last frame.
pub(crate) fn frames<'a>(
    header: Header,
    pairs: impl Iterator<Item = Result<Pair, storage::Error>> + 'a,
) -> impl Iterator<Item = Result<Bytes, storage::Error>> + 'a {
    let mut header = Some(header);
    let mut pairs = Some(pairs);
    let mut count = 0;
    std::iter::from_fn(move || {
        if let Some(header) = header.take() {
            return Some(Ok(encode(&Frame::Header { version: VERSION, header })));
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < FRAME_BYTES {
            match pairs.as_mut()?.next() {
                Some(Ok((key, value))) => {
                    bytes += key.len() + value.len();
                    batch.push((key, value));
                }
                Some(Err(error)) => {
                    pairs = None;
                    return Some(Err(error));
                }
                None if batch.is_empty() => {
                    pairs = None;
                    return Some(Ok(encode(&Frame::End { pairs: count })));
                }
                None => break,
            }
        }
        count += batch.len() as u64;
        Some(Ok(encode(&Frame::Pairs(batch))))
    })
}

/// What [`Reader`] finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The header; always first.
    Header(Header),
    /// Pairs, in key order.
    Pairs(Vec<Pair>),
    /// The snapshot is whole.
    End,
}

/// Takes bytes in any cut and gives back what they hold.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    buffer: BytesMut,
    offset: u64,
    pairs: u64,
    state: State,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Pairs,
    End,
}

impl Reader {
    /// More bytes of the stream.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// The next piece, if all of it is here.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, Damaged> {
        let Some(head) = self.buffer.first_chunk::<HEAD>() else { return Ok(None) };
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (len, crc) = (word(0) as usize, word(4));
        if len > FRAME_BYTES_MAX {
            return Err(self.damaged(format!("a frame of {len} bytes")));
        }
        if self.buffer.len() < HEAD + len {
            return Ok(None);
        }
        if crc32c::crc32c(&self.buffer[HEAD..HEAD + len]) != crc {
            return Err(self.damaged("the checksum does not match".to_owned()));
        }
        let frame = postcard::from_bytes(&self.buffer[HEAD..HEAD + len]);
        let frame = frame.map_err(|error| self.damaged(format!("a frame cannot be read: {error}")))?;
        let piece = self.accept(frame)?;
        self.buffer.advance(HEAD + len);
        self.offset += (HEAD + len) as u64;
        Ok(Some(piece))
    }

    fn accept(&mut self, frame: Frame) -> Result<Piece, Damaged> {
        match (&self.state, frame) {
            (State::Start, Frame::Header { version: VERSION, header }) => {
                self.state = State::Pairs;
                Ok(Piece::Header(header))
            }
            (State::Start, Frame::Header { version, .. }) => {
                Err(self.damaged(format!("format {version} is not known here")))
            }
            (State::Pairs, Frame::Pairs(pairs)) => {
                self.pairs += pairs.len() as u64;
                Ok(Piece::Pairs(pairs))
            }
            (State::Pairs, Frame::End { pairs }) if pairs == self.pairs => {
                self.state = State::End;
                Ok(Piece::End)
            }
            (State::Pairs, Frame::End { pairs }) => {
                Err(self.damaged(format!("{} of {pairs} pairs are here", self.pairs)))
            }
            _ => Err(self.damaged("a frame out of place".to_owned())),
        }
    }

    /// To be called at the end of the stream: whether it was whole.
    pub(crate) fn finish(&self) -> Result<(), Damaged> {
        match self.state == State::End && self.buffer.is_empty() {
            true => Ok(()),
            false => Err(self.damaged("it ends too early or goes on too long".to_owned())),
        }
    }

    fn damaged(&self, reason: String) -> Damaged {
        Damaged { offset: self.offset, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            cluster: ClusterId::of("c"),
            shard: ShardId(3),
            target: 7,
            vote: Vote::new(2, 7),
            meta: SnapshotMeta::default(),
        }
    }

    fn stream(pairs: usize) -> Vec<u8> {
        let pair = |n: usize| Ok((Bytes::from(format!("k{n:06}")), Bytes::from(vec![7; 1000])));
        let frames = frames(header(), (0..pairs).map(pair));
        frames.flat_map(|frame| frame.expect("no storage error").to_vec()).collect()
    }

    fn read(bytes: &[u8], cut: usize) -> Result<usize, Damaged> {
        let mut reader = Reader::default();
        let mut pairs = 0;
        for part in bytes.chunks(cut) {
            reader.push(part);
            while let Some(piece) = reader.next()? {
                if let Piece::Pairs(more) = piece {
                    pairs += more.len();
                }
            }
        }
        reader.finish().map(|()| pairs)
    }

    #[test]
    fn snapshots_come_back_however_the_stream_is_cut() {
        let bytes = stream(1000);
        for cut in [1, 7, 4096, bytes.len()] {
            assert_eq!(read(&bytes, cut), Ok(1000));
        }
        assert_eq!(read(&stream(0), 100), Ok(0));
    }

    #[test]
    fn a_stream_that_is_cut_short_or_flipped_anywhere_is_refused() {
        let bytes = stream(3);
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len], 64).is_err(), "cut at {len}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            let error = read(&flipped, 64).expect_err("flipped");
            assert!(error.offset <= at as u64, "{error}");
        }
    }
}
