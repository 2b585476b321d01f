//! Engines: an ordered map of byte keys to byte values under each replica, behind one narrow trait.
//!
//! The log is the truth. An engine needs no fsync per write; it must come back from any crash of the process as a
//! consistent prefix of the batches applied to it, in the order they were applied.

pub mod boot;
mod files;
mod fjall;
mod generation;
mod memory;
mod room;
mod sealer;
mod sled;
mod views;

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use common::config::EngineKind;

/// Longest key an engine takes, in bytes (the shortest is one byte). fjall keeps key lengths in 16 bits and panics
/// above that, so longer keys must be refused where documents are named, before they are in the log.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// What an engine could not do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The disk has no room; nothing of the batch was applied.
    #[error("no room on the disk under {path}")]
    DiskFull {
        /// The engine's folder.
        path: PathBuf,
    },
    /// A checksum or an invariant of the engine does not hold: its folder must be rebuilt.
    #[error("engine files under {path} are damaged: {reason}")]
    Damaged {
        /// The engine's folder.
        path: PathBuf,
        /// What the engine said.
        reason: String,
    },
    /// Any other input or output error.
    #[error("engine under {path}: {reason}")]
    Io {
        /// The engine's folder.
        path: PathBuf,
        /// What the engine or the system said.
        reason: String,
    },
}

impl Error {
    /// Sorts an input or output error by what the caller can do about it.
    fn io(path: &Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.to_owned() }
            }
            _ => Self::Io { path: path.to_owned(), reason: error.to_string() },
        }
    }
}

/// A key and its value.
pub type Pair = (Bytes, Bytes);
/// Pairs in key order (or against it).
pub type Pairs<'a> = Box<dyn Iterator<Item = Result<Pair, Error>> + Send + 'a>;

/// Changes that go in together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// In order; a later change of a key wins. `None` deletes.
    pub changes: Vec<(Bytes, Option<Bytes>)>,
}

impl Batch {
    /// Refuses keys that not every engine can hold.
    fn check(&self, path: &Path) -> Result<(), Error> {
        match self.changes.iter().find(|(key, _)| key.is_empty() || key.len() > KEY_BYTES_MAX) {
            None => Ok(()),
            Some((key, _)) => Err(Error::Io {
                path: path.to_owned(),
                reason: format!("a key of {} bytes, engines take 1 to {KEY_BYTES_MAX}", key.len()),
            }),
        }
    }
}

/// Reading: from an engine as it is now, or from a view.
pub trait Read: Send + Sync {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// All pairs within the bounds, in byte order of the keys, or against it when `reverse`.
    ///
    /// The pairs are those of one point in time, the moment of this call.
    fn scan(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, reverse: bool) -> Pairs<'_>;
}

/// An engine. All methods may block on the disk.
pub trait Engine: Read + 'static {
    /// `fjall`, `sled` or `memory`.
    fn name(&self) -> &'static str;

    /// Applies `batch` atomically, without fsync. Readers see all of it or nothing.
    fn apply(&self, batch: Batch) -> Result<(), Error>;

    /// Whether [`Engine::apply`] would now go through without waiting for the disk, as far as the engine can tell.
    fn is_quick(&self) -> bool;

    /// A view of all pairs at one point in time, however long it is kept and whatever is applied meanwhile.
    fn view(&self) -> Result<Box<dyn Read>, Error>;

    /// Makes everything applied before this call durable. Without it what was applied last may be gone when the engine is
    /// opened again, also after it was closed. For an engine that is not [`Engine::crash_safe`] this
    /// helps against a killed process only.
    fn flush(&self) -> Result<(), Error>;

    /// Whether, after a power cut, the folder comes back consistent with everything flushed.
    fn crash_safe(&self) -> bool;

    /// Replaces everything by `pairs` (sorted by key, each key once), durably, as one step: after a crash on the way
    /// the engine has either what it had before or is empty, never a part. Called with no other call under way; views
    /// taken before keep what they show.
    fn install(&self, pairs: &mut dyn Iterator<Item = Result<Pair, Error>>) -> Result<(), Error>;

    /// Bytes on disk (or in memory), as far as the engine can tell cheaply.
    fn size_bytes(&self) -> u64;
}

/// Whether engines of this kind are [`Engine::crash_safe`], known before one is opened.
pub fn crash_safe(kind: EngineKind) -> bool {
    match kind {
        EngineKind::Fjall => true,
        // A simulated node's memory is lost as a whole, which is as consistent as an empty folder.
        EngineKind::Memory => true,
        EngineKind::Sled => false,
    }
}

/// Which kind of engine has files in `dir`; `None` if none has. Changes nothing.
pub fn kind_of(dir: &Path) -> Result<Option<EngineKind>, Error> {
    let folder = generation::Generation::folder_of_current(dir).map_err(|error| Error::io(dir, &error))?;
    let has = |name: &str| folder.join(name).exists();
    Ok(match () {
        () if has("keyspaces") => Some(EngineKind::Fjall),
        () if has("conf") => Some(EngineKind::Sled),
        () => None,
    })
}

/// Opens the engine of this kind in `dir`, which is made when missing, with a block cache of `cache_bytes`.
///
/// For an engine that is not [`crash_safe`], call [`boot::start`] first.
pub fn open(kind: EngineKind, dir: &Path, cache_bytes: u64) -> Result<Arc<dyn Engine>, Error> {
    Ok(match kind {
        EngineKind::Fjall => Arc::new(fjall::Fjall::open(dir, cache_bytes)?),
        EngineKind::Sled => Arc::new(sled::Sled::open(dir, cache_bytes)?),
        EngineKind::Memory => Arc::new(memory::Memory::new(dir)),
    })
}

/// Whether no key can lie within the bounds. The engines disagree on what such bounds mean; some panic.
fn is_empty_range(low: Bound<&[u8]>, high: Bound<&[u8]>) -> bool {
    match (low, high) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => low >= high,
    }
}
