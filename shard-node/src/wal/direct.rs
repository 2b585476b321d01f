//! Writes past the page cache, where the file system can.
//!
//! A log is written once and read after a crash. Through the cache each byte is copied there, and each sync looks for
//! the pages and writes them back: measured, a third of a sync's time and half of its processor time, and filling a
//! segment with zeros cost eight times as much. Where it cannot be done (a file system in memory, sectors larger than
//! ours) the cache is used as ever. Syncs are needed either way: the disk has a cache of its own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::group::SECTOR;

/// What direct writes want of a buffer's address. No device wants more than a page.
const ALIGN: usize = 4096;
/// Bytes in one write.
const STEP_BYTES: usize = 1 << 20;

/// The file at `path`, which has a sector at least, for direct writes of whole sectors; `None` where that is not possible.
pub(super) fn open(path: &Path) -> Option<File> {
    let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).ok()?;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).ok()?;
    // Some refuse only when it comes to reading or writing.
    let mut buffer = Buffer::new(SECTOR);
    file.read_exact_at(buffer.aligned(SECTOR), 0).ok()?;
    Some(file)
}

/// A buffer that direct writes can be made from.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Of `len` bytes, all zero.
    fn new(len: usize) -> Self {
        let bytes = vec![0; len + ALIGN];
        // The vector never grows, so its bytes stay where they are.
        let start = bytes.as_ptr().align_offset(ALIGN);
        Self { bytes, start }
    }

    fn aligned(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + len]
    }

    /// Writes whole sectors at a sector.
    pub(super) fn write_all_at(&mut self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        for (step, part) in bytes.chunks(STEP_BYTES).enumerate() {
            let aligned = self.aligned(part.len());
            aligned.copy_from_slice(part);
            file.write_all_at(aligned, at + (step * STEP_BYTES) as u64)?;
        }
        Ok(())
    }

    /// Fills the first `bytes` of `file`, whole sectors, with zeros.
    pub(super) fn fill(file: &File, bytes: usize) -> io::Result<()> {
        let mut zeros = Self::new(STEP_BYTES.min(bytes));
        for at in (0..bytes).step_by(STEP_BYTES) {
            file.write_all_at(zeros.aligned(STEP_BYTES.min(bytes - at)), at as u64)?;
        }
        Ok(())
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new(STEP_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_directly_is_read_through_the_cache() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("file");
        let file = File::options().read(true).write(true).create_new(true).open(&path).expect("a file");
        file.write_all_at(&[7; SECTOR], 0).expect("written");
        let Some(direct) = open(&path) else { return println!("skipped: no direct writes under {}", path.display()) };
        let len = STEP_BYTES + 3 * SECTOR;
        Buffer::fill(&direct, len).expect("filled");
        assert_eq!(std::fs::read(&path).expect("read"), vec![0; len]);

        let bytes: Vec<u8> = (0..len - SECTOR).map(|n| (n % 251) as u8).collect();
        Buffer::default().write_all_at(&direct, &bytes, SECTOR as u64).expect("written");
        assert!(std::fs::read(&path).expect("read")[SECTOR..] == bytes);
    }
}
