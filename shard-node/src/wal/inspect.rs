//! Looks at a whole log without changing anything, as strictly as a start does.
//!
//! Holds the folder's lock meanwhile, so the log is nobody's. Leaves to others: what votes and payloads mean.

use std::path::{Path, PathBuf};

use super::disk::{self, Disk};
use super::index::Log;
use super::replay::Replay;
use super::scan::Tail;
use super::{Error, Identity, LogId};

/// A log's folder, locked until this is dropped.
pub struct Inspection {
    disk: Disk,
}

/// What a sound log holds.
pub struct Summary {
    /// Segments there are.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Index of the first entry that is there, or will be.
    pub first: Option<u64>,
    /// The last entry, or the purge point when there is none behind it.
    pub last: Option<LogId>,
    /// The purge point.
    pub purged: Option<LogId>,
    /// Where the remains of a write that was cut short begin. The next start drops them: they were never acknowledged.
    pub torn: Option<(PathBuf, u64)>,
    log: Log,
}

impl Inspection {
    /// Locks the log in `dir`, which must exist. Errors: [`Error::Locked`] while a node uses it, [`Error::Io`].
    pub fn open(dir: &Path, identity: &Identity) -> Result<Self, Error> {
        // Opening makes missing folders, and looking must not.
        std::fs::metadata(dir).map_err(|error| Error::io(dir, &error))?;
        Ok(Self { disk: Disk::open(dir, identity)? })
    }

    /// Reads every segment and checks all that a start checks. Errors: the first damage, a foreign log, [`Error::Io`].
    pub fn summary(&self) -> Result<Summary, Error> {
        let dir = &self.disk.path;
        let files = disk::segments(dir)?;
        let Some((first, _)) = files.first() else {
            let log = Log::new(0, 1);
            return Ok(Summary { segments: 0, bytes: 0, first: None, last: None, purged: None, torn: None, log });
        };
        let mut replay = Replay::new(dir, &self.disk.identity, *first, 0);
        let mut bytes_total = 0;
        for (number, path) in &files {
            let bytes = std::fs::read(path).map_err(|error| Error::io(path, &error))?;
            bytes_total += bytes.len() as u64;
            replay.add(*number, bytes)?;
        }
        let verdict = replay.finish()?;
        let torn = (verdict.end.tail == Tail::Torn).then(|| (verdict.newest.path, u64::from(verdict.end.offset)));
        let log = verdict.log;
        let (segments, bytes) = (files.len() as u64, bytes_total);
        Ok(Summary { segments, bytes, first: log.first(), last: log.last(), purged: log.purged(), torn, log })
    }
}

impl Summary {
    /// The entry at `index`, if the log has it.
    pub fn id_at(&self, index: u64) -> Option<LogId> {
        self.log.id_at(index)
    }
}
