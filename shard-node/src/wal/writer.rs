//! The writer: one thread that takes everything waiting, writes it, syncs once, and tells those who wait.
//!
//! What arrives while a sync runs shares the next one (group commit). A segment is synced before the next one gets its
//! first byte, so only the newest segment with records can have a torn tail. After a failed write or sync nothing is
//! written any more, and everybody hears of it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::direct::Buffer;
use super::index::Position;
use super::plan::Placed;
use super::segment::{DATA_START, Segment};
use super::{Error, Shared};

/// Most bytes waiting; a caller with more waits. One call that is larger goes alone.
const QUEUE_BYTES_MAX: usize = 32 << 20;
/// Buffer kept between rounds; a larger one is given back.
const SCRATCH_BYTES_MAX: usize = 4 << 20;

/// Called once, with what became of the call.
pub(super) type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// What one call wants written.
pub(super) struct Job {
    pub groups: Vec<Placed>,
    /// To be deleted once the groups are durable, in this order.
    pub remove: Vec<PathBuf>,
    pub done: Done,
}

impl Job {
    fn bytes(&self) -> usize {
        self.groups.iter().map(|placed| placed.group.bytes.len()).sum()
    }
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    bytes: usize,
    closed: bool,
    failed: Option<Error>,
}

/// Jobs on their way to the writer.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Queue {
    /// Adds a job, after waiting for room. Gives it back when the log is closed or has failed.
    pub(super) fn push(&self, job: Job) -> Result<(), (Error, Job)> {
        let bytes = job.bytes();
        let full = |waiting: &mut Waiting| {
            let refused = waiting.closed || waiting.failed.is_some();
            !refused && waiting.bytes > 0 && waiting.bytes + bytes > QUEUE_BYTES_MAX
        };
        let mut waiting = self.changed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = verdict(&waiting) {
            return Err((error, job));
        }
        waiting.bytes += bytes;
        waiting.jobs.push_back(job);
        self.changed.notify_all();
        Ok(())
    }

    /// Whether jobs are still taken.
    pub(super) fn check(&self) -> Result<(), Error> {
        verdict(&self.lock())
    }

    /// Refuses everything from now on; the first reason stays.
    pub(super) fn fail(&self, error: Error) {
        self.lock().failed.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Takes no more jobs; the writer ends when it has done those it has. The error is why the log had failed.
    pub(super) fn close(&self) -> Result<(), Error> {
        let mut waiting = self.lock();
        waiting.closed = true;
        self.changed.notify_all();
        waiting.failed.clone().map_or(Ok(()), Err)
    }

    /// Waits for jobs and takes all of them; `None` after the last one.
    fn take(&self) -> Option<VecDeque<Job>> {
        let idle = |waiting: &mut Waiting| waiting.jobs.is_empty() && !waiting.closed;
        let mut waiting = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        waiting.bytes = 0;
        self.changed.notify_all();
        Some(std::mem::take(&mut waiting.jobs)).filter(|jobs| !jobs.is_empty())
    }

    fn failed(&self) -> Option<Error> {
        self.lock().failed.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn verdict(waiting: &Waiting) -> Result<(), Error> {
    match &waiting.failed {
        Some(error) => Err(error.clone()),
        None if waiting.closed => Err(Error::Closed),
        None => Ok(()),
    }
}

/// Where the thread stands.
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// Everything before is durable.
    synced: Position,
    /// The segment being written.
    segment: Option<Arc<Segment>>,
    /// Bytes for it that are to be written at `start`.
    buffer: Vec<u8>,
    start: u32,
    direct: Buffer,
    /// Jobs whose last byte is in the buffer.
    unsynced: Vec<Job>,
}

impl Writer {
    /// A writer that goes on at `synced`.
    pub(super) fn new(shared: Arc<Shared>, synced: Position) -> Self {
        Self {
            shared,
            synced,
            segment: None,
            buffer: Vec::new(),
            start: 0,
            direct: Buffer::default(),
            unsynced: Vec::new(),
        }
    }

    /// The thread: runs until the queue is closed and empty.
    pub(super) fn run(mut self) {
        while let Some(jobs) = self.shared.queue.take() {
            let mut jobs = jobs.into_iter();
            // After a failure nothing is written any more, not even what would go elsewhere.
            let outcome = match self.shared.queue.failed() {
                Some(error) => Err(error),
                None => self.write(&mut jobs),
            };
            if let Err(error) = outcome {
                self.shared.queue.fail(error.clone());
                for job in std::mem::take(&mut self.unsynced).into_iter().chain(jobs) {
                    (job.done)(Err(error.clone()));
                }
            }
        }
    }

    fn write(&mut self, jobs: &mut impl Iterator<Item = Job>) -> Result<(), Error> {
        for mut job in jobs {
            let groups = std::mem::take(&mut job.groups);
            let outcome = groups.into_iter().try_for_each(|placed| self.add(placed));
            self.unsynced.push(job);
            outcome?;
        }
        self.flush(None)
    }

    /// Adds a group to the buffer, after what belongs to the segment before is durable.
    fn add(&mut self, placed: Placed) -> Result<(), Error> {
        let Placed { segment, mut group } = placed;
        if self.segment.as_ref().is_none_or(|current| current.number != segment.number) {
            self.flush(Some(&segment))?;
        }
        if self.buffer.is_empty() {
            self.start = group.header.at;
        }
        group.stamp(self.synced.offset, segment.seed);
        if self.buffer.is_empty() {
            self.buffer = group.bytes
        } else {
            self.buffer.extend_from_slice(&group.bytes)
        }
        Ok(())
    }

    /// Writes the buffer, syncs, deletes what is no longer needed, answers. Goes on in segment `next`, if given.
    fn flush(&mut self, next: Option<&Arc<Segment>>) -> Result<(), Error> {
        let disk = &self.shared.disk;
        if let Some(segment) = self.segment.as_ref().filter(|_| !self.buffer.is_empty()) {
            let at = u64::from(self.start);
            segment.write(&self.buffer, at, &mut self.direct)?;
            disk.bytes_written.fetch_add(self.buffer.len() as u64, Ordering::Relaxed);
            disk.sync(&segment.file, &segment.path)?;
            self.synced = Position { segment: segment.number, offset: self.start + self.buffer.len() as u32 };
            self.buffer.clear();
            if self.buffer.capacity() > SCRATCH_BYTES_MAX {
                self.buffer = Vec::new();
            }
            self.shared.state_mut().log.set_written(self.synced);
        }
        for job in &mut self.unsynced {
            for path in std::mem::take(&mut job.remove) {
                disk.remove(&path)?;
            }
        }
        for job in self.unsynced.drain(..) {
            (job.done)(Ok(()));
        }
        if let Some(next) = next {
            self.segment = Some(Arc::clone(next));
            if self.synced.segment != next.number {
                self.synced = Position { segment: next.number, offset: DATA_START };
            }
        }
        Ok(())
    }
}
