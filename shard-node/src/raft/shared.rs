//! What the parts of one replica know of each other outside openraft's core: its vote, what is applied, what is durable.
//!
//! The vote is set here before it is on disk and before any answer that depends on it leaves, so a reader of it never
//! sees an older promise than the one already made to somebody else. What is applied is set after the engine has it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::raft::counts::Counts;
use crate::raft::types::{LogId, StoredMembership, Vote};
use crate::wal;

/// Between two attempts to write to a full disk.
pub(crate) const DISK_FULL_PAUSE: Duration = Duration::from_millis(250);

/// How far the engine is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The last entry that was folded in.
    pub(crate) log_id: Option<LogId>,
    /// The last membership among the entries folded in.
    pub(crate) membership: Arc<StoredMembership>,
}

/// How far the log is on disk.
#[derive(Debug, Clone, Default)]
struct Synced {
    last: Option<LogId>,
    /// Why it will never be further.
    failed: Option<wal::Error>,
}

/// See the module.
pub(crate) struct Shared {
    vote: Mutex<Option<Vote>>,
    applied: watch::Sender<Applied>,
    durable: watch::Sender<Option<LogId>>,
    synced: watch::Sender<Synced>,
    disk_full: AtomicBool,
    damage: Mutex<Option<String>>,
    pub(crate) counts: Counts,
    /// Held for reading while somebody reads the engine, for writing while its content is replaced by a snapshot.
    pub(crate) gate: RwLock<()>,
    /// Held for reading while somebody writes beside the log, for writing while an entry takes away what was written so.
    pub(crate) beside: RwLock<()>,
    /// Whether indexes of views may have been left over; at the start nobody knows.
    pub(crate) views_left: AtomicBool,
    /// Cancelled when the replica stops; ends waits for room on the disk.
    pub(crate) stopping: CancellationToken,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            vote: Mutex::new(None),
            applied: watch::Sender::new(Applied::default()),
            durable: watch::Sender::new(None),
            synced: watch::Sender::default(),
            disk_full: AtomicBool::new(false),
            damage: Mutex::new(None),
            counts: Counts::default(),
            gate: RwLock::new(()),
            beside: RwLock::new(()),
            views_left: AtomicBool::new(true),
            stopping: CancellationToken::new(),
        })
    }

    /// The highest vote this replica has given, or is about to make durable.
    pub(crate) fn vote(&self) -> Option<Vote> {
        *self.vote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_vote(&self, vote: Vote) {
        *self.vote.lock().unwrap_or_else(PoisonError::into_inner) = Some(vote);
    }

    pub(crate) fn applied(&self) -> Applied {
        self.applied.borrow().clone()
    }

    pub(crate) fn watch_applied(&self) -> watch::Receiver<Applied> {
        self.applied.subscribe()
    }

    pub(crate) fn set_applied(&self, applied: Applied) {
        self.applied.send_replace(applied);
    }

    /// The entry up to which the engine would survive whatever the log may be purged for.
    pub(crate) fn watch_durable(&self) -> watch::Receiver<Option<LogId>> {
        self.durable.subscribe()
    }

    pub(crate) fn set_durable(&self, log_id: Option<LogId>) {
        self.durable.send_if_modified(|known| {
            let newer = log_id > *known;
            if newer {
                *known = log_id;
            }
            newer
        });
    }

    /// The last entry of the log known to be on disk.
    pub(crate) fn synced(&self) -> Option<LogId> {
        self.synced.borrow().last
    }

    /// The log is on disk up to `last`. Never goes back, although what takes the place of a truncated entry may be of an
    /// earlier term: a waiter for a truncated entry must not wait for ever. So only what lies behind may be waited for.
    pub(crate) fn set_synced(&self, last: Option<LogId>) {
        self.synced.send_if_modified(|known| {
            let newer = last > known.last;
            if newer {
                known.last = last;
            }
            newer
        });
    }

    /// The log failed after an entry was taken.
    pub(crate) fn set_unsynced(&self, error: wal::Error) {
        self.synced.send_modify(|known| _ = known.failed.get_or_insert(error));
    }

    /// Waits until `log_id`, which was appended, is on disk.
    pub(crate) async fn wait_synced(&self, log_id: LogId) -> Result<(), wal::Error> {
        let mut synced = self.synced.subscribe();
        let known = synced.wait_for(|known| known.last >= Some(log_id) || known.failed.is_some()).await;
        match known.map_err(|_| wal::Error::Closed)?.failed.clone() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Done when the log fails.
    pub(crate) async fn log_failed(&self) -> wal::Error {
        let mut synced = self.synced.subscribe();
        let failed = synced.wait_for(|known| known.failed.is_some()).await.ok().and_then(|known| known.failed.clone());
        failed.unwrap_or(wal::Error::Closed)
    }

    /// Whether the disk was full when something was last written.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
    }

    pub(crate) fn set_disk_full(&self, full: bool) {
        if self.disk_full.swap(full, Ordering::Relaxed) != full {
            match full {
                true => tracing::warn!("the disk is full; writes wait until there is room"),
                false => tracing::info!("there is room on the disk again"),
            }
        }
    }

    /// Why the files of this replica cannot be trusted any more, if so.
    pub(crate) fn damage(&self) -> Option<String> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_damage(&self, reason: String) {
        *self.damage.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}
