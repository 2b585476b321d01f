//! The log against a model, crashes, rot and full disks.

mod crash;
mod damage;
mod faults;
mod model;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use tempfile::TempDir;

use super::index::Pick;
use super::*;

/// Faults to inject below the log.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Segments cannot be made.
    pub no_room: AtomicBool,
    /// Syncs fail.
    pub sync_fails: AtomicBool,
    /// While a test holds it, the writer's syncs wait.
    pub gate: Mutex<()>,
}

impl Faults {
    pub(super) fn before_fill(&self) -> std::io::Result<()> {
        if self.no_room.load(Ordering::SeqCst) { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    pub(super) fn before_sync(&self, path: &Path) -> Result<(), Error> {
        if std::thread::current().name() == Some("wal-writer") {
            drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        }
        if self.sync_fails.load(Ordering::SeqCst) {
            return Err(Error::Io { path: path.to_owned(), reason: "injected".to_owned() });
        }
        Ok(())
    }
}

pub(super) fn identity() -> Identity {
    Identity {
        cluster: ClusterId::of("test"),
        node: NodeId::parse("n1").expect("a node name"),
        shard: ShardId(3),
        replica: RaftId(77),
    }
}

/// Segments of 4 KiB, so that small logs have many.
const OPTIONS: Options = Options { segment_bytes: 4096, cache_bytes: 1000 };

/// In memory where there is such a folder: these tests open tens of thousands of logs.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.expect("a temporary folder")
}

fn open(dir: &Path) -> Wal {
    Wal::open(dir, &identity(), OPTIONS).expect("a log that opens")
}

/// Makes a call and waits for its end.
fn wait(call: impl FnOnce(Box<dyn FnOnce(Result<(), Error>) + Send>)) -> Result<(), Error> {
    let (tell, told) = channel();
    call(Box::new(move |outcome| tell.send(outcome).expect("the test waits")));
    told.recv().expect("done is called")
}

fn entry(index: u64, term: u64, payload: Vec<u8>) -> Entry {
    Entry { id: LogId { term, leader: 9, index }, payload: payload.into() }
}

/// One call.
#[derive(Debug, Clone)]
enum Op {
    /// Entries with payloads of these lengths and this byte repeated.
    Append(Vec<(usize, u8)>),
    Vote(Vec<u8>),
    /// Truncates so many entries.
    Truncate(u64),
    /// Purges so many entries, or behind the end when there are fewer.
    Purge(u64),
}

/// What the log must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Model {
    vote: Option<Vec<u8>>,
    purged: Option<LogId>,
    next: u64,
    term: u64,
    entries: Vec<Entry>,
}

impl Model {
    /// Carries out `op` on the log and here.
    fn run(&mut self, wal: &Wal, op: &Op, done: Box<dyn FnOnce(Result<(), Error>) + Send>) {
        match op {
            Op::Append(payloads) => {
                let new = (self.next..).zip(payloads).map(|(index, (len, byte))| {
                    let mut payload = vec![*byte; *len];
                    if let Some(last) = payload.last_mut() {
                        *last = (index + self.term) as u8;
                    }
                    entry(index, self.term, payload)
                });
                let new: Vec<_> = new.collect();
                self.next += new.len() as u64;
                self.entries.extend(new.iter().cloned());
                wal.append(new, done);
            }
            Op::Vote(vote) => {
                self.vote = Some(vote.clone());
                wal.save_vote(vote.clone().into(), done);
            }
            Op::Truncate(count) => {
                let keep = self.entries.len() - (*count as usize).min(self.entries.len());
                self.next -= (self.entries.len() - keep) as u64;
                self.term += 1;
                self.entries.truncate(keep);
                wal.truncate(self.next, done);
            }
            Op::Purge(count) => {
                let first = self.next - self.entries.len() as u64;
                let upto = LogId { term: self.term, leader: 9, index: first + count };
                self.entries.drain(..(*count as usize + 1).min(self.entries.len()));
                self.next = self.next.max(upto.index + 1);
                self.purged = Some(upto);
                wal.purge(upto, done);
            }
        }
    }

    /// What the log holds, as a model; the term is ours only.
    fn of(wal: &Wal, term: u64) -> Result<Self, Error> {
        let entries = wal.read(0..u64::MAX, u64::MAX)?;
        let next = entries.last().map(|entry| entry.id.index + 1).or(wal.first_index()).unwrap_or(0);
        Ok(Self { vote: wal.vote().map(|vote| vote.to_vec()), purged: wal.purged(), next, term, entries })
    }

    fn check(&self, wal: &Wal) {
        assert_eq!(Self::of(wal, self.term).expect("a readable log"), *self);
        assert_eq!(wal.last(), self.entries.last().map(|entry| entry.id).or(self.purged));
    }
}

/// Runs `ops` on a new log in `dir`; returns the models before and after each.
fn build(dir: &Path, ops: &[Op]) -> Vec<Model> {
    let wal = open(dir);
    let mut models = vec![Model::default()];
    for op in ops {
        let mut model = models.last().expect("one at least").clone();
        wait(|done| model.run(&wal, op, done)).expect("a write that succeeds");
        model.check(&wal);
        models.push(model);
    }
    wal.close().expect("a log that closes");
    models
}

/// The files of a log.
type Image = BTreeMap<u64, Vec<u8>>;

fn image(dir: &Path) -> Image {
    let files = disk::segments(dir).expect("a folder");
    files.into_iter().map(|(number, path)| (number, std::fs::read(path).expect("a segment"))).collect()
}

fn store(dir: &Path, image: &Image) {
    for (_, path) in disk::segments(dir).expect("a folder") {
        std::fs::remove_file(path).expect("a segment");
    }
    for (number, bytes) in image {
        std::fs::write(disk::segment_path(dir, *number), bytes).expect("a segment");
    }
}

/// What the folder recovers to, without the threads of an open log.
fn recovered(dir: &Path) -> Result<Model, Error> {
    let disk = Disk::open(dir, &identity())?;
    let state = recover::recover(&disk, 4096, 0)?.state;
    contents(&state.log, |pick| state.locate(pick).read())
}

/// What the files amount to, judged in memory.
fn judged(image: &Image) -> Result<Model, Error> {
    let (dir, identity) = (Path::new("log"), identity());
    let mut replay = replay::Replay::new(dir, &identity, *image.keys().next().expect("a segment"), 0);
    for (number, bytes) in image {
        replay.add(*number, bytes.clone())?;
    }
    contents(&replay.finish()?.log, |pick| match pick {
        Pick::Cached(entry) => Ok(entry),
        Pick::OnDisk { id, segment, spot } => {
            let bytes = image[&segment][spot.offset as usize..][..spot.len as usize].to_vec();
            segment::entry(id, &spot, bytes).map_err(|reason| Error::damaged(dir, u64::from(spot.offset), reason))
        }
    })
}

fn contents(log: &Log, read: impl Fn(Pick) -> Result<Entry, Error>) -> Result<Model, Error> {
    let entries = log.pick(0..u64::MAX, u64::MAX).into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let vote = log.vote().map(|vote| vote.to_vec());
    Ok(Model { vote, purged: log.purged(), next: log.next().unwrap_or(0), term: 0, entries })
}

/// Whether both are the same but for the term, which the log does not have.
fn same(found: &Model, model: &Model) -> bool {
    *found == Model { term: found.term, ..model.clone() }
}

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn op(&mut self) -> Op {
        match self.roll(10) {
            0 => Op::Vote(vec![self.roll(256) as u8; self.roll(40) as usize]),
            1 => Op::Truncate(self.roll(4)),
            _ => Op::Append(
                (0..=self.roll(3))
                    .map(|_| (self.roll(900) as usize, [0, 1, 255, b'x'][self.roll(4) as usize]))
                    .collect(),
            ),
        }
    }
}
