//! Openraft's state machine on the store: folds committed entries into the engine.
//!
//! Each batch goes in with the record of what was applied last and the membership at that point, in one step; so an
//! engine that comes back says itself where the log has to go on. An error of the fold would come on every replica
//! alike or means that our own files are damaged; either way this replica stops.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use common::command::{Op, Outcome};
use common::ids::{DbUid, Index};
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, StorageIOError};
use serde::{Deserialize, Serialize};

use crate::raft::shared::{Applied, DISK_FULL_PAUSE, Shared};
use crate::raft::snapshot::{Builder, SnapshotData};
use crate::raft::types::{Entry, LogId, SnapshotMeta, StorageError, StoredMembership, TypeConfig};
use crate::storage::{self, Engine};
use crate::store::{self, Known};

/// Bytes of commands folded into one batch at most, its last entry excepted: bounds the memory of a replay.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Bytes of changes in one batch at most, those of its last entry excepted. A step of making indexes is a few bytes in
/// the log and thousands of entries here; replayed by the thousand they would not fit into memory.
const FOLDED_BYTES_MAX: usize = 4 * BATCH_BYTES_MAX;
/// Bytes of commands folded on the spot: some milliseconds of work. Waking another thread and being woken by it takes as
/// long as folding a few documents; more would delay the other replicas of this node.
const QUICK_BYTES_MAX: usize = 256 << 10;

/// Called after each batch with the databases whose streams grew or ended; with `None` if any may have.
pub(crate) type Wake = Arc<dyn Fn(Option<&[DbUid]>) + Send + Sync>;

/// See the module.
pub(crate) struct StateMachine {
    engine: Arc<dyn Engine>,
    shared: Arc<Shared>,
    wake: Wake,
    builder: Builder,
    /// From the batch before. Nobody else writes to the engine but sweeps, which delete what nobody looks at, and
    /// snapshots, which are installed here.
    known: Known,
}

/// What goes into the engine with each batch.
#[derive(Serialize, Deserialize)]
struct Record {
    log_id: Option<LogId>,
    membership: StoredMembership,
}

/// Encodes what was applied last, for the engine.
pub(crate) fn encode_applied(applied: &Applied) -> Bytes {
    let record = Record { log_id: applied.log_id, membership: applied.membership.as_ref().clone() };
    postcard::to_stdvec(&record).expect("log ids and memberships always serialise into memory").into()
}

/// Reads what was applied last, from an engine or a view of one.
pub(crate) fn read_applied(reader: &dyn storage::Read) -> Result<Applied, storage::Error> {
    let Some(bytes) = store::applied(reader)? else { return Ok(Applied::default()) };
    let record: Record = postcard::from_bytes(&bytes).map_err(|error| storage::Error::Damaged {
        path: "this replica".into(),
        reason: format!("the record of what was applied cannot be read: {error}"),
    })?;
    Ok(Applied { log_id: record.log_id, membership: Arc::new(record.membership) })
}

impl StateMachine {
    /// On `engine`, which must say what it has applied.
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        shared: Arc<Shared>,
        builder: Builder,
        wake: Wake,
    ) -> Result<Self, storage::Error> {
        shared.set_applied(read_applied(engine.as_ref())?);
        Ok(Self { engine, shared, wake, builder, known: Known::default() })
    }

    /// Folds `entries` with `bytes` of commands into the engine, in one batch unless they write much more than they say;
    /// waits while the disk is full.
    async fn fold(&mut self, entries: Vec<Entry>, bytes: usize) -> Result<Vec<Vec<Outcome>>, StorageError> {
        let Some(last) = entries.last().map(|entry| entry.log_id) else { return Ok(Vec::new()) };
        let entries = Arc::new(entries);
        let mut outcomes = Vec::with_capacity(entries.len());
        let mut quick = bytes <= QUICK_BYTES_MAX;
        let mut full = false;
        while outcomes.len() < entries.len() {
            let (engine, entries, before) = (self.engine.clone(), entries.clone(), self.shared.applied());
            let (from, on_the_spot) = (outcomes.len(), quick && self.engine.is_quick());
            // Lost if it fails: then the next batch looks again.
            let known = std::mem::take(&mut self.known);
            let shared = self.shared.clone();
            let work = move || fold(engine.as_ref(), &shared, &entries[from..], before, known, on_the_spot);
            match if on_the_spot { work() } else { run(self.engine.as_ref(), work).await } {
                Ok(folded) => {
                    self.known = folded.known;
                    self.shared.set_applied(folded.after);
                    (self.wake)(Some(&folded.changed));
                    // Nothing is written while the disk counts as full, so no write to the log would find out.
                    if std::mem::take(&mut full) {
                        self.shared.set_disk_full(false);
                    }
                    outcomes.extend(folded.outcomes);
                }
                Err(Stop::Long) => quick = false,
                Err(stop @ Stop::Storage(storage::Error::DiskFull { .. })) => {
                    self.shared.set_disk_full(true);
                    full = true;
                    tokio::select! {
                        () = tokio::time::sleep(DISK_FULL_PAUSE) => {}
                        () = self.shared.stopping.cancelled() => return Err(self.stopped(&stop, last)),
                    }
                }
                Err(stop) => return Err(self.stopped(&stop, last)),
            }
        }
        Ok(outcomes)
    }

    fn stopped(&self, stop: &Stop, at: LogId) -> StorageError {
        if let Stop::Storage(storage::Error::Damaged { .. }) = stop {
            self.shared.set_damage(stop.to_string());
        }
        StorageIOError::apply(at, AnyError::new(stop)).into()
    }
}

/// Why the fold cannot go on.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error("the commands of entry {index} cannot be read: {error}")]
    Commands { index: u64, error: postcard::Error },
    #[error("more work than is done on the spot")]
    Long,
}

/// What folding entries into the engine gave.
struct Folded {
    /// For each entry, an outcome for each of its commands.
    outcomes: Vec<Vec<Outcome>>,
    changed: Vec<DbUid>,
    after: Applied,
    known: Known,
}

/// Folds as many of `entries` as one batch may hold, one at least. They go in together, or nothing does. With `quick`
/// nothing is done if there is work of any length among them.
fn fold(
    engine: &dyn Engine,
    shared: &Shared,
    entries: &[Entry],
    before: Applied,
    known: Known,
    quick: bool,
) -> Result<Folded, Stop> {
    let mut beside = None;
    let mut apply = store::Apply::knowing(engine, known);
    let mut after = before;
    let mut outcomes = Vec::with_capacity(entries.len());
    for entry in entries {
        if apply.bytes() >= FOLDED_BYTES_MAX {
            break;
        }
        let index = entry.log_id.index;
        let mut of_entry = Vec::new();
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                after.membership = Arc::new(StoredMembership::new(Some(entry.log_id), membership.clone()));
            }
            EntryPayload::Normal(packed) => {
                for command in packed.unpack().map_err(|error| Stop::Commands { index, error })? {
                    if quick && matches!(command.op, Op::BuildIndexes { .. } | Op::KeepViews { .. }) {
                        return Err(Stop::Long);
                    }
                    if matches!(command.op, Op::KeepViews { .. }) && beside.is_none() {
                        // An index that is being brought up to date would come back whole.
                        beside = Some(shared.beside.write().unwrap_or_else(PoisonError::into_inner));
                    }
                    of_entry.push(apply.command(Index(index), &command)?);
                }
            }
        }
        outcomes.push(of_entry);
        after.log_id = Some(entry.log_id);
    }
    let (folded, known) = apply.finish_knowing(encode_applied(&after));
    engine.apply(folded.batch)?;
    if beside.is_some() {
        shared.views_left.store(true, Ordering::Relaxed);
    }
    Ok(Folded { outcomes, changed: folded.changed, after, known })
}

/// Runs work on an engine: on a thread that may block for engines on disk, in place for the one in memory, whose
/// simulation must stay on one thread.
pub(crate) async fn run<T: Send + 'static>(engine: &dyn Engine, work: impl FnOnce() -> T + Send + 'static) -> T {
    if engine.name() == "memory" {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Only a runtime that shuts down cancels blocking work; nobody waits for this any more.
        Err(_) => futures::future::pending().await,
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let applied = self.shared.applied();
        Ok((applied.log_id, applied.membership.as_ref().clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<Outcome>>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut outcomes = Vec::new();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let entries: Vec<Entry> = entries.into_iter().collect();
        if let Some(last) = entries.last().map(|entry| entry.log_id) {
            // What is in the engine must be in the log after a crash.
            let synced = self.shared.wait_synced(last).await;
            synced.map_err(|error| StorageError::from(StorageIOError::write_logs(AnyError::new(&error))))?;
        }
        for entry in entries {
            if let EntryPayload::Normal(packed) = &entry.payload {
                bytes += packed.len();
            }
            batch.push(entry);
            if bytes >= BATCH_BYTES_MAX {
                outcomes.extend(self.fold(std::mem::take(&mut batch), bytes).await?);
                bytes = 0;
            }
        }
        outcomes.extend(self.fold(batch, bytes).await?);
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.builder.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotData>, StorageError> {
        // Only openraft's own chunked transport asks for this; ours spools to a file of its own (`snapshot`).
        let view = self.engine.view().map_err(|error| StorageIOError::write_snapshot(None, AnyError::new(&error)))?;
        Ok(Box::new(SnapshotData::View(view)))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Box<SnapshotData>) -> Result<(), StorageError> {
        let applied = Applied { log_id: meta.last_log_id, membership: Arc::new(meta.last_membership.clone()) };
        let (engine, shared, record) = (self.engine.clone(), self.shared.clone(), applied.clone());
        let installed = run(self.engine.as_ref(), move || {
            let _alone = shared.gate.write().unwrap_or_else(PoisonError::into_inner);
            snapshot.install(engine.as_ref(), encode_applied(&record))
        });
        self.known = Known::default();
        installed.await.map_err(|error| {
            StorageError::from(StorageIOError::write_snapshot(Some(meta.signature()), AnyError::new(&error)))
        })?;
        self.shared.set_applied(applied);
        if self.engine.crash_safe() {
            self.shared.set_durable(meta.last_log_id);
        } else {
            // The log is about to be purged up to here, and a power cut may take the engine: keep what it is made of.
            self.builder.build_snapshot().await?;
        }
        (self.wake)(None);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        self.builder.current()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use common::command::{Address, Command, LocalEdit};
    use common::config::EngineKind;
    use common::ids::{DocId, RequestId, Slot};

    use super::*;
    use crate::raft::types::{Packed, encode_commands, log_id};
    use crate::wal;

    fn entry(index: u64, op: Op) -> Entry {
        let commands = [Command { request: RequestId(uuid::Uuid::from_u128(index.into())), retry: false, op }];
        let encoded = encode_commands(&commands);
        let payload = EntryPayload::Normal(Packed::join(1, std::iter::once(&encoded[..])));
        Entry { log_id: log_id(wal::LogId { term: 1, leader: 1, index }), payload }
    }

    #[test]
    fn a_batch_ends_where_it_has_become_large() {
        let engine = storage::open(EngineKind::Memory, Path::new("nowhere"), 0).expect("an engine");
        let doc = Address { db: DbUid::DBS, id: DocId::parse("_local/x").expect("valid"), slot: Slot(0) };
        let json = Bytes::from(vec![b'x'; FOLDED_BYTES_MAX / 4]);
        let write = |index| {
            let edit = LocalEdit { doc: doc.clone(), parent: None, json: Some(json.clone()) };
            entry(index, Op::Local(edit))
        };
        let entries: Vec<Entry> = (1..=6).map(write).collect();
        let shared = Shared::new();
        let first =
            fold(engine.as_ref(), &shared, &entries, Applied::default(), Known::default(), false).expect("folded");
        assert_eq!((first.outcomes.len(), first.after.log_id), (4, Some(entries[3].log_id)));
        let rest = fold(engine.as_ref(), &shared, &entries[4..], first.after, first.known, false).expect("folded");
        assert_eq!((rest.outcomes.len(), rest.after.log_id), (2, Some(entries[5].log_id)));
    }

    #[test]
    fn indexes_are_not_made_on_the_spot() {
        let engine = storage::open(EngineKind::Memory, Path::new("nowhere"), 0).expect("an engine");
        let shared = Shared::new();
        let keep = Op::KeepViews { db: DbUid::DBS, signatures: Vec::new() };
        for (op, outcome) in
            [(keep, Outcome::Done), (Op::BuildIndexes { db: DbUid::DBS }, Outcome::Indexed { more: false })]
        {
            let entries = [entry(1, op)];
            let fold = |quick| fold(engine.as_ref(), &shared, &entries, Applied::default(), Known::default(), quick);
            let before = read_applied(engine.as_ref()).expect("readable");
            assert!(matches!(fold(true), Err(Stop::Long)));
            assert_eq!(read_applied(engine.as_ref()).expect("readable"), before);
            assert_eq!(fold(false).expect("folded").outcomes, [[outcome]]);
        }
    }
}
