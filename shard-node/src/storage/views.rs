//! Point-in-time views for engines that have none.
//!
//! While a view is alive, every batch first saves, for that view, what the keys it changes held before it (the first
//! one saved wins). The view reads the current pairs with the saved ones laid over them. Batches and reads exclude
//! each other through one lock; a scan takes it chunk by chunk, so a long scan does not stop writes.
//!
//! Why not stamp each record with the log index of its last change and scan while writes go on: such a scan is of no
//! point in time (a key moved behind its back is seen twice or never), so everything read from it would need the
//! replay of the log before it is right, and deletions leave nothing to stamp. Saved values make a scan right by
//! itself; they cost memory for the keys changed while a view lives, and nothing when there is none.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::vec;

use bytes::Bytes;

use super::{Batch, Error, Pair, Pairs, Read, is_empty_range};

/// Pairs a scan reads under the lock at first: most scans want a few.
const CHUNK_PAIRS_MIN: usize = 16;
/// And at most: writers wait for a chunk, so this bounds their wait.
const CHUNK_PAIRS_MAX: usize = 512;
/// Bytes after which a chunk ends. Bounds the memory of a scan over large values.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// An engine without views, as this module needs it.
pub(super) trait Raw: Send + Sync + 'static {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// Pairs within the bounds, as [`Read::scan`], though of no one point in time.
    fn pairs(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, reverse: bool) -> Pairs<'_>;

    /// Applies `batch`: all of it or nothing.
    fn apply(&self, batch: Batch) -> Result<(), Error>;
}

type Saved = BTreeMap<Bytes, Option<Bytes>>;

#[derive(Debug, Default)]
struct Saves {
    next: u64,
    by_view: HashMap<u64, Saved>,
}

/// An engine with views.
#[derive(Debug)]
pub(super) struct Viewed<R> {
    pub(super) raw: R,
    /// Held shared by readers and exclusively by `apply`: both the saves and the pairs are guarded by it.
    saves: RwLock<Saves>,
}

impl<R: Raw> Viewed<R> {
    pub(super) fn new(raw: R) -> Self {
        Self { raw, saves: RwLock::default() }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let _shared = self.shared();
        self.raw.get(key)
    }

    pub(super) fn apply(&self, batch: Batch) -> Result<(), Error> {
        let mut saves = self.exclusive();
        if !saves.by_view.is_empty() {
            for (key, _) in &batch.changes {
                if saves.by_view.values().all(|saved| saved.contains_key(key)) {
                    continue;
                }
                // Should the batch fail after this, the saved value equals the current one: nothing is wrong.
                let before = self.raw.get(key)?;
                for saved in saves.by_view.values_mut() {
                    saved.entry(key.clone()).or_insert_with(|| before.clone());
                }
            }
        }
        self.raw.apply(batch)
    }

    pub(super) fn view(self: &Arc<Self>) -> View<R> {
        let mut saves = self.exclusive();
        let id = saves.next;
        saves.next += 1;
        saves.by_view.insert(id, Saved::new());
        View(Arc::new(Registered { viewed: Arc::clone(self), id }))
    }

    // Poisoned locks are taken over: a panic while saving leaves at worst values that equal the current ones.
    fn shared(&self) -> RwLockReadGuard<'_, Saves> {
        self.saves.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Saves> {
        self.saves.write().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Registered<R: Raw> {
    viewed: Arc<Viewed<R>>,
    id: u64,
}

impl<R: Raw> Drop for Registered<R> {
    fn drop(&mut self) {
        let saved = self.viewed.exclusive().by_view.remove(&self.id);
        // Freed with the lock released.
        drop(saved);
    }
}

/// All pairs as they were when the view was taken.
pub(super) struct View<R: Raw>(Arc<Registered<R>>);

impl<R: Raw> View<R> {
    /// As [`Read::scan`]; the scan keeps the view alive.
    pub(super) fn pairs(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, reverse: bool) -> Pairs<'static> {
        Box::new(Scan {
            view: Arc::clone(&self.0),
            low: low.map(Bytes::copy_from_slice),
            high: high.map(Bytes::copy_from_slice),
            reverse,
            chunk: Vec::new().into_iter(),
            chunk_pairs: CHUNK_PAIRS_MIN,
            finished: is_empty_range(low, high),
        })
    }
}

impl<R: Raw> Read for View<R> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let saves = self.0.viewed.shared();
        match saves.by_view.get(&self.0.id).and_then(|saved| saved.get(key)) {
            Some(before) => Ok(before.clone()),
            None => self.0.viewed.raw.get(key),
        }
    }

    fn scan(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, reverse: bool) -> Pairs<'_> {
        self.pairs(low, high, reverse)
    }
}

struct Scan<R: Raw> {
    view: Arc<Registered<R>>,
    low: Bound<Bytes>,
    high: Bound<Bytes>,
    reverse: bool,
    chunk: vec::IntoIter<Pair>,
    chunk_pairs: usize,
    finished: bool,
}

impl<R: Raw> Scan<R> {
    /// Reads the next chunk; it may be empty and yet not the last.
    fn advance(&mut self) -> Result<(), Error> {
        let (low, high) = (self.low.as_ref().map(|key| &key[..]), self.high.as_ref().map(|key| &key[..]));
        let saves = self.view.viewed.shared();
        let current = Chunk::take(self.view.viewed.raw.pairs(low, high, self.reverse), self.chunk_pairs)?;
        let saved = match saves.by_view.get(&self.view.id) {
            None => Chunk::default(),
            Some(saved) => {
                let range = saved.range::<[u8], _>((low, high)).map(|(key, before)| Ok((key.clone(), before.clone())));
                if self.reverse {
                    Chunk::take(range.rev(), self.chunk_pairs)?
                } else {
                    Chunk::take(range, self.chunk_pairs)?
                }
            }
        };
        drop(saves);

        let (pairs, reached) = overlay(current, saved, self.reverse);
        self.chunk = pairs.into_iter();
        self.chunk_pairs = (self.chunk_pairs * 4).min(CHUNK_PAIRS_MAX);
        match (reached, self.reverse) {
            (None, _) => self.finished = true,
            (Some(key), false) => self.low = Bound::Excluded(key),
            (Some(key), true) => self.high = Bound::Excluded(key),
        }
        let bounds = (self.low.as_ref().map(|key| &key[..]), self.high.as_ref().map(|key| &key[..]));
        self.finished |= is_empty_range(bounds.0, bounds.1);
        Ok(())
    }
}

impl<R: Raw> Iterator for Scan<R> {
    type Item = Result<Pair, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(pair) = self.chunk.next() {
                return Some(Ok(pair));
            }
            if self.finished {
                return None;
            }
            if let Err(error) = self.advance() {
                self.finished = true;
                return Some(Err(error));
            }
        }
    }
}

/// The first keys of a range, in scan order.
struct Chunk<V> {
    items: Vec<(Bytes, V)>,
    /// Whether the range may go on after them.
    more: bool,
}

impl<V> Default for Chunk<V> {
    fn default() -> Self {
        Self { items: Vec::new(), more: false }
    }
}

/// What a value adds to a chunk, in bytes.
trait Weight {
    fn weight(&self) -> usize;
}

impl Weight for Bytes {
    fn weight(&self) -> usize {
        self.len()
    }
}

impl Weight for Option<Bytes> {
    fn weight(&self) -> usize {
        self.as_ref().map_or(0, Bytes::len)
    }
}

impl<V: Weight> Chunk<V> {
    fn take(pairs: impl Iterator<Item = Result<(Bytes, V), Error>>, count: usize) -> Result<Self, Error> {
        let mut chunk = Self::default();
        let mut bytes = 0;
        for pair in pairs {
            let (key, value) = pair?;
            bytes += key.len() + value.weight();
            chunk.items.push((key, value));
            if chunk.items.len() >= count || bytes >= CHUNK_BYTES_MAX {
                chunk.more = true;
                break;
            }
        }
        Ok(chunk)
    }

    /// Up to where (inclusive) everything of the range is in the chunk. `None`: to its end.
    fn reached(&self) -> Option<&Bytes> {
        self.items.last().filter(|_| self.more).map(|(key, _)| key)
    }
}

/// Lays `saved` over `current`. Also says up to which key (inclusive) the result is complete; `None`: to the end.
fn overlay(current: Chunk<Bytes>, saved: Chunk<Option<Bytes>>, reverse: bool) -> (Vec<Pair>, Option<Bytes>) {
    let nearer = |a: Bytes, b: Bytes| if (a < b) != reverse { a } else { b };
    let reached = current.reached().cloned().into_iter().chain(saved.reached().cloned()).reduce(nearer);
    if saved.items.is_empty() {
        return (current.items, reached);
    }
    let within = |key: &Bytes| match &reached {
        None => true,
        Some(reached) if reverse => key >= reached,
        Some(reached) => key <= reached,
    };
    let mut pairs: BTreeMap<Bytes, Bytes> = current.items.into_iter().filter(|(key, _)| within(key)).collect();
    for (key, before) in saved.items.into_iter().filter(|(key, _)| within(key)) {
        match before {
            Some(value) => pairs.insert(key, value),
            None => pairs.remove(&key),
        };
    }
    let pairs = if reverse { pairs.into_iter().rev().collect() } else { pairs.into_iter().collect() };
    (pairs, reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn current(pairs: &[(&str, &str)], more: bool) -> Chunk<Bytes> {
        Chunk { items: pairs.iter().map(|(key, value)| (bytes(key), bytes(value))).collect(), more }
    }

    fn saved(pairs: &[(&str, Option<&str>)], more: bool) -> Chunk<Option<Bytes>> {
        Chunk { items: pairs.iter().map(|(key, value)| (bytes(key), value.map(bytes))).collect(), more }
    }

    fn shown(pairs: &[Pair]) -> String {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        pairs.iter().map(|(key, value)| format!("{}={}", text(key), text(value))).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn saved_values_replace_bring_back_and_hide() {
        let (pairs, reached) = overlay(
            current(&[("a", "new"), ("b", "2"), ("d", "added")], false),
            saved(&[("a", Some("old")), ("c", Some("removed")), ("d", None)], false),
            false,
        );
        assert_eq!(shown(&pairs), "a=old b=2 c=removed");
        assert_eq!(reached, None);
    }

    #[test]
    fn complete_only_up_to_the_nearer_end() {
        let (pairs, reached) =
            overlay(current(&[("a", "1"), ("b", "2")], true), saved(&[("c", Some("3"))], false), false);
        assert_eq!((shown(&pairs).as_str(), reached), ("a=1 b=2", Some(bytes("b"))));

        let (pairs, reached) =
            overlay(current(&[("a", "1"), ("z", "2")], false), saved(&[("b", Some("3"))], true), false);
        assert_eq!((shown(&pairs).as_str(), reached), ("a=1 b=3", Some(bytes("b"))));
    }

    #[test]
    fn in_reverse_the_nearer_end_is_the_greater_key() {
        let (pairs, reached) =
            overlay(current(&[("z", "1"), ("y", "2")], true), saved(&[("x", Some("3"))], true), true);
        assert_eq!((shown(&pairs).as_str(), reached), ("z=1 y=2", Some(bytes("y"))));
    }

    #[test]
    fn chunks_end_by_count_and_by_bytes() {
        let pairs = |size: usize| (0..9_u8).map(move |n| Ok((Bytes::from(vec![n]), Bytes::from(vec![0; size]))));
        assert_eq!(Chunk::take(pairs(1), 4).unwrap().items.len(), 4);
        assert_eq!(Chunk::take(pairs(CHUNK_BYTES_MAX / 2), 8).unwrap().items.len(), 2);
        assert!(!Chunk::take(pairs(1), 100).unwrap().more);
    }
}
