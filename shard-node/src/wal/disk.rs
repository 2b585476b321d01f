//! The log's folder: locked, its segments listed, made and deleted, each step durable before the next one.
//!
//! A segment is filled with zeros and synced under a name that is no segment's, and renamed when it is complete, so a
//! crash leaves whole segments only. (Zeros ahead, since a file that grows has its metadata written with each sync.)

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use common::metrics::{Histogram, LOG_SYNC};
use rustix::fs::{FlockOperation, flock};

use super::direct::{self, Buffer};
use super::group::SECTOR;
use super::segment::{Header, Segment};
use super::{Error, Identity};

/// Names of files that are not segments yet.
const BLANK_SUFFIX: &str = ".new";
const SEGMENT_SUFFIX: &str = ".wal";

/// The folder, locked until [`Disk::unlock`] or drop.
#[derive(Debug)]
pub(super) struct Disk {
    pub path: PathBuf,
    pub identity: Identity,
    handle: File,
    pub fsyncs: AtomicU64,
    pub bytes_written: AtomicU64,
    /// How long syncs took that somebody waited for.
    pub sync_times: Histogram,
    #[cfg(test)]
    pub faults: super::tests::Faults,
}

/// A file of zeros that may become a segment.
#[derive(Debug)]
pub(super) struct Blank {
    file: File,
    direct: Option<File>,
    path: PathBuf,
    pub bytes: u32,
}

impl Disk {
    /// Opens the folder, made when missing, and locks it.
    pub(super) fn open(path: &Path, identity: &Identity) -> Result<Self, Error> {
        make_folder(path).map_err(|error| Error::io(path, &error))?;
        let handle = File::open(path).map_err(|error| Error::io(path, &error))?;
        match flock(&handle, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Locked { dir: path.to_owned() }),
            Err(errno) => return Err(Error::io(path, &errno.into())),
        }
        Ok(Self {
            path: path.to_owned(),
            identity: identity.clone(),
            handle,
            fsyncs: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            sync_times: Histogram::of(&LOG_SYNC),
            #[cfg(test)]
            faults: super::tests::Faults::default(),
        })
    }

    /// Lets others open the folder.
    pub(super) fn unlock(&self) -> Result<(), Error> {
        flock(&self.handle, FlockOperation::Unlock).map_err(|errno| Error::io(&self.path, &errno.into()))
    }

    /// Deletes what never became a segment.
    pub(super) fn sweep(&self) -> Result<(), Error> {
        for path in list(&self.path, BLANK_SUFFIX)? {
            std::fs::remove_file(&path).map_err(|error| Error::io(&path, &error))?;
        }
        Ok(())
    }

    /// A file of `bytes` zeros, durable. `name` tells the two threads that make them apart.
    pub(super) fn blank(&self, name: &str, bytes: u32) -> Result<Blank, Error> {
        let path = self.path.join(format!("{name}{BLANK_SUFFIX}"));
        match self.zeros(&path, bytes) {
            Ok((file, direct)) => Ok(Blank { file, direct, path, bytes }),
            Err(error) => {
                // Best effort: what stays is swept at the next start, and made anew by the next call.
                if let Err(error) = std::fs::remove_file(&path)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    tracing::warn!(%error, path = %path.display(), "an unfinished log segment stays until the next start");
                }
                Err(self.full_or(&path, &error))
            }
        }
    }

    /// Makes `blank` the segment `number`, durably.
    pub(super) fn create(&self, blank: Blank, number: u64, chain: u32) -> Result<Segment, Error> {
        let Blank { file, direct, path, bytes } = blank;
        let header = Header { identity: self.identity.clone(), number, chain, bytes: u64::from(bytes) };
        let (sector, seed) = header.encode();
        file.write_all_at(&sector, 0).map_err(|error| Error::io(&path, &error))?;
        self.sync(&file, &path)?;
        let name = segment_path(&self.path, number);
        std::fs::rename(&path, &name).map_err(|error| self.full_or(&name, &error))?;
        self.sync_folder()?;
        Ok(Segment { number, path: name, file, direct, bytes, seed })
    }

    /// Deletes a segment, durably, so that no later deletion can be on disk before it.
    pub(super) fn remove(&self, path: &Path) -> Result<(), Error> {
        std::fs::remove_file(path).map_err(|error| Error::io(path, &error))?;
        self.sync_folder()
    }

    /// Makes what was written to `file` durable. Never repeated after an error: the kernel forgets what it failed on.
    pub(super) fn sync(&self, file: &File, path: &Path) -> Result<(), Error> {
        #[cfg(test)]
        self.faults.before_sync(path)?;
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let synced = file.sync_data();
        self.sync_times.took(began.elapsed());
        synced.map_err(|error| Error::io(path, &error))
    }

    fn sync_folder(&self) -> Result<(), Error> {
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        self.handle.sync_all().map_err(|error| Error::io(&self.path, &error))
    }

    fn zeros(&self, path: &Path, bytes: u32) -> io::Result<(File, Option<File>)> {
        #[cfg(test)]
        self.faults.before_fill()?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        // Something to try it on.
        file.write_all_at(&[0; SECTOR], 0)?;
        let mut direct = direct::open(path);
        match direct.as_ref().map(|direct| Buffer::fill(direct, bytes as usize)) {
            Some(Ok(())) => {}
            Some(Err(error)) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
            // Not possible, or for reading only.
            _ => {
                direct = None;
                Buffer::fill(&file, bytes as usize)?;
            }
        }
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        // The file's size is metadata: this is the one place that needs more than the data.
        file.sync_all()?;
        Ok((file, direct))
    }

    fn full_or(&self, path: &Path, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull { dir: self.path.clone() },
            _ => Error::io(path, error),
        }
    }
}

/// The segments of the folder, in order.
pub(super) fn segments(dir: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let mut found: Vec<(u64, PathBuf)> = list(dir, SEGMENT_SUFFIX)?
        .into_iter()
        .filter_map(|path| {
            let number = u64::from_str_radix(path.file_stem()?.to_str()?, 16).ok()?;
            (path == segment_path(dir, number)).then_some((number, path))
        })
        .collect();
    found.sort();
    Ok(found)
}

/// The file of segment `number`.
pub(super) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}{SEGMENT_SUFFIX}"))
}

fn list(dir: &Path, suffix: &str) -> Result<Vec<PathBuf>, Error> {
    let entries = std::fs::read_dir(dir).map_err(|error| Error::io(dir, &error))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Error::io(dir, &error))?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(suffix)) {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Makes `path` and the folders above it; each new name is durable when this returns.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(parent)?;
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    File::open(parent)?.sync_all()
}
