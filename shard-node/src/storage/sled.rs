//! sled 0.34: small and proven against killed processes, not against power cuts.
//!
//! It syncs with `sync_file_range`, which leaves file lengths and the disk's own cache alone: after a power cut it may
//! not open, or open with pairs missing from the middle. So it is not crash-safe, and `boot` says when its folder must
//! be wiped. It has no snapshots; `views` adds them.

use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::files;
use super::generation::{Generation, InUse};
use super::room;
use super::views::{Raw, Viewed};
use super::{Batch, Engine, Error, Pair, Pairs, Read};

/// Changes that go into one of sled's batches during `install`. sled buffers a batch in its log until it is sealed.
const INSTALL_BATCH: usize = 1024;

/// An engine on sled.
#[derive(Debug)]
pub(super) struct Sled {
    path: PathBuf,
    cache_bytes: u64,
    instance: InUse<Viewed<Instance>>,
}

impl Sled {
    pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, Error> {
        let generation = Generation::current(dir).map_err(|error| Error::io(dir, &error))?;
        let instance = Instance::open(dir, generation, cache_bytes)?;
        let instance = InUse::new(Viewed::new(instance));
        Ok(Self { path: dir.to_owned(), cache_bytes, instance })
    }
}

impl Read for Sled {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.instance.get().get(key)
    }

    fn scan(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, reverse: bool) -> Pairs<'_> {
        self.instance.get().view().pairs(low, high, reverse)
    }
}

impl Engine for Sled {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn apply(&self, batch: Batch) -> Result<(), Error> {
        batch.check(&self.path)?;
        room::check(&self.path, &batch)?;
        self.instance.get().apply(batch)
    }

    fn view(&self) -> Result<Box<dyn Read>, Error> {
        Ok(Box::new(self.instance.get().view()))
    }

    fn flush(&self) -> Result<(), Error> {
        self.instance.get().raw.flush()
    }

    fn is_quick(&self) -> bool {
        false
    }

    fn crash_safe(&self) -> bool {
        false
    }

    fn install(&self, pairs: &mut dyn Iterator<Item = Result<Pair, Error>>) -> Result<(), Error> {
        let old = self.instance.get();
        let generation = old.raw.generation.next().map_err(|error| Error::io(&self.path, &error))?;
        let new = Instance::open(&self.path, generation, self.cache_bytes)?;
        let mut batch = Batch::default();
        for pair in pairs {
            let (key, value) = pair?;
            batch.changes.push((key, Some(value)));
            if batch.changes.len() == INSTALL_BATCH {
                batch.check(&self.path)?;
                room::check(&self.path, &batch)?;
                new.apply(std::mem::take(&mut batch))?;
            }
        }
        batch.check(&self.path)?;
        room::check(&self.path, &batch)?;
        new.apply(batch)?;
        new.flush()?;
        new.generation.switch().map_err(|error| Error::io(&self.path, &error))?;
        self.instance.replace(Viewed::new(new));
        old.raw.generation.retire();
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.instance.get().raw.db.size_on_disk().unwrap_or(0)
    }
}

/// How often a folder that is still locked is tried again: two seconds in all, far longer than sled takes to let go.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// One open sled database. The fields' order is their drop order: sled first, then its folder.
#[derive(Debug)]
struct Instance {
    path: PathBuf,
    db: ::sled::Db,
    generation: Generation,
}

impl Instance {
    fn open(path: &Path, generation: Generation, cache_bytes: u64) -> Result<Self, Error> {
        let folder = generation.folder();
        remove_generating(&folder).map_err(|error| Error::io(path, &error))?;
        let config = ::sled::Config::new()
            .path(&folder)
            .cache_capacity(cache_bytes)
            // Flushing is ours to time: the log is the truth, and each of sled's own flushes would be extra writes.
            .flush_every_ms(None)
            // Large segments are rewritten less often than in the mode that saves room.
            .mode(::sled::Mode::HighThroughput);
        let mut attempts = LOCK_ATTEMPTS;
        let db = loop {
            match config.open() {
                // A closed database keeps its lock until the last of its threads has noticed.
                Err(::sled::Error::Io(error)) if attempts > 0 && error.to_string().contains("acquire lock") => {
                    attempts -= 1;
                    std::thread::park_timeout(LOCK_PAUSE);
                }
                opened => break opened.map_err(|error| sort(path, error))?,
            }
        };
        Ok(Self { path: path.to_owned(), db, generation })
    }

    /// sled's own flush is enough against a killed process. The fsyncs make a cleanly stopped, quiet database durable,
    /// which the clean mark of `boot` relies on.
    fn flush(&self) -> Result<(), Error> {
        self.db.flush().map_err(|error| sort(&self.path, error))?;
        files::sync_tree(&self.generation.folder()).or_else(|error| match error.kind() {
            // A file sled removed meanwhile: it holds nothing any more, and only the mark needs all the others.
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(Error::io(&self.path, &error)),
        })
    }
}

impl Raw for Instance {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let value = self.db.get(key).map_err(|error| sort(&self.path, error))?;
        Ok(value.map(Bytes::from_owner))
    }

    fn pairs(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, reverse: bool) -> Pairs<'_> {
        let pairs = self.db.range::<&[u8], _>((low, high));
        let owned = |pair: ::sled::Result<(::sled::IVec, ::sled::IVec)>| {
            let (key, value) = pair.map_err(|error| sort(&self.path, error))?;
            Ok((Bytes::from_owner(key), Bytes::from_owner(value)))
        };
        if reverse { Box::new(pairs.rev().map(owned)) } else { Box::new(pairs.map(owned)) }
    }

    fn apply(&self, batch: Batch) -> Result<(), Error> {
        let mut changes = ::sled::Batch::default();
        for (key, value) in batch.changes {
            match value {
                Some(value) => changes.insert(&key[..], &value[..]),
                None => changes.remove(&key[..]),
            }
        }
        self.db.apply_batch(changes).map_err(|error| sort(&self.path, error))
    }
}

/// Removes what a crash while sled wrote a snapshot of its page table leaves behind. sled creates that file with
/// "must not exist yet" and so, with a left-over, fails every later open.
fn remove_generating(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn sort(path: &Path, error: ::sled::Error) -> Error {
    match error {
        ::sled::Error::Io(error) => Error::io(path, &error),
        ::sled::Error::Corruption { .. } | ::sled::Error::ReportableBug(_) => {
            Error::Damaged { path: path.to_owned(), reason: error.to_string() }
        }
        other => Error::Io { path: path.to_owned(), reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_left_over_of_sleds_snapshot_does_not_block_opening() {
        let dir = tempfile::tempdir().unwrap();
        let sled = Sled::open(dir.path(), 1 << 20).unwrap();
        sled.apply(Batch { changes: vec![(Bytes::from("a"), Some(Bytes::from("1")))] }).unwrap();
        sled.flush().unwrap();
        let folder = sled.instance.get().raw.generation.folder();
        drop(sled);
        let left_over = folder.join("snap.0000000000000000.generating");
        fs::write(&left_over, "half").unwrap();

        let sled = Sled::open(dir.path(), 1 << 20).unwrap();
        assert_eq!(sled.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
        assert!(!left_over.exists());
    }
}
