//! What the log holds now: vote, purge point, where each entry lies, and the payloads of the newest entries.
//!
//! The same methods follow the live log and replay it after a start, so both come to the same state. No files here.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::group::Spot;
use super::record::Record;
use super::{Entry, Error, LogId};

/// A place in the log; later is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub segment: u64,
    pub offset: u32,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    term: u64,
    leader: u64,
    segment: u64,
    spot: Spot,
    /// Bytes of all entries up to this one, counted from some entry long gone.
    bytes_total: u64,
}

/// One entry of an answer: at hand, or to be read from its segment.
#[derive(Debug)]
pub(super) enum Pick {
    Cached(Entry),
    OnDisk { id: LogId, segment: u64, spot: Spot },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Log {
    vote: Option<Bytes>,
    purged: Option<LogId>,
    /// Index of `slots[0]`, or of the next entry when there is none. `None`: no entry ever, any index is good.
    base: Option<u64>,
    slots: VecDeque<Slot>,
    /// `bytes_total` in front of `slots[0]`.
    base_bytes: u64,
    /// Payloads of the last so many slots.
    cache: VecDeque<Bytes>,
    cache_bytes: u64,
    cache_bytes_max: u64,
    /// What lies behind is not yet in the files, so its payloads must stay in the cache.
    written: Position,
    /// Whether a head was replayed, or the log is new: else votes and purges of lost segments are missing.
    anchored: bool,
}

impl Log {
    /// An empty log whose first segment is `first_segment`.
    pub(super) fn new(cache_bytes_max: u64, first_segment: u64) -> Self {
        Self {
            vote: None,
            purged: None,
            base: None,
            slots: VecDeque::new(),
            base_bytes: 0,
            cache: VecDeque::new(),
            cache_bytes: 0,
            cache_bytes_max,
            written: Position { segment: 0, offset: 0 },
            anchored: first_segment == 1,
        }
    }

    pub(super) fn vote(&self) -> Option<&Bytes> {
        self.vote.as_ref()
    }

    pub(super) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    /// The index of the first entry that is, or would be, there.
    pub(super) fn first(&self) -> Option<u64> {
        self.base
    }

    /// The index the next entry must have; `None` when any is good.
    pub(super) fn next(&self) -> Option<u64> {
        self.base.map(|base| base + self.slots.len() as u64)
    }

    /// The last entry, or the purge point when there is none.
    pub(super) fn last(&self) -> Option<LogId> {
        self.slots.len().checked_sub(1).map(|at| self.id(at)).or(self.purged)
    }

    /// The segment of the first entry.
    pub(super) fn first_segment(&self) -> Option<u64> {
        self.slots.front().map(|slot| slot.segment)
    }

    /// The head of a new segment.
    pub(super) fn head(&self) -> Record<'_> {
        Record::Head { vote: self.vote.as_deref(), purged: self.purged, next: self.next() }
    }

    /// Bytes of the entries behind `index`.
    pub(super) fn bytes_since(&self, index: u64) -> u64 {
        let total = self.bytes_total();
        let upto = match self.base {
            Some(base) if index >= base => {
                let at = usize::try_from(index - base).unwrap_or(usize::MAX);
                self.slots.get(at).map_or(total, |slot| slot.bytes_total)
            }
            _ => self.base_bytes,
        };
        total - upto
    }

    /// Whether `entries` may follow.
    pub(super) fn check_append(&self, entries: &[Entry]) -> Result<(), Error> {
        let mut next = self.next();
        for entry in entries {
            let expected = next.unwrap_or(entry.id.index);
            if entry.id.index != expected {
                return Err(Error::Order { expected, found: entry.id.index });
            }
            next = Some(expected + 1);
        }
        Ok(())
    }

    /// Whether entries from `from` on may be truncated: not into what was purged.
    pub(super) fn check_truncate(&self, from: u64) -> Result<(), Error> {
        match self.purged {
            Some(purged) if from <= purged.index => Err(Error::Order { expected: purged.index + 1, found: from }),
            _ => Ok(()),
        }
    }

    /// Whether entries up to `upto` may be purged: not a part in front of a log that starts later.
    pub(super) fn check_purge(&self, upto: u64) -> Result<(), Error> {
        match (self.purged, self.base) {
            (None, Some(base)) if upto + 1 < base => Err(Error::Order { expected: base, found: upto }),
            _ => Ok(()),
        }
    }

    pub(super) fn set_vote(&mut self, vote: Bytes) {
        self.vote = Some(vote);
    }

    /// Adds an entry that passed [`Log::check_append`]. `payload` is given while the log is live, not in replay.
    pub(super) fn append(&mut self, id: LogId, segment: u64, spot: Spot, payload: Option<Bytes>) {
        self.base.get_or_insert(id.index);
        let bytes_total = self.bytes_total() + u64::from(spot.len);
        self.slots.push_back(Slot { term: id.term, leader: id.leader, segment, spot, bytes_total });
        if let Some(payload) = payload {
            self.cache_bytes += payload.len() as u64;
            self.cache.push_back(payload);
        }
        self.evict();
    }

    /// Voids the entries from `from` on.
    pub(super) fn truncate(&mut self, from: u64) {
        let Some(base) = self.base else { return };
        let keep = usize::try_from(from.saturating_sub(base)).unwrap_or(usize::MAX);
        while self.slots.len() > keep {
            self.slots.pop_back();
            if let Some(payload) = self.cache.pop_back() {
                self.cache_bytes -= payload.len() as u64;
            }
        }
        // Only in replay, when the segments with the entries before have been deleted.
        self.base = Some(base.min(from));
    }

    /// Forgets the entries up to `upto`.
    pub(super) fn purge(&mut self, upto: LogId) {
        if self.purged.is_some_and(|purged| purged.index >= upto.index) {
            return;
        }
        self.purged = Some(upto);
        let first = upto.index + 1;
        let base = *self.base.get_or_insert(first);
        if self.next().is_none_or(|next| next <= first) {
            self.base_bytes = self.bytes_total();
            self.slots.clear();
            self.base = Some(first);
        } else if base < first {
            for slot in self.slots.drain(..(first - base) as usize) {
                self.base_bytes = slot.bytes_total;
            }
            self.base = Some(first);
        }
        while self.cache.len() > self.slots.len() {
            self.drop_oldest_payload();
        }
    }

    /// Everything before `position` is in the files.
    pub(super) fn set_written(&mut self, position: Position) {
        self.written = position;
        self.evict();
    }

    /// Takes in a record found in a segment; an error says why it cannot be there.
    pub(super) fn replay(&mut self, segment: u64, spot: Spot, record: &Record<'_>) -> Result<(), &'static str> {
        if !self.anchored && !matches!(record, Record::Head { .. } | Record::Seal) {
            return Err("the segments before are missing");
        }
        match record {
            Record::Head { vote, purged, next } if self.anchored => {
                if *vote != self.vote.as_deref() || *purged != self.purged || *next != self.next() {
                    return Err("the segment's head contradicts the segments before");
                }
            }
            Record::Head { vote, purged, next } => {
                self.vote = vote.map(Bytes::copy_from_slice);
                (self.purged, self.base, self.anchored) = (*purged, *next, true);
            }
            Record::Entry { id, .. } => {
                if self.next().is_some_and(|next| next != id.index) {
                    return Err("an entry is missing before this one");
                }
                self.append(*id, segment, spot, None);
            }
            Record::Vote(vote) => self.vote = Some(Bytes::copy_from_slice(vote)),
            Record::Truncate { from } => self.truncate(*from),
            Record::Purge { upto } => self.purge(*upto),
            Record::Seal => {}
        }
        Ok(())
    }

    /// Whether the replayed log has all it must have, given the number of the first segment that was there.
    pub(super) fn check_replayed(&self, first_segment: u64) -> Result<(), &'static str> {
        if !self.anchored {
            return Err("the segments before are missing");
        }
        match (self.purged, self.base) {
            (Some(purged), Some(base)) if base > purged.index + 1 => Err("segments with needed entries are missing"),
            // Only a purge lets segments go.
            (None, _) if first_segment > 1 => Err("segments with needed entries are missing"),
            _ => Ok(()),
        }
    }

    /// The entries of `range` that are there, the first one at least, and no more than `bytes_max` bytes otherwise.
    pub(super) fn pick(&self, range: Range<u64>, bytes_max: u64) -> Vec<Pick> {
        let Some(base) = self.base else { return Vec::new() };
        let from = usize::try_from(range.start.saturating_sub(base)).unwrap_or(usize::MAX).min(self.slots.len());
        let to = usize::try_from(range.end.saturating_sub(base)).unwrap_or(usize::MAX).min(self.slots.len());
        let uncached = self.slots.len() - self.cache.len();
        let mut bytes = 0;
        let mut picks = Vec::new();
        for at in from..to {
            let slot = &self.slots[at];
            bytes += u64::from(slot.spot.len);
            if bytes > bytes_max && !picks.is_empty() {
                break;
            }
            let id = self.id(at);
            picks.push(match at.checked_sub(uncached).and_then(|at| self.cache.get(at)) {
                Some(payload) => Pick::Cached(Entry { id, payload: payload.clone() }),
                None => Pick::OnDisk { id, segment: slot.segment, spot: slot.spot },
            });
        }
        picks
    }

    fn id(&self, at: usize) -> LogId {
        let slot = &self.slots[at];
        LogId { term: slot.term, leader: slot.leader, index: self.base.unwrap_or(0) + at as u64 }
    }

    /// The entry at `index`, if it is there.
    pub(super) fn id_at(&self, index: u64) -> Option<LogId> {
        let at = usize::try_from(index.checked_sub(self.base?)?).ok()?;
        (at < self.slots.len()).then(|| self.id(at))
    }

    fn bytes_total(&self) -> u64 {
        self.slots.back().map_or(self.base_bytes, |slot| slot.bytes_total)
    }

    fn evict(&mut self) {
        while self.cache_bytes > self.cache_bytes_max {
            let oldest = &self.slots[self.slots.len() - self.cache.len()];
            if (Position { segment: oldest.segment, offset: oldest.spot.offset }) >= self.written {
                return;
            }
            self.drop_oldest_payload();
        }
    }

    fn drop_oldest_payload(&mut self) {
        if let Some(payload) = self.cache.pop_front() {
            self.cache_bytes -= payload.len() as u64;
        }
    }
}
