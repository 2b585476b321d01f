//! Seals memtables once they are full, on a thread of its own. fjall leaves that to its worker, and lets them grow without
//! bound as long as the worker merges tables.
//!
//! One after the other: all replicas of a process take turns, and the next one is sealed when the one before has been
//! written. Each writes megabytes and syncs half a dozen times, some of it while nobody can read its engine; all at once
//! they hold each other up, and the log with them.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::fjall::Keyspace;

use super::Error;
use super::room::InMemory;

/// A memtable's size before it becomes a table, in bytes. A replica holds one that fills and as many as `apply` lets wait, so
/// a node with three replicas holds 144 MiB, more if they wait for their turn: larger costs memory, smaller costs more
/// compaction.
const MEMTABLE_BYTES: u64 = 12 << 20;
/// A memtable's size at which more should wait for it to be sealed, which takes its turn.
const MEMTABLE_BYTES_MAX: u64 = 2 * MEMTABLE_BYTES;
/// Longest wait for one's turn, and longest turn: some times what writing a memtable takes. It takes longer where tables
/// are being merged, and that must not hold up the other replicas of the process.
const TURN_MAX: Duration = Duration::from_millis(100);
/// How often it is looked whether a memtable has been written, which takes some tens of milliseconds.
const WRITTEN_CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// Whose turn it is, in this process.
static TURNS: Turns = Turns { taken: Mutex::new(false), free: Condvar::new() };

/// A handle to the thread, which ends with it.
pub(super) struct Sealer {
    path: PathBuf,
    memtable: Arc<Memtable>,
    ask: Option<SyncSender<()>>,
    failed: Arc<Mutex<Option<Error>>>,
    thread: Option<JoinHandle<()>>,
}

/// The memtable that fills, and those before it that are not written yet.
struct Memtable {
    keyspace: Keyspace,
    /// Its bytes, as far as this process wrote them.
    bytes: AtomicU64,
    /// As how much more the first one counts: [`head_start`].
    head_start: AtomicU64,
    /// The bytes of one that is being sealed.
    sealing: AtomicU64,
    /// The bytes of those that were, the oldest first.
    sealed: Mutex<VecDeque<u64>>,
    in_memory: InMemory,
}

impl Memtable {
    fn new(keyspace: Keyspace) -> Self {
        Self {
            keyspace,
            bytes: AtomicU64::new(0),
            head_start: AtomicU64::new(head_start()),
            sealing: AtomicU64::new(0),
            sealed: Mutex::default(),
            in_memory: InMemory::default(),
        }
    }

    fn is_full(&self) -> bool {
        self.counts_as() >= MEMTABLE_BYTES
    }

    fn counts_as(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed) + self.head_start.load(Ordering::Relaxed)
    }

    fn seal(&self) -> ::fjall::Result<()> {
        self.head_start.store(0, Ordering::Relaxed);
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        self.sealing.fetch_add(bytes, Ordering::Relaxed);
        // No lock is held meanwhile: it takes as long as freeing memtables that nobody reads any more.
        let sealed = self.keyspace.rotate_memtable().map(drop);
        self.sealed().push_back(bytes);
        self.sealing.fetch_sub(bytes, Ordering::Relaxed);
        self.count();
        sealed
    }

    fn fill(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // Without asking fjall which ones are written, as `count` does: it may hold its lock over some syncs.
        self.tell(&self.sealed());
    }

    /// Tells how much is in memory and not written yet.
    fn count(&self) {
        let mut sealed = self.sealed();
        let written = sealed.len().saturating_sub(self.keyspace.sealed_memtable_count());
        sealed.drain(..written);
        self.tell(&sealed);
    }

    fn tell(&self, sealed: &VecDeque<u64>) {
        let (filling, sealing) = (self.bytes.load(Ordering::Relaxed), self.sealing.load(Ordering::Relaxed));
        self.in_memory.set(filling + sealing + sealed.iter().sum::<u64>());
    }

    fn sealed(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How full the first memtable counts as being, by chance. All replicas of a shard write the same, and those of all shards
/// about as much, on other nodes as well; without a head start of its own each would write its memtables when all others
/// do.
fn head_start() -> u64 {
    RandomState::new().hash_one(()) % MEMTABLE_BYTES
}

impl Sealer {
    /// For `keyspace` of the engine in `path`. `sort` makes our error of fjall's.
    pub(super) fn start(
        path: &Path,
        keyspace: Keyspace,
        sort: impl Fn(::fjall::Error) -> Error + Send + 'static,
    ) -> std::io::Result<Self> {
        let (ask, asked) = sync_channel(1);
        let failed = Arc::new(Mutex::new(None));
        let memtable = Arc::new(Memtable::new(keyspace));
        let (report, filling) = (Arc::clone(&failed), Arc::clone(&memtable));
        let work = move || {
            if let Err(error) = run(&filling, &asked) {
                report.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(sort(error));
            }
        };
        let thread = std::thread::Builder::new().name("fjall-sealer".to_owned()).spawn(work)?;
        Ok(Self { path: path.to_owned(), memtable, ask: Some(ask), failed, thread: Some(thread) })
    }

    /// So many bytes were put into the memtable: has it sealed soon if it is full, and if that was not asked for already.
    pub(super) fn filled(&self, bytes: u64) {
        self.memtable.fill(bytes);
        if let Some(ask) = self.ask.as_ref().filter(|_| self.memtable.is_full()) {
            // Full: asked already. Closed: it has failed, and `check` says so.
            let _ = ask.try_send(());
        }
    }

    /// Whether the memtable should be sealed before more is put into it.
    pub(super) fn is_behind(&self) -> bool {
        self.memtable.counts_as() >= MEMTABLE_BYTES_MAX
    }

    /// Tells how much is in memory and not written yet, for those who ask whether the disk has room for it.
    pub(super) fn count(&self) {
        self.memtable.count();
    }

    /// Seals the memtable now, out of turn.
    pub(super) fn seal(&self) -> ::fjall::Result<()> {
        self.memtable.seal()
    }

    /// Why no memtable will be sealed any more, if so.
    pub(super) fn check(&self) -> Result<(), Error> {
        // Looked at first: it says why before it ends.
        let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match failed {
            Some(error) => Err(error),
            None if ended => {
                Err(Error::Io { path: self.path.clone(), reason: "nobody seals memtables any more".into() })
            }
            None => Ok(()),
        }
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that seals memtables panicked");
        }
    }
}

fn run(memtable: &Memtable, asked: &Receiver<()>) -> ::fjall::Result<()> {
    while let Ok(()) = asked.recv() {
        let _turn = TURNS.take(TURN_MAX);
        // Asked again before it was done, or flushed meanwhile.
        if !memtable.is_full() {
            continue;
        }
        memtable.seal()?;
        let until = Instant::now() + TURN_MAX;
        while memtable.keyspace.sealed_memtable_count() > 0 && Instant::now() < until {
            std::thread::park_timeout(WRITTEN_CHECK_INTERVAL);
        }
        memtable.count();
    }
    Ok(())
}

/// Turns that are taken one after the other.
struct Turns {
    taken: Mutex<bool>,
    free: Condvar,
}

/// A turn, until it is dropped.
struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for the turn; `None` after `patience`, to go on without.
    fn take(&self, patience: Duration) -> Option<Turn<'_>> {
        let waited = self.free.wait_timeout_while(self.lock(), patience, |taken| *taken);
        let (mut taken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        *taken = true;
        // Not made before it is known: one that is dropped here would wait for the lock that is held.
        (!waited.timed_out()).then(|| Turn(self))
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.lock() = false;
        self.0.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_one_after_the_other_and_nobody_waits_for_ever() {
        let turns = Turns { taken: Mutex::new(false), free: Condvar::new() };
        let short = Duration::from_millis(1);
        for _ in 0..3 {
            let turn = turns.take(short);
            assert!(turn.is_some());
            assert!(turns.take(short).is_none(), "it is taken");
            assert!(turns.take(short).is_none(), "who went on without has given back nothing");
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| turns.take(Duration::from_secs(60)).is_some());
                drop(turn);
                assert!(waiting.join().expect("no panic"));
            });
        }
    }
}
