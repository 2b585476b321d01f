//! What readers see: the index and the open segments its entries lie in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::group::Spot;
use super::index::{Log, Pick};
use super::segment::Segment;
use super::{Entry, Error, LogId};

/// What readers see.
pub(super) struct State {
    pub log: Log,
    /// The segments that entries may lie in.
    pub segments: BTreeMap<u64, Arc<Segment>>,
}

impl State {
    /// Lets go of the segments in front of the first entry; `current` stays. Only a purge makes such segments go:
    /// without one, a start could not tell a missing segment from one that was not needed.
    pub(super) fn release(&mut self, current: u64) -> Vec<PathBuf> {
        if self.log.purged().is_none() {
            return Vec::new();
        }
        let needed = self.log.first_segment().unwrap_or(current);
        let kept = self.segments.split_off(&needed);
        std::mem::replace(&mut self.segments, kept).into_values().map(|segment| segment.path.clone()).collect()
    }

    pub(super) fn locate(&self, pick: Pick) -> Located {
        match pick {
            Pick::Cached(entry) => Located::Cached(entry),
            Pick::OnDisk { id, segment, spot } => {
                let segment = self.segments.get(&segment).expect("segments with entries are kept");
                Located::OnDisk { id, segment: Arc::clone(segment), spot }
            }
        }
    }
}

/// An entry to be read without the lock.
pub(super) enum Located {
    Cached(Entry),
    OnDisk { id: LogId, segment: Arc<Segment>, spot: Spot },
}

impl Located {
    pub(super) fn read(self) -> Result<Entry, Error> {
        match self {
            Self::Cached(entry) => Ok(entry),
            Self::OnDisk { id, segment, spot } => segment.read(id, &spot),
        }
    }
}
