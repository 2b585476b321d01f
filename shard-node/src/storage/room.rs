//! Refuses batches while there is still a little room on the disk.
//!
//! No engine takes a full disk well: sled's writer then waits for ever, fjall refuses everything until it is opened
//! again. Refused early, the engine stays in use and goes on once there is room. Others fill the same disk, so this
//! makes a full disk in the middle of a batch rare, not impossible.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Batch, Error};

/// Room that must be left, in bytes: what the engines write by themselves after a batch, that is memtables, merged
/// tables and segments. Smaller risks the engine; larger wastes the disk.
const RESERVE_BYTES: u64 = 64 << 20;
/// Bytes of batches between two looks at the disk: a look costs a system call.
const LOOK_EVERY_BYTES: u64 = 4 << 20;
const _: () = assert!(LOOK_EVERY_BYTES * 4 <= RESERVE_BYTES, "the reserve must not be used up between two looks");

/// Watches the room under one engine.
#[derive(Debug)]
pub(super) struct Room {
    path: PathBuf,
    since_look: AtomicU64,
    full: AtomicBool,
}

impl Room {
    pub(super) fn new(path: &Path) -> Self {
        // Look at the first batch, too.
        Self { path: path.to_owned(), since_look: AtomicU64::new(LOOK_EVERY_BYTES), full: AtomicBool::new(false) }
    }

    /// [`Error::DiskFull`] when `batch` should not be applied.
    pub(super) fn check(&self, batch: &Batch) -> Result<(), Error> {
        let size = |(key, value): &(_, Option<_>)| bytes::Bytes::len(key) + value.as_ref().map_or(0, bytes::Bytes::len);
        let bytes = batch.changes.iter().map(size).sum::<usize>() as u64;
        let since_look = self.since_look.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if since_look < LOOK_EVERY_BYTES && !self.full.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.since_look.store(0, Ordering::Relaxed);
        let full = is_below(&self.path, RESERVE_BYTES.saturating_add(bytes));
        self.full.store(full, Ordering::Relaxed);
        if full { Err(Error::DiskFull { path: self.path.clone() }) } else { Ok(()) }
    }

    /// Whether an engine that stopped without a reason stopped for want of room.
    pub(super) fn is_short(path: &Path) -> bool {
        is_below(path, RESERVE_BYTES)
    }
}

/// A disk that cannot be asked counts as having room: the write itself will tell.
fn is_below(path: &Path, bytes: u64) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < bytes)
}
