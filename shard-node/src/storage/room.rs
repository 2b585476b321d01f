//! Refuses batches while there is still a little room on the disk.
//!
//! No engine takes a full disk well: sled's writer then waits for ever, fjall refuses everything until it is opened
//! again. Refused early, the engine stays in use and goes on once there is room. Others fill the same disk, so this
//! makes a full disk in the middle of a batch rare, not impossible.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Batch, Error};

/// Room that must be left, in bytes: what the engines write by themselves after a batch, that is merged tables and
/// segments. Smaller risks the engine; larger wastes the disk.
const RESERVE_BYTES: u64 = 64 << 20;

/// What all engines of this process hold in memory and will write. They may share a disk, and are taken to.
static IN_MEMORY_BYTES: AtomicU64 = AtomicU64::new(0);

/// One engine's part of what is in memory and will be written, until it is dropped.
pub(super) struct InMemory {
    bytes: AtomicU64,
    of_all: &'static AtomicU64,
}

impl Default for InMemory {
    fn default() -> Self {
        Self::of(&IN_MEMORY_BYTES)
    }
}

impl InMemory {
    fn of(of_all: &'static AtomicU64) -> Self {
        Self { bytes: AtomicU64::new(0), of_all }
    }

    /// It is so many bytes now.
    pub(super) fn set(&self, bytes: u64) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        // Wraps around where it becomes less, and back.
        self.of_all.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// [`Error::DiskFull`] when `batch` should not be applied by the engine in `path`: what it and all before it will take must
/// fit. A look costs a system call, about a hundredth of the smallest batch.
pub(super) fn check(path: &Path, batch: &Batch) -> Result<(), Error> {
    check_beside(path, batch, &IN_MEMORY_BYTES)
}

fn check_beside(path: &Path, batch: &Batch, in_memory: &AtomicU64) -> Result<(), Error> {
    let size = |(key, value): &(_, Option<_>)| bytes::Bytes::len(key) + value.as_ref().map_or(0, bytes::Bytes::len);
    let batch = batch.changes.iter().map(size).sum::<usize>() as u64;
    check_bytes(path, batch.saturating_add(in_memory.load(Ordering::Relaxed)))
}

/// [`Error::DiskFull`] when `bytes` should not be written.
pub(super) fn check_bytes(path: &Path, bytes: u64) -> Result<(), Error> {
    match is_below(path, RESERVE_BYTES.saturating_add(bytes)) {
        true => Err(Error::DiskFull { path: path.to_owned() }),
        false => Ok(()),
    }
}

/// Whether an engine that stopped without a reason stopped for want of room.
pub(super) fn is_short(path: &Path) -> bool {
    is_below(path, RESERVE_BYTES)
}

/// A disk that cannot be asked counts as having room: the write itself will tell.
fn is_below(path: &Path, bytes: u64) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_memory_is_counted_until_its_engine_is_gone() {
        // More than any disk has. Not the process's own sum: other tests write meanwhile.
        const MUCH: u64 = 1 << 50;
        static OF_ALL: AtomicU64 = AtomicU64::new(0);
        let dir = tempfile::tempdir().expect("a temporary folder");
        let fits = || check_beside(dir.path(), &Batch::default(), &OF_ALL).is_ok();
        assert!(fits());
        let (one, other) = (InMemory::of(&OF_ALL), InMemory::of(&OF_ALL));
        one.set(MUCH);
        other.set(MUCH);
        assert!(!fits());
        one.set(1);
        assert!(!fits());
        drop(other);
        assert!(fits());
        one.set(MUCH);
        assert!(!fits());
        drop(one);
        assert!(fits());
    }
}
