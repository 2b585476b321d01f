//! Openraft's log on our WAL.
//!
//! Every promise openraft asks for is the WAL's: what `save_vote` answered is synced. Four rules are added here.
//! Commands are *appended ahead*: openraft goes on, and replicates them, while they are synced, and whoever promises
//! something because of them waits: a replica before it answers the primary (`inbound`), the state machine before it
//! folds them in, the primary before it tells anybody that they are committed (`network`). Entries that change the
//! members or begin a term are synced first, since openraft itself acts on them. The log is purged only behind what the engine has made durable, although openraft asks earlier while a
//! snapshot is being installed. A replica that led before it was restarted does not lead on. And a full disk is waited out, not an error: the core stands still until there is
//! room, the others take over, and nothing is lost; every other error of the WAL ends the core and with it the process.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{AnyError, EntryPayload, OptionalSend, RaftLogReader, StorageIOError};
use tokio::sync::oneshot;

use crate::raft::shared::{DISK_FULL_PAUSE, Shared};
use crate::raft::types::{Entry, LogId, StorageError, TypeConfig, Vote, log_id, payload_bytes, payload_of, wal_id};
use crate::wal::{self, Wal};

/// Bytes of log one replication message carries at most, its last entry excepted. Larger ones outlast the time-out
/// on a slow link; smaller ones cost round trips while a replica catches up.
const MESSAGE_BYTES_MAX: u64 = 2 << 20;

/// See the module. Clones are handles to one log.
#[derive(Clone)]
pub(crate) struct LogStore {
    wal: Wal,
    shared: Arc<Shared>,
    /// Whose log this is.
    replica: u64,
}

impl LogStore {
    pub(crate) fn new(wal: Wal, shared: Arc<Shared>, replica: u64) -> Self {
        shared.set_synced(wal.last().map(log_id));
        Self { wal, shared, replica }
    }

    fn read(&self, from: u64, to: u64, bytes_max: u64) -> Result<Vec<Entry>, StorageError> {
        let entries = self.wal.read(from..to, bytes_max).map_err(|error| self.failed(&error, "read the log"))?;
        let convert = |entry: wal::Entry| {
            let payload = payload_of(entry.payload).map_err(|error| read_error(entry.id.index, &error))?;
            Ok(Entry { log_id: log_id(entry.id), payload })
        };
        entries.into_iter().map(convert).collect()
    }

    /// Runs one writing call of the WAL to its end, again and again while the disk is full.
    async fn write<F>(&self, what: &'static str, call: F) -> Result<(), StorageError>
    where
        F: Fn(oneshot::Sender<Result<(), wal::Error>>),
    {
        loop {
            let (done, outcome) = oneshot::channel();
            call(done);
            match outcome.await.unwrap_or(Err(wal::Error::Closed)) {
                Ok(()) => {
                    self.shared.set_disk_full(false);
                    return Ok(());
                }
                Err(error @ wal::Error::DiskFull { .. }) => {
                    self.shared.set_disk_full(true);
                    tokio::select! {
                        () = tokio::time::sleep(DISK_FULL_PAUSE) => {}
                        () = self.shared.stopping.cancelled() => return Err(write_error(&error, what)),
                    }
                }
                Err(error) => return Err(self.failed(&error, what)),
            }
        }
    }

    /// Appends without waiting for the sync. `taken` is told at once; what becomes of the sync is told to `shared`.
    fn append_ahead(&self, entries: Vec<wal::Entry>, last: LogId, taken: oneshot::Sender<Result<(), wal::Error>>) {
        let pending = Pending(Some(self.shared.clone()));
        let (refuse, mut refused) = oneshot::channel();
        self.wal.append(entries, move |outcome| match (outcome, pending.told()) {
            (Ok(()), shared) => shared.set_synced(Some(last)),
            // The log refuses at once or never: later on this is a failed write or sync, and nobody is waiting here.
            (Err(error), shared) => {
                if let Err(error) = refuse.send(error) {
                    shared.set_unsynced(error);
                }
            }
        });
        refused.close();
        let outcome = refused.try_recv().map_or(Ok(()), Err);
        // The caller is on this stack.
        let _ = taken.send(outcome);
    }

    /// Notes damage, so that the replica is rebuilt when the process comes back.
    fn failed(&self, error: &wal::Error, what: &'static str) -> StorageError {
        if matches!(error, wal::Error::Damaged { .. }) {
            self.shared.set_damage(error.to_string());
        }
        write_error(error, what)
    }
}

/// An append whose outcome is to be told. Dropped untold, because the log's writer panicked or ended, it counts as failed:
/// nothing of this replica may go on as if it could still come.
struct Pending(Option<Arc<Shared>>);

impl Pending {
    fn told(mut self) -> Arc<Shared> {
        self.0.take().expect("told once")
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.set_unsynced(wal::Error::Closed);
        }
    }
}

fn write_error(error: &wal::Error, what: &'static str) -> StorageError {
    StorageIOError::write_logs(AnyError::new(error).add_context(|| what)).into()
}

fn read_error(index: u64, error: &(impl std::error::Error + 'static)) -> StorageError {
    StorageIOError::read_log_at_index(index, AnyError::new(error)).into()
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        // Entries that are not there (any more) are left out.
        let from = from.max(self.wal.first_index().unwrap_or(0));
        let to = to.min(self.wal.last().map_or(0, |last| last.index + 1));
        if from >= to { Ok(Vec::new()) } else { self.read(from, to, u64::MAX) }
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.read(start, end, MESSAGE_BYTES_MAX)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let last_purged_log_id = self.wal.purged().map(log_id);
        Ok(LogState { last_purged_log_id, last_log_id: self.wal.last().map(log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        // Before the disk: from here on this replica may not confirm an older primary any more.
        self.shared.counts.voted(self.replica, self.shared.vote(), *vote);
        self.shared.set_vote(*vote);
        let bytes = postcard::to_stdvec(vote).expect("a vote always serialises into memory");
        let bytes = bytes::Bytes::from(bytes);
        self.write("save the vote", |done| self.wal.save_vote(bytes.clone(), told(done))).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let Some(bytes) = self.wal.vote() else { return Ok(None) };
        let mut vote: Vote = postcard::from_bytes(&bytes)
            .map_err(|error| StorageError::from(StorageIOError::read_vote(AnyError::new(&error))))?;
        if vote.leader_id.node_id == self.replica {
            // Openraft would lead on at once, in its old term. But the engine may have lost the last batches of entries
            // that were acknowledged, and until they are applied again nothing says how many: a read confirmed now
            // would be stale. Elected anew, a primary first commits an entry of its new term, behind all of them.
            vote.committed = false;
        }
        self.shared.set_vote(vote);
        Ok(Some(vote))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let convert = |entry: Entry| wal::Entry { id: wal_id(&entry.log_id), payload: payload_bytes(&entry.payload) };
        // What is purged is folded in and durable; openraft's suite sends some of it again, its core never does.
        let purged = self.wal.purged().map(|id| id.index);
        let new: Vec<Entry> = entries.into_iter().filter(|entry| Some(entry.log_id.index) > purged).collect();
        // An entry may be of an earlier term than one that was synced here and truncated since (the entries of a primary
        // that was deposed and came back); waiting for it would tell nothing.
        let behind = new.first().is_some_and(|entry| Some(entry.log_id) > self.shared.synced());
        let plain = behind && new.iter().all(|entry| matches!(entry.payload, EntryPayload::Normal(_)));
        let entries: Vec<wal::Entry> = new.into_iter().map(convert).collect();
        if !plain {
            self.write("append to the log", |done| self.wal.append(entries.clone(), told(done))).await?;
            self.shared.set_synced(self.wal.last().map(log_id));
        } else if let Some(last) = entries.last().map(|entry| log_id(entry.id)) {
            self.write("append to the log", |done| self.append_ahead(entries.clone(), last, done)).await?;
        }
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        self.write("truncate the log", |done| self.wal.truncate(from.index, told(done))).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        let mut durable = self.shared.watch_durable();
        tokio::select! {
            // While a snapshot is installed, openraft purges at once: wait until the engine has it. A crash in
            // between would leave a log that begins behind what the engine knows.
            waited = durable.wait_for(|durable| durable.as_ref() >= Some(&upto)) => {
                waited.map_err(|error| StorageError::from(StorageIOError::write_logs(AnyError::new(&error))))?;
            }
            () = self.shared.stopping.cancelled() => {
                return Err(StorageIOError::write_logs(AnyError::error("stopped before the purge")).into());
            }
        }
        self.write("purge the log", |done| self.wal.purge(wal_id(&upto), told(done))).await?;
        // It may lie behind the last entry, when a snapshot was installed.
        self.shared.set_synced(Some(upto));
        Ok(())
    }
}

/// The WAL's callback that tells the waiter; a waiter that is gone does not care.
fn told(done: oneshot::Sender<Result<(), wal::Error>>) -> impl FnOnce(Result<(), wal::Error>) + Send + 'static {
    move |outcome| {
        let _ = done.send(outcome);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn an_append_that_nobody_reports_on_counts_as_failed() {
        let shared = Shared::new();
        drop(Pending(Some(shared.clone())).told());
        assert!(shared.log_failed().now_or_never().is_none(), "it was told");
        drop(Pending(Some(shared.clone())));
        assert!(matches!(shared.log_failed().now_or_never(), Some(wal::Error::Closed)));
    }
}
