//! The write-ahead log of one replica: entries, the vote, truncations and the purge point, durable and in order.
//!
//! Promises: what `done` was told `Ok` survives any crash of process or host; what is read is what was written, or an
//! error; damage is told from a write that was cut short. Leaves to others: what votes and payloads mean, when to
//! purge, and what to do about damage (rebuild the replica).
//! Blocks on the disk: opening, reading what is not cached, and a writing call when the queue is full or a new segment
//! is not ready. Writing calls return as soon as the write is queued.
//!
//! Files: `record` in `group` in `segment`, read back by `scan`, taken by `replay` into `index`; `recover` acts on what
//! that finds. `plan` gives each write its place, `writer` carries it out, `disk` owns the folder.

mod direct;
mod disk;
mod dump;
mod error;
mod group;
mod index;
mod inspect;
mod plan;
mod record;
mod recover;
mod replay;
mod scan;
mod segment;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;

use bytes::Bytes;
use common::ids::{ClusterId, NodeId, RaftId, ShardId};
use common::metrics::Histogram;
use serde::{Deserialize, Serialize};

pub use dump::{Dumped, scan};
pub use error::Error;
pub use inspect::{Inspection, Summary};
pub use record::Record;

use disk::Disk;
use group::{Draft, Spot};
use index::Log;
use plan::{Plan, Room};
use state::{Located, State};
use writer::{Done, Job, Queue, Writer};

/// Most payload bytes in one append. A group lies in one segment, whose offsets are 32 bits wide.
const APPEND_BYTES_MAX: u64 = 1 << 30;
/// More than what a record adds to its payload: frame, three varints, length.
const RECORD_OVERHEAD: u64 = 64;

/// Whose log it is. Written into every segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// The shard.
    pub shard: ShardId,
    /// The incarnation of the replica.
    pub replica: RaftId,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, node, shard, replica } = self;
        write!(f, "cluster {cluster} node {node} shard {shard} replica {replica}")
    }
}

/// Sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Size of a segment, in bytes; raised to 4 KiB and to whole sectors, lowered to 1 GiB. Smaller ones are freed
    /// sooner, larger ones cost fewer syncs.
    pub segment_bytes: u64,
    /// Payloads of the newest entries kept in memory, in bytes. Followers that keep up are served from here.
    pub cache_bytes: u64,
}

/// What Raft calls a log id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// The term.
    pub term: u64,
    /// Who led in that term.
    pub leader: u64,
    /// The position.
    pub index: u64,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: LogId,
    /// Raft's bytes, opaque here.
    pub payload: Bytes,
}

/// Counters since the log was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Syncs of files and of the folder.
    pub fsyncs: u64,
    /// Bytes written to segments, without the zeros they are made of.
    pub bytes_written: u64,
    /// Segments there are.
    pub segments: u64,
    /// Bytes of all segments, the zeros they are made of included.
    pub segment_bytes_total: u64,
}

/// An open log. Clones are handles of the same log; the last one to go closes it.
///
/// Every `done` is called exactly once: on the writer's thread, or at once by the call itself when it is refused. It
/// must be quick and must not call the log's writing methods.
#[derive(Clone)]
pub struct Wal(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    plan: Mutex<Plan>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer's thread shares with the handles.
struct Shared {
    disk: Arc<Disk>,
    state: RwLock<State>,
    queue: Queue,
}

impl Wal {
    /// Opens the log in `dir`, or makes it. Everything it says it has is durable when this returns.
    ///
    /// Errors: [`Error::Foreign`], [`Error::Locked`], [`Error::Damaged`], [`Error::Format`], [`Error::DiskFull`] (only
    /// when there is no segment yet), [`Error::Io`].
    pub fn open(dir: &Path, identity: &Identity, options: Options) -> Result<Self, Error> {
        let disk = Arc::new(Disk::open(dir, identity)?);
        let segment_bytes = Plan::segment_bytes(options.segment_bytes);
        let recovered = recover::recover(&disk, segment_bytes, options.cache_bytes)?;
        let (end, chain) = (recovered.end, recovered.chain);
        let plan = Plan::new(&disk, recovered.segment, end.offset, chain, segment_bytes)?;
        let shared = Arc::new(Shared { disk, state: RwLock::new(recovered.state), queue: Queue::default() });
        let writer = Writer::new(Arc::clone(&shared), end);
        let thread = std::thread::Builder::new().name("wal-writer".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(|error| Error::io(dir, &error))?;
        Ok(Self(Arc::new(Handle { shared, plan: Mutex::new(plan), writer: Mutex::new(Some(thread)) })))
    }

    /// Appends entries; the first one must follow the last one of the log ([`Error::Order`]). They can be read when
    /// this returns, and are durable when `done` is told `Ok`.
    ///
    /// On [`Error::DiskFull`] nothing happened and the log is as before. After [`Error::Io`] the log refuses
    /// everything: end the process.
    pub fn append(&self, entries: Vec<Entry>, done: impl FnOnce(Result<(), Error>) + Send + 'static) {
        let bytes = entries.iter().map(|entry| entry.payload.len() as u64 + RECORD_OVERHEAD).sum();
        if bytes > APPEND_BYTES_MAX {
            return done(Err(Error::TooLarge { bytes }));
        }
        let mut draft = Draft::with_capacity(bytes as usize);
        for Entry { id, payload } in &entries {
            draft.push(&Record::Entry { id: *id, payload });
        }
        let check = |log: &Log| log.check_append(&entries);
        let change = |log: &mut Log, segment: u64, spots: &[Spot]| {
            for (entry, spot) in entries.iter().zip(spots) {
                log.append(entry.id, segment, *spot, Some(entry.payload.clone()));
            }
        };
        self.submit(Room::Entries, draft, check, change, Box::new(done));
    }

    /// Replaces the vote.
    pub fn save_vote(&self, vote: Bytes, done: impl FnOnce(Result<(), Error>) + Send + 'static) {
        if vote.len() as u64 > APPEND_BYTES_MAX {
            return done(Err(Error::TooLarge { bytes: vote.len() as u64 }));
        }
        let draft = Draft::of(&Record::Vote(&vote));
        let change = |log: &mut Log, _: u64, _: &[Spot]| log.set_vote(vote.clone());
        self.submit(Room::Control, draft, |_| Ok(()), change, Box::new(done));
    }

    /// Voids the entries from `from` on, it included. [`Error::Order`] when it was purged already.
    pub fn truncate(&self, from: u64, done: impl FnOnce(Result<(), Error>) + Send + 'static) {
        let draft = Draft::of(&Record::Truncate { from });
        let change = |log: &mut Log, _: u64, _: &[Spot]| log.truncate(from);
        self.submit(Room::Control, draft, |log| log.check_truncate(from), change, Box::new(done));
    }

    /// Forgets the entries up to `upto`, it included, and frees segments. `upto` may lie behind the last entry, as
    /// after a snapshot was installed: the log is then empty and goes on behind it. Never goes back.
    pub fn purge(&self, upto: LogId, done: impl FnOnce(Result<(), Error>) + Send + 'static) {
        let draft = Draft::of(&Record::Purge { upto });
        let change = |log: &mut Log, _: u64, _: &[Spot]| log.purge(upto);
        self.submit(Room::Control, draft, |log| log.check_purge(upto.index), change, Box::new(done));
    }

    /// The vote saved last.
    pub fn vote(&self) -> Option<Bytes> {
        self.0.shared.state().log.vote().cloned()
    }

    /// The last entry, or the purge point when there is none behind it.
    pub fn last(&self) -> Option<LogId> {
        self.0.shared.state().log.last()
    }

    /// The purge point.
    pub fn purged(&self) -> Option<LogId> {
        self.0.shared.state().log.purged()
    }

    /// The index of the first entry that is there, or will be: behind the purge point. `None` when nothing ever was.
    pub fn first_index(&self) -> Option<u64> {
        self.0.shared.state().log.first()
    }

    /// The entries of `range` that are there, in order: as many as have about `bytes_max` bytes, but at least one.
    /// Entries before [`Wal::first_index`] are left out without an error.
    ///
    /// Errors: [`Error::Damaged`] when an entry on disk is not what was written, [`Error::Io`].
    pub fn read(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<Entry>, Error> {
        let state = self.0.shared.state();
        let picks: Vec<_> = state.log.pick(range, bytes_max).into_iter().map(|pick| state.locate(pick)).collect();
        // Segments stay readable while we hold them, even when a purge deletes them meanwhile.
        drop(state);
        picks.into_iter().map(Located::read).collect()
    }

    /// Bytes of log behind `index`: what a purge up to it would leave.
    pub fn tail_bytes_since(&self, index: u64) -> u64 {
        self.0.shared.state().log.bytes_since(index)
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        let Shared { disk, .. } = &*self.0.shared;
        let state = self.0.shared.state();
        Stats {
            fsyncs: disk.fsyncs.load(Ordering::Relaxed),
            bytes_written: disk.bytes_written.load(Ordering::Relaxed),
            segments: state.segments.len() as u64,
            segment_bytes_total: state.segments.values().map(|segment| u64::from(segment.bytes)).sum(),
        }
    }

    /// How long its syncs took.
    pub fn sync_times(&self) -> &Histogram {
        &self.0.shared.disk.sync_times
    }

    /// Writes what is queued, ends the threads, and lets others open the folder. Later writes get [`Error::Closed`];
    /// reading goes on. The error is why the log had failed, if it had. Does nothing the second time.
    pub fn close(&self) -> Result<(), Error> {
        self.0.close()
    }

    fn submit(
        &self,
        room: Room,
        draft: Draft,
        check: impl FnOnce(&Log) -> Result<(), Error>,
        change: impl FnOnce(&mut Log, u64, &[Spot]),
        done: Done,
    ) {
        let shared = &self.0.shared;
        // Held until the job is queued: the order of places is the order of writing.
        let mut plan = self.0.plan();
        match shared.plan_job(&mut plan, room, draft, check, change) {
            Ok((groups, remove)) => {
                if let Err((error, job)) = shared.queue.push(Job { groups, remove, done }) {
                    drop(plan);
                    (job.done)(Err(error));
                }
            }
            Err(error) => {
                if matches!(error, Error::Io { .. }) {
                    shared.queue.fail(error.clone());
                }
                drop(plan);
                done(Err(error));
            }
        }
    }
}

type Planned = (Vec<plan::Placed>, Vec<PathBuf>);

impl Shared {
    /// Finds room for `draft`, then lets readers see the `change`. After an error nothing has changed.
    fn plan_job(
        &self,
        plan: &mut Plan,
        room: Room,
        draft: Draft,
        check: impl FnOnce(&Log) -> Result<(), Error>,
        change: impl FnOnce(&mut Log, u64, &[Spot]),
    ) -> Result<Planned, Error> {
        self.queue.check()?;
        check(&self.state().log)?;
        if draft.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let groups = plan.place(&self.disk, draft, room, || Draft::of(&self.state().log.head()))?;
        let placed = groups.last().expect("a draft always gets a place");
        let number = placed.segment.number;
        let mut state = self.state_mut();
        state.segments.entry(number).or_insert_with(|| Arc::clone(&placed.segment));
        change(&mut state.log, number, &placed.group.spots);
        Ok((groups, state.release(number)))
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) -> Result<(), Error> {
        let outcome = self.shared.queue.close();
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last handle may die in a `done`, on the writer's own thread, which then ends by itself.
        let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) else {
            return outcome;
        };
        if thread.join().is_err() {
            tracing::error!("the log's writer panicked");
        }
        self.plan().close();
        self.shared.disk.unlock()?;
        // The writer may have failed while it wrote what was left.
        outcome.and_then(|()| self.shared.queue.close())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "the log was closed after it had failed");
        }
    }
}
