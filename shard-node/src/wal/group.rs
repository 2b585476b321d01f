//! Groups: the records of one call, laid out in whole sectors.
//!
//! A group starts on a sector of its own, so writing it never touches a sector that holds durable records: whatever a
//! power cut does to it, what was there before stays. The disk writes sectors whole or not at all, in any order; a
//! group that was cut short therefore misses whole sectors, and they are still zero, as the segment was made. That
//! only tells torn from rotten if no written sector is zero by itself (or by one flipped bit), so the body is masked
//! where it would be. Pure: no files here.

use std::collections::BTreeSet;

use super::record::{self, Record};

/// The unit in which disks write. Smaller than any page or physical block, all of which are multiples of it.
pub(super) const SECTOR: usize = 512;
/// Bytes in front of the records.
pub(super) const HEADER_BYTES: usize = 32;
/// "QGRP".
const MAGIC: u32 = 0x5052_4751;
/// Padding behind the last record; not zero, so that a sector with little else is not near to zero.
const PADDING: u8 = 0xff;

/// In front of each group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Offset of the group itself; a group read from elsewhere is not it.
    pub at: u32,
    /// Bytes of records, without padding.
    pub body: u32,
    /// What each word of body and padding is XORed with. Nearly always 0.
    pub mask: u32,
    /// Everything before this offset of the segment was durable when the group was written. A torn write cannot reach
    /// behind it: damage there is damage.
    pub synced: u32,
    /// The crc of the record before the group.
    pub chain: u32,
}

impl Header {
    /// The header as written in the segment whose header has the checksum `seed`.
    pub(super) fn encode(&self, seed: u32) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let words = [MAGIC, 0, self.at, self.body, self.mask, self.synced, self.chain, u32::MAX];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        let check = check(&bytes, seed);
        bytes[4..8].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// The header at the start of `bytes`, if one is there, whole, and written in this segment at `at`.
    /// The seed is known to nobody outside, so no document can look like a header.
    pub(super) fn parse(bytes: &[u8], seed: u32, at: usize) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEADER_BYTES>()?;
        let word = |n: usize| u32::from_le_bytes([bytes[4 * n], bytes[4 * n + 1], bytes[4 * n + 2], bytes[4 * n + 3]]);
        let header = Self { at: word(2), body: word(3), mask: word(4), synced: word(5), chain: word(6) };
        (word(0) == MAGIC && word(1) == check(bytes, seed) && header.at as usize == at).then_some(header)
    }

    /// Bytes the group takes, padding included.
    pub(super) fn extent(&self) -> usize {
        extent(self.body as usize)
    }
}

fn check(header: &[u8; HEADER_BYTES], seed: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &header[..4]), &header[8..])
}

fn extent(body: usize) -> usize {
    (HEADER_BYTES + body).next_multiple_of(SECTOR)
}

/// Records collected for one group, before it is known where it goes.
#[derive(Debug)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    sizes: Vec<usize>,
}

/// Where one record lies, and what is needed to check it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    /// Offset in the segment.
    pub offset: u32,
    /// Framed bytes.
    pub len: u32,
    /// The group's mask.
    pub mask: u32,
    /// The crc of the record before it.
    pub chain: u32,
}

/// A group with its place; all but `synced` is final.
#[derive(Debug)]
pub(super) struct Group {
    pub header: Header,
    /// Header (once stamped), records, padding.
    pub bytes: Vec<u8>,
    /// One for each record.
    pub spots: Vec<Spot>,
    /// The crc of the last record.
    pub chain: u32,
}

impl Draft {
    /// Nothing yet; room for about `capacity` bytes.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(extent(capacity));
        bytes.resize(HEADER_BYTES, 0);
        Self { bytes, sizes: Vec::new() }
    }

    /// A group of one record.
    pub(super) fn of(record: &Record<'_>) -> Self {
        let mut draft = Self::with_capacity(64);
        draft.push(record);
        draft
    }

    pub(super) fn push(&mut self, record: &Record<'_>) {
        self.sizes.push(record::encode(record, &mut self.bytes));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Bytes the group will take.
    pub(super) fn extent(&self) -> usize {
        extent(self.bytes.len() - HEADER_BYTES)
    }

    /// Fixes the place: chains the records, pads and masks.
    pub(super) fn place(self, at: u32, chain_before: u32) -> Group {
        let Self { mut bytes, sizes } = self;
        let mut chain = chain_before;
        let mut spots = Vec::with_capacity(sizes.len());
        let mut from = HEADER_BYTES;
        for size in sizes {
            let spot = Spot { offset: at + narrow(from), len: narrow(size), mask: 0, chain };
            spots.push(spot);
            chain = record::link(&mut bytes[from..from + size], chain);
            from += size;
        }
        let body = narrow(bytes.len() - HEADER_BYTES);
        bytes.resize(extent(body as usize), PADDING);
        let mask = choose_mask(&bytes);
        apply_mask(&mut bytes[HEADER_BYTES..], mask, 0);
        spots.iter_mut().for_each(|spot| spot.mask = mask);
        Group { header: Header { at, body, mask, synced: 0, chain: chain_before }, bytes, spots, chain }
    }
}

impl Group {
    /// Writes the header, now that it is known what is durable before it.
    pub(super) fn stamp(&mut self, synced: u32, seed: u32) {
        self.header.synced = synced;
        self.bytes[..HEADER_BYTES].copy_from_slice(&self.header.encode(seed));
    }
}

fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("segments are smaller than 4 GiB")
}

/// XORs `bytes` with the mask; `phase` is how far they start behind a word boundary of the segment.
pub(super) fn apply_mask(bytes: &mut [u8], mask: u32, phase: usize) {
    if mask == 0 {
        return;
    }
    const STEP: usize = size_of::<u128>();
    let mut pattern = [0; STEP];
    for (n, byte) in pattern.iter_mut().enumerate() {
        *byte = mask.to_le_bytes()[(n + phase) % 4];
    }
    let mut chunks = bytes.chunks_exact_mut(STEP);
    for chunk in &mut chunks {
        let word = u128::from_ne_bytes((&*chunk).try_into().expect("chunks are exact"));
        chunk.copy_from_slice(&(word ^ u128::from_ne_bytes(pattern)).to_ne_bytes());
    }
    chunks.into_remainder().iter_mut().zip(pattern).for_each(|(byte, mask)| *byte ^= mask);
}

/// The smallest mask under which no sector is all zero, or would be but for one word. There always is one, as a group
/// has far fewer sectors than there are masks.
fn choose_mask(group: &[u8]) -> u32 {
    let mut sectors = group.chunks_exact(SECTOR).skip(1); // The first one has the header.
    if !sectors.clone().any(|sector| hollow(sector) == Some(0)) {
        return 0;
    }
    let taken: BTreeSet<u32> = sectors.by_ref().filter_map(hollow).collect();
    (1..=u32::MAX).find(|mask| !taken.contains(mask)).expect("fewer sectors than masks")
}

/// The mask that would make this sector zero, but for at most one word.
fn hollow(sector: &[u8]) -> Option<u32> {
    let word = |n: usize| u32::from_le_bytes([sector[4 * n], sector[4 * n + 1], sector[4 * n + 2], sector[4 * n + 3]]);
    // All words but one are equal, so at least two of the first three are.
    let common = if word(0) == word(1) || word(0) == word(2) { word(0) } else { word(1) };
    let others = (0..SECTOR / 4).filter(|n| word(*n) != common).nth(1);
    others.is_none().then_some(common)
}

/// Whether a sector is as the segment was made.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(SECTOR).all(|sector| *sector == [0; SECTOR][..sector.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::LogId;

    fn group_of(payload: &[u8]) -> Group {
        let id = LogId { term: 1, leader: 1, index: 1 };
        let mut group = Draft::of(&Record::Entry { id, payload }).place(1024, 5);
        group.stamp(512, 99);
        group
    }

    #[test]
    fn header_comes_back_and_any_flip_is_noticed() {
        let group = group_of(b"hello");
        assert_eq!(Header::parse(&group.bytes, 99, 1024), Some(group.header));
        assert_eq!(Header::parse(&group.bytes, 98, 1024), None);
        assert_eq!(Header::parse(&group.bytes, 99, 512), None);
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = group.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::parse(&bytes, 99, 1024), None, "bit {bit}");
        }
    }

    #[test]
    fn no_sector_is_zero_or_one_flip_from_it() {
        let mut one_bit = vec![0; 4096];
        one_bit[2000] = 1;
        let mut nasty: Vec<u8> = (0..64u32).flat_map(|word| word.to_le_bytes().repeat(SECTOR / 4 * 3)).collect();
        nasty.rotate_left(47);
        for payload in [vec![0; 4096], one_bit, nasty, vec![0; 465], vec![1; 3000]] {
            let group = group_of(&payload);
            for sector in group.bytes.chunks(SECTOR) {
                assert!(sector.chunks(4).filter(|word| !is_zero(word)).count() >= 2);
            }
            let spot = group.spots[0];
            let from = (spot.offset - 1024) as usize;
            let mut bytes = group.bytes[from..from + spot.len as usize].to_vec();
            apply_mask(&mut bytes, spot.mask, from % 4);
            let (record, ..) = record::decode(&bytes, spot.chain).expect("a whole record");
            assert!(matches!(record, Record::Entry { payload: read, .. } if read == payload));
        }
        assert_eq!(group_of(&[1; 3000]).header.mask, 0);
    }
}
