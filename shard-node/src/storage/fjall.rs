//! fjall: a log-structured merge tree. The default.
//!
//! Without its journal: the log is the truth, and everything in it behind what the engine has on disk is applied again
//! after a crash. So a batch goes straight into the memtable, and what counts is what has become tables, which fjall
//! syncs and switches to in one step; [`Engine::flush`] has the memtable written. No memtable ends within a batch, so
//! both a killed process and a power cut leave a prefix of the batches with everything flushed. (Measured in bulk writes:
//! the journal was a tenth of the processor time.) That takes parts of fjall which its documentation hides, hence one
//! exact version of it and of its tree.

use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::fjall::compaction::Leveled;
use ::fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Readable, Snapshot,
};
use bytes::Bytes;
use lsm_tree::{AbstractTree, InternalValue, ValueType};

use super::files;
use super::generation::{Generation, InUse};
use super::room;
use super::sealer::Sealer;
use super::{Batch, Engine, Error, KEY_BYTES_MAX, Pair, Pairs, Read, is_empty_range};

/// What a memtable needs beside each key and value, in bytes.
const MEMTABLE_ENTRY_BYTES: u64 = 128;
/// Memtables that may wait to be written before `apply` waits.
const SEALED_MEMTABLES_MAX: usize = 2;
/// Unmerged tables that are merged together. A merge rewrites the whole first sorted level, of keys and short values, and
/// takes the same time for four as for ten; with more, a document that is not there is looked for in more filters.
const L0_TABLES_MERGED: u8 = 10;
/// Unmerged tables at which `apply` waits: each of them is one more place to look.
const L0_TABLES_MAX: usize = 30;
/// For how long it does. fjall looks for something to merge after each memtable, and may find something else.
const MERGE_PATIENCE: Duration = Duration::from_secs(2);
/// Unmerged tables from which on writing is expected to wait.
const L0_TABLES_MANY: usize = 16;
/// How often a waiting `apply` looks again: short beside the time a memtable takes to write.
const ROOM_CHECK_INTERVAL: Duration = Duration::from_millis(1);
/// Size of one table, in bytes; the first sorted level holds [`L0_TABLES_MERGED`]. One merge into that level rewrites all of
/// it, and with one worker the memtables wait meanwhile: larger means longer waits, smaller means more files.
const TABLE_BYTES: u64 = 8 << 20;
/// Values of at least this many bytes are kept in files of their own, which merges of tables leave alone: measured with
/// documents of 1 KB, a third more bulk writes a second. Smaller values are cheaper to move than to look up.
const SEPARATED_BYTES_MIN: u32 = 512;
/// Size of one file of such values, in bytes. Smaller ones are cleared of old values sooner.
const BLOB_FILE_BYTES: u64 = 32 << 20;
/// Background threads. With two, fjall's first thread hands compactions to the second by putting them back into the
/// queue it reads from, which burns a core as long as the second is busy (measured: 45 % more processor time).
const WORKERS: usize = 1;
/// Open files kept. Three replicas a node must stay below the usual limit of 1,024 together.
const OPEN_FILES_MAX: usize = 128;

/// An engine on fjall.
pub(super) struct Fjall {
    path: PathBuf,
    cache_bytes: u64,
    instance: InUse<Instance>,
}

impl Fjall {
    pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, Error> {
        let generation = Generation::current(dir).map_err(|error| Error::io(dir, &error))?;
        let instance = Instance::open(dir, generation, cache_bytes)?;
        Ok(Self { path: dir.to_owned(), cache_bytes, instance: InUse::new(instance) })
    }
}

impl Read for Fjall {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        // Through a snapshot: without one, fjall shows keys of a batch that is still going in.
        View::of(self.instance.get()).get(key)
    }

    fn scan(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, reverse: bool) -> Pairs<'_> {
        View::of(self.instance.get()).pairs(low, high, reverse)
    }
}

impl Engine for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn apply(&self, batch: Batch) -> Result<(), Error> {
        batch.check(&self.path)?;
        let instance = self.instance.get();
        room::check(&self.path, &batch).or_else(|_| {
            // What was written meanwhile needs no room any more.
            instance.sealer.count();
            room::check(&self.path, &batch)
        })?;
        instance.apply(batch)
    }

    fn view(&self) -> Result<Box<dyn Read>, Error> {
        Ok(Box::new(View::of(self.instance.get())))
    }

    fn flush(&self) -> Result<(), Error> {
        // What is in memory is written now, into the room that no batch may take.
        room::check_bytes(&self.path, 0)?;
        self.instance.get().flush()
    }

    fn is_quick(&self) -> bool {
        !self.instance.get().is_busy()
    }

    fn crash_safe(&self) -> bool {
        true
    }

    fn install(&self, pairs: &mut dyn Iterator<Item = Result<Pair, Error>>) -> Result<(), Error> {
        let old = self.instance.get();
        let generation = old.generation.next().map_err(|error| Error::io(&self.path, &error))?;
        let new = Instance::open(&self.path, generation, self.cache_bytes)?;
        new.fill(pairs)?;
        new.generation.switch().map_err(|error| Error::io(&self.path, &error))?;
        self.instance.replace(new);
        old.generation.retire();
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        let instance = self.instance.get();
        // The journal is left out: nothing is written to it.
        instance.keyspace.disk_space()
    }
}

/// One open fjall database. The fields' order is their drop order: who uses the database, the database, its folder.
struct Instance {
    path: PathBuf,
    sealer: Sealer,
    keyspace: Keyspace,
    db: Database,
    generation: Generation,
}

impl Instance {
    fn open(path: &Path, generation: Generation, cache_bytes: u64) -> Result<Self, Error> {
        let folder = generation.folder();
        remove_unfinished(&folder).map_err(|error| Error::io(path, &error))?;
        let db = Database::builder(&folder)
            .cache_size(cache_bytes)
            .worker_threads(WORKERS)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .open();
        let db = db.map_err(|error| sort(path, error))?;
        let keyspace = db.keyspace("data", options).map_err(|error| sort(path, error))?;
        let place = path.to_owned();
        let sealer = Sealer::start(path, keyspace.clone(), move |error| sort(&place, error));
        let sealer = sealer.map_err(|error| Error::io(path, &error))?;
        Ok(Self { path: path.to_owned(), sealer, keyspace, db, generation })
    }

    fn apply(&self, batch: Batch) -> Result<(), Error> {
        self.check()?;
        self.wait_for_room()?;
        let mut bytes = 0;
        {
            // Nobody seals the memtable, switches to other tables or takes a number while this is held. fjall makes its
            // numbers visible when it switches, and with them whatever has a lower one, be it half a batch.
            let versions = self.keyspace.tree.get_version_history_lock();
            let memtable = versions.latest_version().active_memtable;
            let number = self.db.supervisor.seqno.next();
            for (key, value) in batch.changes {
                bytes += MEMTABLE_ENTRY_BYTES + (key.len() + value.as_ref().map_or(0, Bytes::len)) as u64;
                let _ = memtable.insert(match value {
                    Some(value) => InternalValue::from_components(key, value, number, ValueType::Value),
                    None => InternalValue::new_tombstone(key, number),
                });
            }
            self.db.supervisor.snapshot_tracker.publish(number);
        }
        self.sealer.filled(bytes);
        Ok(())
    }

    fn flush(&self) -> Result<(), Error> {
        let tree = &self.keyspace.tree;
        let last = tree.get_highest_memtable_seqno();
        self.sealer.seal().map_err(|error| sort(&self.path, error))?;
        // Others may be sealed meanwhile; and the entry with the last number may be gone, merged away.
        self.wait_while(|| tree.sealed_memtable_count() > 0 && tree.get_highest_persisted_seqno() < last)?;
        self.check()?;
        self.sealer.count();
        self.sync_names()
    }

    /// fjall syncs its files, but not that those with values have a name.
    fn sync_names(&self) -> Result<(), Error> {
        let sync = |folder: &str| fs::File::open(self.keyspace.path().join(folder))?.sync_all();
        ["tables", "blobs"].into_iter().try_for_each(sync).map_err(|error| Error::io(&self.path, &error))
    }

    /// Whether writing may have to wait for what fjall does in the background.
    fn is_busy(&self) -> bool {
        self.is_behind() || self.keyspace.l0_table_count() >= L0_TABLES_MANY
    }

    /// Whether too much waits in memory to be written.
    fn is_behind(&self) -> bool {
        self.keyspace.sealed_memtable_count() > SEALED_MEMTABLES_MAX || self.sealer.is_behind()
    }

    /// Whether there are more tables than should be looked at.
    fn has_too_many_tables(&self) -> bool {
        self.keyspace.l0_table_count() >= L0_TABLES_MAX
    }

    /// Why nothing more will be written, if so.
    fn check(&self) -> Result<(), Error> {
        self.sealer.check()?;
        // There is nothing to persist. fjall says here when its worker has died.
        self.db.persist(PersistMode::Buffer).map_err(|error| sort(&self.path, error))
    }

    /// Waits while too much waits to be written; an error when it never will be.
    fn wait_for_room(&self) -> Result<(), Error> {
        let until = Instant::now() + MERGE_PATIENCE;
        self.wait_while(|| self.is_behind() || (self.has_too_many_tables() && Instant::now() < until))
    }

    /// Waits while fjall is not as far yet; an error when it never will be.
    fn wait_while(&self, waits: impl Fn() -> bool) -> Result<(), Error> {
        while waits() {
            self.check()?;
            // fjall has no signal to wait for.
            std::thread::park_timeout(ROOM_CHECK_INTERVAL);
        }
        Ok(())
    }

    /// Writes `pairs` straight into tables, durably.
    fn fill(&self, pairs: &mut dyn Iterator<Item = Result<Pair, Error>>) -> Result<(), Error> {
        let failed = |error| sort(&self.path, error);
        let mut tables = self.keyspace.start_ingestion().map_err(failed)?;
        let mut last = Bytes::new();
        for pair in pairs {
            let (key, value) = pair?;
            // fjall panics on these. The empty key is refused with them: nothing is less than it.
            if key <= last || key.len() > KEY_BYTES_MAX {
                let reason = "pairs to install are not in key order, or a key is too long".to_owned();
                return Err(Error::Io { path: self.path.clone(), reason });
            }
            last.clone_from(&key);
            tables.write(key, value).map_err(failed)?;
        }
        tables.finish().map_err(failed)?;
        self.sync_names()
    }
}

fn separation() -> KvSeparationOptions {
    KvSeparationOptions::default()
        .separation_threshold(SEPARATED_BYTES_MIN)
        .file_target_size(BLOB_FILE_BYTES)
        // Cheap to read back; documents are often compressed already, and merges never touch them.
        .compression(CompressionType::None)
}

fn options() -> KeyspaceCreateOptions {
    let leveled = Leveled::default().with_table_target_size(TABLE_BYTES).with_l0_threshold(L0_TABLES_MERGED);
    KeyspaceCreateOptions::default()
        .with_kv_separation(Some(separation()))
        .compaction_strategy(Arc::new(leveled))
        // Every new document is first looked for in vain: filters on all levels, the last included.
        .expect_point_read_hits(false)
}

/// Removes what is left of a database whose creation was cut short: fjall neither opens nor creates over it. Its
/// version file is synced before anything can be stored.
fn remove_unfinished(folder: &Path) -> io::Result<()> {
    let finished = fs::metadata(folder.join("version")).is_ok_and(|version| version.len() > 0);
    let stored = folder.join("keyspaces").join("1").exists();
    if finished || stored {
        return Ok(());
    }
    files::remove_tree(folder)?;
    files::make_dir(folder)
}

/// All pairs as they were at one moment. The fields' order is their drop order.
struct View {
    snapshot: Snapshot,
    instance: Arc<Instance>,
}

impl View {
    fn of(instance: Arc<Instance>) -> Self {
        Self { snapshot: instance.db.snapshot(), instance }
    }

    fn pairs(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, reverse: bool) -> Pairs<'static> {
        // Bounds come from clients, and fjall panics where one is longer than a key. No key lies between such a bound and
        // its beginning.
        let low = match low {
            Bound::Included(key) | Bound::Excluded(key) if key.len() > KEY_BYTES_MAX => {
                Bound::Excluded(&key[..KEY_BYTES_MAX])
            }
            low => low,
        };
        let high = match high {
            Bound::Included(key) | Bound::Excluded(key) if key.len() > KEY_BYTES_MAX => {
                Bound::Included(&key[..KEY_BYTES_MAX])
            }
            high => high,
        };
        if is_empty_range(low, high) {
            return Box::new(std::iter::empty());
        }
        let pairs = self.snapshot.range::<&[u8], _>(&self.instance.keyspace, (low, high));
        let instance = Arc::clone(&self.instance);
        let owned = move |pair: ::fjall::Guard| {
            let (key, value) = pair.into_inner().map_err(|error| sort(&instance.path, error))?;
            Ok((key.into(), value.into()))
        };
        if reverse { Box::new(pairs.rev().map(owned)) } else { Box::new(pairs.map(owned)) }
    }
}

impl Read for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let value = self.snapshot.get(&self.instance.keyspace, key);
        Ok(value.map_err(|error| sort(&self.instance.path, error))?.map(Bytes::from))
    }

    fn scan(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, reverse: bool) -> Pairs<'_> {
        self.pairs(low, high, reverse)
    }
}

fn sort(path: &Path, error: ::fjall::Error) -> Error {
    use ::fjall::{Error as F, LsmError};
    match error {
        F::Io(error) | F::Storage(LsmError::Io(error)) => Error::io(path, &error),
        // An earlier write failed, perhaps in the background, and fjall forgot why.
        F::Poisoned if room::is_short(path) => Error::DiskFull { path: path.to_owned() },
        F::Poisoned | F::Locked | F::KeyspaceDeleted => Error::Io { path: path.to_owned(), reason: error.to_string() },
        damage => Error::Damaged { path: path.to_owned(), reason: damage.to_string() },
    }
}
