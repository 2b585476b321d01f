//! A store with changes on top that are not applied yet: each command sees what the ones before it did.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::keys::Span;
use crate::storage::{Batch, Error, Pair, Read};

/// Unapplied changes above a reader.
pub(crate) struct Overlay<'a> {
    below: &'a dyn Read,
    // Sorted, so that equal changes make equal batches whatever order they came in, and each key is written once
    // however often it changed.
    changes: BTreeMap<Bytes, Option<Bytes>>,
    bytes: usize,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(below: &'a dyn Read) -> Self {
        Self { below, changes: BTreeMap::new(), bytes: 0 }
    }

    /// The value of `key`, the changes included.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.below.get(key),
        }
    }

    /// All pairs within `span`, the changes included, in order.
    pub(crate) fn scan(&self, (low, high): &Span) -> impl Iterator<Item = Result<Pair, Error>> + '_ {
        let ends = (Bound::Included(&low[..]), Bound::Excluded(&high[..]));
        let mut below = self.below.scan(ends.0, ends.1, false).peekable();
        let mut changes = self.changes.range::<[u8], _>(ends).peekable();
        std::iter::from_fn(move || {
            loop {
                let order = match (below.peek(), changes.peek()) {
                    (Some(Ok((key, _))), Some((changed, _))) => key.cmp(changed),
                    (_, None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (Some(Err(_)), Some(_)) => Ordering::Less,
                };
                if order.is_lt() {
                    return below.next();
                }
                if order.is_eq() {
                    below.next();
                }
                if let (key, Some(value)) = changes.next()? {
                    return Some(Ok((key.clone(), value.clone())));
                }
            }
        })
    }

    /// Bytes of all changes made so far, those made again counted again.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn put(&mut self, key: Bytes, value: Bytes) {
        self.bytes += key.len() + value.len();
        self.changes.insert(key, Some(value));
    }

    pub(crate) fn delete(&mut self, key: Bytes) {
        self.bytes += key.len();
        self.changes.insert(key, None);
    }

    /// Takes back all changes within `span`.
    pub(crate) fn forget(&mut self, (low, high): &Span) {
        self.changes.retain(|key, _| key[..] < low[..] || key[..] >= high[..]);
    }

    /// The changes, sorted by key, each key once.
    pub(crate) fn into_batch(self) -> Batch {
        Batch { changes: self.changes.into_iter().collect() }
    }
}
