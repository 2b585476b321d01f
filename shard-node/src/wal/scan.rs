//! Reads one segment from its start and says where its records end, and whether they end, are torn, or are rotten.
//!
//! Torn: the last write was cut short. Some sector of it is still zero as the segment was made, and nothing says that
//! it had been durable. What follows was never acknowledged and may be dropped. Everything else that does not hold is
//! rot: a whole record was there. (The rule of etcd's decoder, with two holes closed: no written sector is zero by
//! itself, see `group`, and a later group tells what was durable before it.)
//! A sector of the very last write that reads back as zero counts as torn: nothing on this disk could tell.
//! Pure: takes the bytes, gives a verdict.

use std::borrow::Cow;

use super::group::{self, Header, SECTOR, Spot};
use super::record::{self, Bad, Record};
use super::segment::DATA_START;

/// How the records of a segment end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Only unused space follows.
    Open,
    /// The remains of a write that was cut short follow; to be made zero before anything is written.
    Torn,
    /// Sealed: the next segment goes on. What follows has never been used.
    Sealed,
}

/// Where the records of a segment end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub offset: u32,
    pub chain: u32,
    pub tail: Tail,
    /// Everything before is known to have been durable; the rest up to `offset` may only be in the system's cache.
    pub synced: u32,
}

/// Why a segment cannot be read on.
#[derive(Debug)]
pub(super) struct Stop<E> {
    pub offset: u32,
    pub why: Why<E>,
}

/// See [`Stop`].
#[derive(Debug)]
pub(super) enum Why<E> {
    Rotten(&'static str),
    Format(u8),
    /// The visitor refused a record.
    Visitor(E),
}

/// Calls `visit` for each record of the segment `bytes`, whose header has the checksum `seed`. The records of a group
/// are visited after all of them were checked.
pub(super) fn scan<E>(
    bytes: &[u8],
    seed: u32,
    chain: u32,
    mut visit: impl FnMut(Spot, &Record<'_>) -> Result<(), E>,
) -> Result<End, Stop<E>> {
    let mut end = End { offset: DATA_START, chain, tail: Tail::Open, synced: DATA_START };
    while (end.offset as usize) < bytes.len() {
        let at = end.offset as usize;
        let rotten = |reason| Err(Stop { offset: end.offset, why: Why::Rotten(reason) });
        let Some(header) = Header::parse(&bytes[at..], seed, at) else {
            if !group::is_zero(&bytes[at..bytes.len().min(at + SECTOR)]) {
                return rotten("neither a group nor unused space");
            }
            return torn_or_open(bytes, seed, end);
        };
        if header.chain != end.chain {
            return rotten("the group does not follow what is before it");
        }
        let Some(sectors) = bytes.get(at..at + header.extent()) else {
            return rotten("the group is longer than the segment");
        };
        let mut body = Cow::Borrowed(&sectors[group::HEADER_BYTES..]);
        if header.mask != 0 {
            group::apply_mask(body.to_mut(), header.mask, 0);
        }
        match records(&body[..header.body as usize], &header) {
            Ok((list, chain)) => {
                for (spot, record) in &list {
                    visit(*spot, record).map_err(|why| Stop { offset: spot.offset, why: Why::Visitor(why) })?;
                }
                end = End { offset: end.offset + sectors.len() as u32, chain, tail: Tail::Open, synced: header.synced };
                if matches!(list.last(), Some((_, Record::Seal))) {
                    return Ok(End { tail: Tail::Sealed, ..end });
                }
            }
            Err(Bad::Format(found)) => return Err(Stop { offset: end.offset, why: Why::Format(found) }),
            Err(Bad::Broken(_)) if sectors.chunks(SECTOR).any(group::is_zero) => {
                return torn_or_open(bytes, seed, end);
            }
            Err(Bad::Broken(reason)) => return rotten(reason),
        }
    }
    Ok(end)
}

/// The group at `end` misses sectors. It is torn unless a later group was written after it had become durable.
fn torn_or_open<E>(bytes: &[u8], seed: u32, end: End) -> Result<End, Stop<E>> {
    let first = end.offset as usize;
    let mut tail = Tail::Open;
    for at in (first..bytes.len()).step_by(SECTOR) {
        let sector = &bytes[at..bytes.len().min(at + SECTOR)];
        if group::is_zero(sector) {
            continue;
        }
        tail = Tail::Torn;
        if Header::parse(sector, seed, at).is_some_and(|later| later.synced as usize > first) {
            let why = Why::Rotten("durable records are zero: a later group was written behind them");
            return Err(Stop { offset: end.offset, why });
        }
    }
    Ok(End { tail, ..end })
}

type Records<'a> = Vec<(Spot, Record<'a>)>;

fn records<'a>(body: &'a [u8], header: &Header) -> Result<(Records<'a>, u32), Bad> {
    let mut list = Vec::new();
    let mut chain = header.chain;
    let mut from = 0;
    while from < body.len() {
        let (record, size, crc) = record::decode(&body[from..], chain)?;
        let offset = header.at + (group::HEADER_BYTES + from) as u32;
        list.push((Spot { offset, len: size as u32, mask: header.mask, chain }, record));
        (from, chain) = (from + size, crc);
    }
    Ok((list, chain))
}
