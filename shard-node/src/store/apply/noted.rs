//! What a shard notes of a database, as batches of commands see it: read once, and written with the batch that changed it.

use bytes::Bytes;

use crate::store::record::{self, Record};

/// A record and what follows from it.
pub(super) struct Noted<K, D> {
    pub(super) known: K,
    pub(super) derived: D,
    pub(super) changed: bool,
    derive: fn(&K) -> D,
}

impl<K: Record, D> Noted<K, D> {
    pub(super) fn new(known: K, derive: fn(&K) -> D) -> Self {
        Self { derived: derive(&known), known, changed: false, derive }
    }

    /// Changes what is known, by what says whether it did.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut K) -> bool) {
        if change(&mut self.known) {
            self.changed = true;
            self.derived = (self.derive)(&self.known);
        }
    }

    /// The record, if it changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> Option<Bytes> {
        std::mem::take(&mut self.changed).then(|| record::encode(&self.known))
    }
}
