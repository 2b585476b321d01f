//! Blocks: how a backup's stream is cut, checked and packed.
//!
//! A stream opens with [`MAGIC`]. Then blocks: a head of 24 bytes (all numbers little-endian: length of the payload,
//! length unpacked, number of the block from 0, kind, packing, two zeros, CRC32C of the payload, CRC32C of the 20
//! bytes before) and the payload. Every byte is covered by a checksum or compared with what it must be, blocks are
//! numbered, and the last one is of its own kind: whatever is flipped, cut, left out or put in is found.

use bytes::Bytes;
use serde::Serialize;

use super::record::{Record, Unreadable};
use super::{End, Header};

/// The first bytes of every stream.
pub const MAGIC: &[u8; 8] = b"quorate\n";
/// Bytes of a block's head.
pub const HEAD_BYTES: usize = 24;
/// Bytes of records in a block, unpacked, its last record excepted. Larger ones pack a little better and cost memory
/// at every station; smaller ones cost checksums and wake-ups.
pub const BLOCK_BYTES: usize = 1 << 20;
/// No block is longer: one record may be as large as a document, and a foreign file must not allocate more.
pub const BLOCK_BYTES_MAX: usize = 1 << 30;

/// What packs best for its time; a primary does it beside its other work.
const LEVEL: i32 = 1;

pub(super) const HEADER: u8 = 1;
pub(super) const RECORDS: u8 = 2;
pub(super) const END: u8 = 3;

pub(super) const PLAIN: u8 = 0;
pub(super) const ZSTD: u8 = 1;

/// A block's head, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) len: usize,
    pub(super) unpacked: usize,
    pub(super) number: u32,
    pub(super) kind: u8,
    pub(super) packing: u8,
    crc: u32,
}

impl Head {
    /// Reads a head; what is wrong with it otherwise.
    pub(super) fn read(bytes: &[u8; HEAD_BYTES]) -> Result<Self, &'static str> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if crc32c::crc32c(&bytes[..20]) != word(20) {
            return Err("the checksum of a block's head does not match");
        }
        let head = Self {
            len: word(0) as usize,
            unpacked: word(4) as usize,
            number: word(8),
            kind: bytes[12],
            packing: bytes[13],
            crc: word(16),
        };
        if head.len > BLOCK_BYTES_MAX || head.unpacked > BLOCK_BYTES_MAX {
            return Err("a block that is larger than any");
        }
        Ok(head)
    }

    /// The payload, checked and unpacked.
    pub(super) fn open(&self, payload: &[u8]) -> Result<Vec<u8>, String> {
        if crc32c::crc32c(payload) != self.crc {
            return Err("the checksum of a block does not match".to_owned());
        }
        let open = match self.packing {
            PLAIN => payload.to_vec(),
            ZSTD => zstd::bulk::decompress(payload, self.unpacked)
                .map_err(|error| format!("a block cannot be unpacked: {error}"))?,
            other => return Err(format!("packing {other}, which is not known here")),
        };
        match open.len() == self.unpacked {
            true => Ok(open),
            false => Err(format!("a block holds {} bytes and not {}", open.len(), self.unpacked)),
        }
    }
}

/// Records on their way into a block.
#[derive(Debug)]
pub struct Records {
    bytes: Vec<u8>,
    full: usize,
}

impl Default for Records {
    fn default() -> Self {
        Self::of(BLOCK_BYTES)
    }
}

impl Records {
    /// A block that is full once it holds so many bytes.
    pub fn of(full: usize) -> Self {
        Self { bytes: Vec::new(), full }
    }

    /// Adds a record.
    pub fn push(&mut self, record: &Record) {
        record.encode(&mut self.bytes);
    }

    /// The records in it.
    pub fn decode(&self) -> Result<Vec<Record>, Unreadable> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(|| (!rest.is_empty()).then(|| Record::decode(&mut rest))).collect()
    }

    /// Whether the block should be closed.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= self.full
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Writes the blocks of one stream, in order.
#[derive(Debug, Default)]
pub struct Writer {
    next: u32,
}

impl Writer {
    /// The first block, and what stands before it.
    pub fn header(&mut self, header: &Header) -> Bytes {
        let mut bytes = MAGIC.to_vec();
        self.block(&mut bytes, HEADER, &plain(header));
        bytes.into()
    }

    /// A block of records.
    pub fn records(&mut self, records: &Records) -> Bytes {
        let mut bytes = Vec::new();
        self.block(&mut bytes, RECORDS, &records.bytes);
        bytes.into()
    }

    /// The last block.
    pub fn end(&mut self, end: &End) -> Bytes {
        let mut bytes = Vec::new();
        self.block(&mut bytes, END, &plain(end));
        bytes.into()
    }

    fn block(&mut self, out: &mut Vec<u8>, kind: u8, open: &[u8]) {
        // What does not get smaller (or cannot be packed, for want of memory) stays as it is.
        let packed = zstd::bulk::compress(open, LEVEL).ok().filter(|packed| packed.len() < open.len());
        let (packing, payload) = packed.as_deref().map_or((PLAIN, open), |packed| (ZSTD, packed));
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a block is far smaller than 4 GiB").to_le_bytes();
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&len(payload));
        head[4..8].copy_from_slice(&len(open));
        head[8..12].copy_from_slice(&self.next.to_le_bytes());
        head[12..14].copy_from_slice(&[kind, packing]);
        head[16..20].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        let crc = crc32c::crc32c(&head[..20]);
        head[20..].copy_from_slice(&crc.to_le_bytes());
        self.next += 1;
        out.extend_from_slice(&head);
        out.extend_from_slice(payload);
    }
}

fn plain<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("headers and ends always serialise into memory")
}
