//! The engine in memory: simulation and tests. Forgets everything with the process.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use super::generation::InUse;
use super::views::{Raw, Viewed};
use super::{Batch, Engine, Error, Pair, Pairs, Read};

/// An engine in memory.
#[derive(Debug)]
pub(super) struct Memory {
    /// Only for error messages.
    path: PathBuf,
    map: InUse<Viewed<Map>>,
}

impl Memory {
    pub(super) fn new(dir: &Path) -> Self {
        Self { path: dir.to_owned(), map: InUse::new(Viewed::new(Map::default())) }
    }
}

impl Read for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.map.get().get(key)
    }

    fn scan(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, reverse: bool) -> Pairs<'_> {
        self.map.get().view().pairs(low, high, reverse)
    }
}

impl Engine for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn apply(&self, batch: Batch) -> Result<(), Error> {
        batch.check(&self.path)?;
        self.map.get().apply(batch)
    }

    fn view(&self) -> Result<Box<dyn Read>, Error> {
        Ok(Box::new(self.map.get().view()))
    }

    fn flush(&self) -> Result<(), Error> {
        Ok(())
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn crash_safe(&self) -> bool {
        true
    }

    fn install(&self, pairs: &mut dyn Iterator<Item = Result<Pair, Error>>) -> Result<(), Error> {
        let map = Map::default();
        map.apply(Batch {
            changes: pairs.map(|pair| pair.map(|(key, value)| (key, Some(value)))).collect::<Result<_, _>>()?,
        })?;
        self.map.replace(Viewed::new(map));
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.map.get().raw.bytes.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Map {
    pairs: RwLock<BTreeMap<Bytes, Bytes>>,
    bytes: AtomicU64,
}

impl Raw for Map {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.pairs.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn pairs(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, reverse: bool) -> Pairs<'_> {
        // Key by key, so that no lock is held between calls; `Viewed` holds its own around the whole chunk.
        let (mut low, mut high) = (low.map(Bytes::copy_from_slice), high.map(Bytes::copy_from_slice));
        Box::new(std::iter::from_fn(move || {
            let pairs = self.pairs.read().unwrap_or_else(PoisonError::into_inner);
            let bounds = (low.as_ref().map(|key| &key[..]), high.as_ref().map(|key| &key[..]));
            if super::is_empty_range(bounds.0, bounds.1) {
                return None;
            }
            let mut range = pairs.range::<[u8], _>(bounds);
            let (key, value) = if reverse { range.next_back() } else { range.next() }?;
            let end = Bound::Excluded(key.clone());
            *(if reverse { &mut high } else { &mut low }) = end;
            Some(Ok((key.clone(), value.clone())))
        }))
    }

    fn apply(&self, batch: Batch) -> Result<(), Error> {
        let mut pairs = self.pairs.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in batch.changes {
            let size = |value: &Bytes| (key.len() + value.len()) as u64;
            let added = value.as_ref().map_or(0, size);
            let removed = match value {
                Some(value) => pairs.insert(key.clone(), value),
                None => pairs.remove(&key),
            };
            self.bytes.fetch_add(added, Ordering::Relaxed);
            self.bytes.fetch_sub(removed.as_ref().map_or(0, size), Ordering::Relaxed);
        }
        Ok(())
    }
}
