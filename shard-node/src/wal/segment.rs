//! A segment: one file of the log, and the header in its first sector.
//!
//! `magic 8 | format u32 | postcard of Header | zeros | crc u32`, together one sector. The header is written before
//! the file gets its name, so a file with a segment's name and without a good header is damaged.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::direct::Buffer;
use super::group::{SECTOR, Spot, apply_mask};
use super::record::{self, Bad, Record};
use super::{Entry, Error, Identity, LogId};

const MAGIC: &[u8; 8] = b"QUORATEW";
const FORMAT: u32 = 1;
const CRC_AT: usize = SECTOR - 4;
/// Where the first group starts.
pub(super) const DATA_START: u32 = SECTOR as u32;
/// Longest segment. Offsets within a segment are 32 bits wide; half of that leaves room for arithmetic.
pub(super) const BYTES_MAX: u64 = 1 << 31;

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub identity: Identity,
    /// 1, 2, 3 …
    pub number: u64,
    /// The crc of the last record of the segment before.
    pub chain: u32,
    /// Size of the file, for ever.
    pub bytes: u64,
}

impl Header {
    /// The first sector, and its checksum, which seeds those of the groups.
    pub(super) fn encode(&self) -> ([u8; SECTOR], u32) {
        let mut sector = [0; SECTOR];
        sector[..8].copy_from_slice(MAGIC);
        sector[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        postcard::to_slice(self, &mut sector[12..CRC_AT])
            .expect("a node's name has at most 63 bytes, so a header fits");
        let crc = crc32c::crc32c(&sector[..CRC_AT]);
        sector[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        (sector, crc)
    }

    /// The header of the segment read from `path`, and its checksum.
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<(Self, u32), Error> {
        let damaged = |reason: &str| Error::damaged(path, 0, reason);
        let sector = bytes.first_chunk::<SECTOR>().ok_or_else(|| damaged("shorter than a header"))?;
        let crc = crc32c::crc32c(&sector[..CRC_AT]);
        if sector[CRC_AT..] != crc.to_le_bytes() || sector[..8] != *MAGIC {
            return Err(damaged("the segment's header does not hold"));
        }
        let format = u32::from_le_bytes([sector[8], sector[9], sector[10], sector[11]]);
        if format != FORMAT {
            return Err(Error::Format { file: path.to_owned(), found: format });
        }
        let (header, _) = postcard::take_from_bytes::<Self>(&sector[12..CRC_AT])
            .map_err(|_| damaged("the segment's header makes no sense"))?;
        if header.bytes != bytes.len() as u64 {
            let reason = format!("made with {} bytes, has {}", header.bytes, bytes.len());
            return Err(Error::damaged(path, bytes.len() as u64, reason));
        }
        Ok((header, crc))
    }
}

/// An open segment. Shared by the writer and by readers, who may go on reading after it was deleted.
#[derive(Debug)]
pub(super) struct Segment {
    pub number: u64,
    pub path: PathBuf,
    pub file: File,
    /// The same file, written past the page cache.
    pub direct: Option<File>,
    pub bytes: u32,
    /// The checksum of its header.
    pub seed: u32,
}

impl Segment {
    /// Writes whole sectors at a sector.
    pub(super) fn write(&self, bytes: &[u8], at: u64, buffer: &mut Buffer) -> Result<(), Error> {
        let written = match self.direct.as_ref().map(|direct| buffer.write_all_at(direct, bytes, at)) {
            // Refused: it was filled on another kind of disk.
            Some(Err(error)) if error.kind() == std::io::ErrorKind::InvalidInput => self.file.write_all_at(bytes, at),
            Some(written) => written,
            None => self.file.write_all_at(bytes, at),
        };
        written.map_err(|error| Error::io(&self.path, &error))
    }

    /// Reads one entry and checks it. Anything but the entry `id` as it was written is damage.
    pub(super) fn read(&self, id: LogId, spot: &Spot) -> Result<Entry, Error> {
        let mut bytes = vec![0; spot.len as usize];
        self.file.read_exact_at(&mut bytes, u64::from(spot.offset)).map_err(|error| Error::io(&self.path, &error))?;
        entry(id, spot, bytes).map_err(|reason| Error::damaged(&self.path, u64::from(spot.offset), reason))
    }
}

/// The entry `id` from the bytes found at `spot`, or what is wrong with them.
pub(super) fn entry(id: LogId, spot: &Spot, mut bytes: Vec<u8>) -> Result<Entry, &'static str> {
    apply_mask(&mut bytes, spot.mask, spot.offset as usize % 4);
    match record::decode(&bytes, spot.chain) {
        Ok((Record::Entry { id: found, payload }, size, _)) if found == id && size == bytes.len() => {
            // The payload ends the record, so it can be cut out without a copy.
            let from = bytes.len() - payload.len();
            Ok(Entry { id, payload: bytes::Bytes::from(bytes).slice(from..) })
        }
        Ok(_) => Err("another record lies where the entry was written"),
        Err(Bad::Broken(reason)) => Err(reason),
        Err(Bad::Format(_)) => Err("the record changed its format"),
    }
}
