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
#[derive(Default)]
pub(super) struct InMemory {
    bytes: AtomicU64,
}

impl InMemory {
    /// It is so many bytes now.
    pub(super) fn set(&self, bytes: u64) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        // Wraps around where it becomes less, and back.
        IN_MEMORY_BYTES.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
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
    let size = |(key, value): &(_, Option<_>)| bytes::Bytes::len(key) + value.as_ref().map_or(0, bytes::Bytes::len);
    let batch = batch.changes.iter().map(size).sum::<usize>() as u64;
    check_bytes(path, batch.saturating_add(IN_MEMORY_BYTES.load(Ordering::Relaxed)))
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
        // Far more than any test beside this one holds.
        const MUCH: u64 = 1 << 50;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let fits = || check(dir.path(), &Batch::default()).is_ok();
        assert!(fits());
        let (one, other) = (InMemory::default(), InMemory::default());
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
