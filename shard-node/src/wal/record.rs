//! Records: what the log is made of, and how one is framed and chained.
//!
//! `length u32 | crc u32 | format u8 | postcard`. The length counts what follows the crc. The crc is CRC-32C over
//! length, format and postcard, continued from the crc of the record before, so a record proves everything before it
//! and none can be lost, doubled or swapped unnoticed. Pure: no files here.

use serde::{Deserialize, Serialize};

use super::LogId;

/// The record format this version writes. A reader that meets another one stops.
pub(super) const FORMAT: u8 = 1;
/// Length and crc.
const FRAME_BYTES: usize = 8;

/// One record. The order of the variants is part of the format (postcard writes their number): append only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record<'a> {
    /// First in each segment: what must outlive the segments before it.
    Head {
        /// The vote as it was.
        #[serde(borrow, with = "serde_bytes")]
        vote: Option<&'a [u8]>,
        /// The purge point as it was.
        purged: Option<LogId>,
        /// The index the next entry had to have; `None` when any was good.
        next: Option<u64>,
    },
    /// One entry.
    Entry {
        /// Its id.
        id: LogId,
        /// Raft's bytes.
        #[serde(borrow, with = "serde_bytes")]
        payload: &'a [u8],
    },
    /// The vote from here on.
    Vote(#[serde(borrow, with = "serde_bytes")] &'a [u8]),
    /// Entries from this index on are void.
    Truncate {
        /// The first void index.
        from: u64,
    },
    /// Entries up to this one are no longer needed.
    Purge {
        /// The last index not needed.
        upto: LogId,
    },
    /// Last in each segment but the newest: the next segment exists and goes on from here.
    Seal,
}

/// Why bytes are not the next record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bad {
    /// Length, checksum or content do not hold.
    Broken(&'static str),
    /// The checksum holds, but a newer version wrote it.
    Format(u8),
}

/// Appends `record` to `out`, its crc still to be set by [`link`]. Returns the bytes added.
pub(super) fn encode(record: &Record<'_>, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_BYTES]);
    out.push(FORMAT);
    postcard::to_io(record, &mut *out).expect("writing to memory does not fail, and every field has a postcard form");
    let length = out.len() - start - FRAME_BYTES;
    let length = u32::try_from(length).expect("the log refuses appends of more than 1 GiB before encoding them");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out.len() - start
}

/// Sets the crc of one framed record that follows a record with crc `chain`; returns its crc.
pub(super) fn link(framed: &mut [u8], chain: u32) -> u32 {
    let crc = checksum(framed, chain);
    framed[4..FRAME_BYTES].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// The record at the start of `bytes`, its size, and its crc.
pub(super) fn decode(bytes: &[u8], chain: u32) -> Result<(Record<'_>, usize, u32), Bad> {
    let frame = bytes.first_chunk::<FRAME_BYTES>().ok_or(Bad::Broken("the record's frame is cut off"))?;
    let length = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    let crc = u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]]);
    let size = length.checked_add(FRAME_BYTES).filter(|size| length > 0 && *size <= bytes.len());
    let size = size.ok_or(Bad::Broken("the record's length does not fit"))?;
    if checksum(&bytes[..size], chain) != crc {
        return Err(Bad::Broken("the record's checksum does not hold"));
    }
    if bytes[FRAME_BYTES] != FORMAT {
        return Err(Bad::Format(bytes[FRAME_BYTES]));
    }
    match postcard::take_from_bytes(&bytes[FRAME_BYTES + 1..size]) {
        Ok((record, [])) => Ok((record, size, crc)),
        _ => Err(Bad::Broken("the record's content makes no sense")),
    }
}

fn checksum(framed: &[u8], chain: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(chain, &framed[..4]), &framed[FRAME_BYTES..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_and_only_behind_its_predecessor() {
        let id = LogId { term: 3, leader: 4, index: 5 };
        let records = [
            Record::Head { vote: Some(b"v"), purged: Some(id), next: None },
            Record::Head { vote: None, purged: None, next: Some(7) },
            Record::Entry { id, payload: b"" },
            Record::Entry { id, payload: &[7; 300] },
            Record::Vote(b"x"),
            Record::Truncate { from: 9 },
            Record::Purge { upto: id },
            Record::Seal,
        ];
        for record in records {
            let mut bytes = Vec::new();
            let size = encode(&record, &mut bytes);
            let crc = link(&mut bytes, 17);
            assert_eq!(decode(&bytes, 17), Ok((record, size, crc)));
            assert_eq!(decode(&bytes, 18), Err(Bad::Broken("the record's checksum does not hold")));
        }
    }
}
