//! Snapshots of a replica: taken, kept in files, received, installed.
//!
//! The primary sends a view of its engine as it is now, so nothing is built or copied for it. A receiver spools what it
//! gets to a file, checks all of it, and only then hands it to openraft. Engines that do not survive a power cut keep
//! a snapshot file of their own, synced and switched by rename, and the log is purged only behind that.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use openraft::{AnyError, RaftSnapshotBuilder, Snapshot, StorageIOError};

use crate::raft::frames::{self, Damaged, Header, Piece, Reader};
use crate::raft::shared::{Applied, DISK_FULL_PAUSE, Shared};
use crate::raft::state_machine::{read_applied, run};
use crate::raft::types::{SnapshotMeta, StorageError, TypeConfig, Vote, wal_id};
use crate::raft::wire::Scope;
use crate::storage::{self, Engine, Pair};
use crate::store;
use crate::wal::LogId;

/// The file an engine that is not crash-safe is rebuilt from.
const OWN: &str = "own.snapshot";
/// Read at a time from a snapshot file.
const READ_BYTES: usize = 256 << 10;

/// What openraft hands from the one who takes a snapshot to the one who installs it.
pub(crate) enum SnapshotData {
    /// A view of this replica's engine; pairs are read from it when they are sent.
    View(Box<dyn storage::Read>),
    /// A whole, checked snapshot in a file.
    Spooled(Spool),
}

impl std::fmt::Debug for SnapshotData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::View(_) => "View",
            Self::Spooled(_) => "Spooled",
        })
    }
}

impl SnapshotData {
    /// Replaces all the engine has.
    pub(crate) fn install(&self, engine: &dyn Engine, applied: Bytes) -> Result<(), storage::Error> {
        match self {
            Self::View(view) => install(engine, applied, store::snapshot::pairs(view.as_ref())),
            Self::Spooled(spool) => install(engine, applied, spool.pairs()?),
        }
    }
}

/// The record of what was applied sorts first and comes from the snapshot's place in the log, not from its pairs.
fn install(
    engine: &dyn Engine,
    applied: Bytes,
    pairs: impl Iterator<Item = Result<Pair, storage::Error>>,
) -> Result<(), storage::Error> {
    let key = store::keys::Key::Applied.encode();
    let rebuilt = store::snapshot::rebuild(pairs).filter(|pair| !matches!(pair, Ok((other, _)) if *other == key));
    let record = std::iter::once(Ok((key.clone(), applied)));
    engine.install(&mut record.chain(rebuilt))
}

/// A snapshot in a file that goes away with this value.
pub(crate) struct Spool {
    path: PathBuf,
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a spooled snapshot stays behind");
        }
    }
}

impl Spool {
    fn pairs(&self) -> Result<impl Iterator<Item = Result<Pair, storage::Error>> + use<>, storage::Error> {
        read_pairs(&self.path)
    }
}

/// Removes what a process that was killed left of snapshots it was receiving.
pub(crate) fn clear(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("incoming-") && name.ends_with(".snapshot") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Receives a snapshot into a file, frame by frame.
pub(crate) struct Receiver {
    spool: Spool,
    file: File,
    reader: Reader,
    header: Option<Header>,
}

impl Receiver {
    /// Into a new file in `dir`.
    pub(crate) fn new(dir: &Path, number: u64) -> io::Result<Self> {
        let path = dir.join(format!("incoming-{number}.snapshot"));
        let file = File::create(&path)?;
        Ok(Self { spool: Spool { path }, file, reader: Reader::default(), header: None })
    }

    /// Checks and keeps more of the stream; gives the header when it has just come.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Option<&Header>, ReceiveError> {
        self.file.write_all(bytes)?;
        self.reader.push(bytes);
        let had = self.header.is_some();
        while let Some(piece) = self.reader.next()? {
            if let Piece::Header(header) = piece {
                self.header = Some(header);
            }
        }
        Ok(self.header.as_ref().filter(|_| !had))
    }

    /// The whole snapshot; an error if it is not whole.
    pub(crate) fn finish(self) -> Result<(Header, SnapshotData), ReceiveError> {
        self.reader.finish()?;
        let header = self.header.ok_or(Damaged { offset: 0, reason: "no header".to_owned() })?;
        Ok((header, SnapshotData::Spooled(self.spool)))
    }
}

/// Why a snapshot was not received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// It is not what was sent; ask again.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// Our disk.
    #[error("the snapshot cannot be kept: {0}")]
    Io(#[from] io::Error),
}

/// Takes snapshots of one replica.
#[derive(Clone)]
pub(crate) struct Builder {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) scope: Scope,
    /// The replica's own folder.
    pub(crate) dir: PathBuf,
}

impl Builder {
    /// A view of the engine as it is now; `None` if nothing was ever applied.
    pub(crate) fn current(&self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let read = || {
            let view = self.engine.view()?;
            Ok((read_applied(view.as_ref())?, view))
        };
        let (applied, view) = read().map_err(|error: storage::Error| failed(&error))?;
        if applied.log_id.is_none() {
            return Ok(None);
        }
        Ok(Some(Snapshot { meta: meta(&applied), snapshot: Box::new(SnapshotData::View(view)) }))
    }

    /// Makes durable what is applied now, so that the log may be purged behind it.
    pub(crate) fn make_durable(&self) -> Result<Applied, storage::Error> {
        let view = self.engine.view()?;
        let applied = read_applied(view.as_ref())?;
        if self.engine.crash_safe() {
            self.engine.flush()?;
        } else if applied.log_id.is_some() {
            self.write_own(&applied, view.as_ref())?;
        }
        self.shared.set_durable(applied.log_id);
        Ok(applied)
    }

    /// Writes the file this replica would be rebuilt from.
    fn write_own(&self, applied: &Applied, view: &dyn storage::Read) -> Result<(), storage::Error> {
        let header = self.scope.header(Vote::default(), meta(applied));
        let (part, own) = (self.dir.join("own.part"), self.dir.join(OWN));
        let write = |file: &mut File, bytes: &[u8]| file.write_all(bytes).map_err(|error| io_error(&part, &error));
        let mut file = File::create(&part).map_err(|error| io_error(&part, &error))?;
        for frame in frames::frames(header, store::snapshot::pairs(view)) {
            write(&mut file, &frame?)?;
        }
        // The file before its name, the name before the purge: the log may be gone once this returns.
        let switch = || {
            file.sync_all()?;
            std::fs::rename(&part, &own)?;
            File::open(&self.dir)?.sync_all()
        };
        switch().map_err(|error: io::Error| io_error(&own, &error))
    }

    /// Fills an engine that came back empty from the snapshot file, if there is one.
    pub(crate) fn restore(&self) -> Result<(), storage::Error> {
        let own = self.dir.join(OWN);
        if read_applied(self.engine.as_ref())?.log_id.is_some() || !own.exists() {
            return Ok(());
        }
        let header = read_header(&own)?;
        if (header.cluster, header.shard) != (self.scope.cluster, self.scope.shard) {
            return Err(damaged(&own, "it belongs to another shard"));
        }
        tracing::info!(shard = %header.shard, at = %header.meta, "rebuilding the engine from its snapshot");
        let applied = Applied { log_id: header.meta.last_log_id, membership: Arc::new(header.meta.last_membership) };
        install(self.engine.as_ref(), super::state_machine::encode_applied(&applied), read_pairs(&own)?)
    }
}

impl Builder {
    /// Brings an engine that an earlier version wrote to what this one reads.
    pub(crate) fn complete(&self) -> Result<(), storage::Error> {
        let made = store::complete(self.engine.as_ref(), |batch| self.engine.apply(batch))?;
        if made > 0 {
            tracing::info!(shard = %self.scope.shard, rows = made, "made the streams of partitions");
        }
        Ok(())
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let applied = loop {
            let this = self.clone();
            match run(self.engine.as_ref(), move || this.make_durable()).await {
                Ok(applied) => break applied,
                // An error of ours ends openraft's core; a full disk must not.
                Err(error @ storage::Error::DiskFull { .. }) => tokio::select! {
                    () = tokio::time::sleep(DISK_FULL_PAUSE) => {}
                    () = self.shared.stopping.cancelled() => return Err(failed(&error)),
                },
                Err(error) => return Err(failed(&error)),
            }
        };
        let view = self.engine.view().map_err(|error| failed(&error))?;
        Ok(Snapshot { meta: meta(&applied), snapshot: Box::new(SnapshotData::View(view)) })
    }
}

fn meta(applied: &Applied) -> SnapshotMeta {
    let at = applied.log_id.unwrap_or_default();
    SnapshotMeta {
        last_log_id: applied.log_id,
        last_membership: applied.membership.as_ref().clone(),
        snapshot_id: format!("{}-{}", at.leader_id.term, at.index),
    }
}

fn failed(error: &storage::Error) -> StorageError {
    StorageIOError::read_snapshot(None, AnyError::new(error)).into()
}

fn damaged(path: &Path, reason: impl ToString) -> storage::Error {
    storage::Error::Damaged { path: path.to_owned(), reason: reason.to_string() }
}

fn io_error(path: &Path, error: &io::Error) -> storage::Error {
    if error.kind() == io::ErrorKind::StorageFull {
        return storage::Error::DiskFull { path: path.to_owned() };
    }
    storage::Error::Io { path: path.to_owned(), reason: error.to_string() }
}

/// Reads the whole snapshot file that the replica in `dir` would be rebuilt from: how many pairs it has, and up to which
/// entry; `None` if there is no such file.
pub(crate) fn check_own(dir: &Path) -> Result<Option<(u64, Option<LogId>)>, storage::Error> {
    let own = dir.join(OWN);
    if !own.exists() {
        return Ok(None);
    }
    let upto = read_header(&own)?.meta.last_log_id;
    let pairs = read_pairs(&own)?.try_fold(0, |pairs, pair| pair.map(|_| pairs + 1))?;
    Ok(Some((pairs, upto.as_ref().map(wal_id))))
}

/// The pieces of a snapshot file, checked as they are read.
struct Pieces {
    path: PathBuf,
    file: File,
    reader: Reader,
    buffer: Vec<u8>,
}

impl Pieces {
    fn open(path: &Path) -> Result<Self, storage::Error> {
        let file = File::open(path).map_err(|error| io_error(path, &error))?;
        Ok(Self { path: path.to_owned(), file, reader: Reader::default(), buffer: vec![0; READ_BYTES] })
    }

    fn next(&mut self) -> Result<Option<Piece>, storage::Error> {
        loop {
            if let Some(piece) = self.reader.next().map_err(|error| damaged(&self.path, error))? {
                return Ok(Some(piece));
            }
            let read = self.file.read(&mut self.buffer).map_err(|error| io_error(&self.path, &error))?;
            if read == 0 {
                self.reader.finish().map_err(|error| damaged(&self.path, error))?;
                return Ok(None);
            }
            self.reader.push(&self.buffer[..read]);
        }
    }
}

fn read_header(path: &Path) -> Result<Header, storage::Error> {
    match Pieces::open(path)?.next()? {
        Some(Piece::Header(header)) => Ok(header),
        _ => Err(damaged(path, "no header")),
    }
}

fn read_pairs(path: &Path) -> Result<impl Iterator<Item = Result<Pair, storage::Error>> + use<>, storage::Error> {
    let mut pieces = Pieces::open(path)?;
    let mut waiting = Vec::new().into_iter();
    let mut ended = false;
    Ok(std::iter::from_fn(move || {
        loop {
            if let Some(pair) = waiting.next() {
                return Some(Ok(pair));
            }
            if ended {
                return None;
            }
            match pieces.next() {
                Ok(Some(Piece::Pairs(pairs))) => waiting = pairs.into_iter(),
                Ok(Some(Piece::Header(_) | Piece::End)) => {}
                Ok(None) => ended = true,
                Err(error) => {
                    ended = true;
                    return Some(Err(error));
                }
            }
        }
    }))
}
