//! Refuses batches while there is still a little room on the disk.
//!
//! No engine takes a full disk well: sled's writer then waits for ever, fjall refuses everything until it is opened
//! again. Refused early, the engine stays in use and goes on once there is room. Others fill the same disk, so this
//! makes a full disk in the middle of a batch rare, not impossible.

use std::path::Path;

use super::{Batch, Error};

/// Room that must be left, in bytes: what the engines write by themselves after a batch, that is memtables, merged
/// tables and segments. Smaller risks the engine; larger wastes the disk.
const RESERVE_BYTES: u64 = 64 << 20;

/// [`Error::DiskFull`] when `batch` should not be applied by the engine in `path`. A look costs a system call, about a
/// hundredth of the smallest batch.
pub(super) fn check(path: &Path, batch: &Batch) -> Result<(), Error> {
    let size = |(key, value): &(_, Option<_>)| bytes::Bytes::len(key) + value.as_ref().map_or(0, bytes::Bytes::len);
    check_bytes(path, batch.changes.iter().map(size).sum::<usize>() as u64)
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
