//! Decides where the next records go, and goes on to the next segment when they do not fit.
//!
//! Places are given before anything is written, so a call for which there is no room fails as a whole and leaves no
//! trace. A group is never split: one that is larger than a segment gets a segment of its own size.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::Error;
use super::disk::{Blank, Disk};
use super::group::{Draft, Group, SECTOR};
use super::record::Record;
use super::segment::{BYTES_MAX, DATA_START, Segment};

/// Kept free at the end of each segment for the seal.
const SEAL_BYTES: u64 = SECTOR as u64;
/// Smallest segment: header, head, a group, a vote and the seal have to fit.
const SEGMENT_BYTES_MIN: u64 = 8 * SECTOR as u64;
/// Bytes per segment that entries leave to votes, truncations and purges, so that on a full disk a purge can still be
/// written, which is what makes room. More would only waste space.
const CONTROL_BYTES_MAX: u64 = 64 << 10;

/// What a draft is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Entries,
    /// Votes, truncations, purges: may use the last room of a segment.
    Control,
}

/// A group and the segment it goes into.
#[derive(Debug)]
pub(super) struct Placed {
    pub segment: Arc<Segment>,
    pub group: Group,
}

/// Where the log goes on.
#[derive(Debug)]
pub(super) struct Plan {
    segment: Arc<Segment>,
    offset: u32,
    chain: u32,
    segment_bytes: u64,
    spare: Spare,
}

impl Plan {
    pub(super) fn new(
        disk: &Arc<Disk>,
        segment: Arc<Segment>,
        offset: u32,
        chain: u32,
        segment_bytes: u64,
    ) -> Result<Self, Error> {
        Ok(Self { segment, offset, chain, segment_bytes, spare: Spare::start(disk, segment_bytes as u32)? })
    }

    /// The nearest size a segment can have.
    pub(super) fn segment_bytes(wanted: u64) -> u64 {
        wanted.clamp(SEGMENT_BYTES_MIN, BYTES_MAX / 2).next_multiple_of(SECTOR as u64)
    }

    /// Gives `draft` its place: the last of the groups returned, which are to be written in their order. `head` is
    /// asked for the head of a new segment. After an error the plan is as it was.
    pub(super) fn place(
        &mut self,
        disk: &Disk,
        draft: Draft,
        room: Room,
        head: impl FnOnce() -> Draft,
    ) -> Result<Vec<Placed>, Error> {
        let mut groups = Vec::with_capacity(1);
        let need = draft.extent() as u64;
        let fresh = self.offset == DATA_START;
        if fresh || !self.fits(need, room) {
            let head = head();
            let need = head.extent() as u64 + need;
            if !(fresh && self.fits(need, room)) {
                groups.push(self.rotate(disk, need)?);
            }
            groups.push(self.put(head));
        }
        groups.push(self.put(draft));
        if u64::from(self.offset) > u64::from(self.segment.bytes) / 2 {
            self.spare.ask();
        }
        Ok(groups)
    }

    /// Ends the thread that makes segments ahead.
    pub(super) fn close(&mut self) {
        self.spare.close();
    }

    fn put(&mut self, draft: Draft) -> Placed {
        let group = draft.place(self.offset, self.chain);
        self.offset += group.bytes.len() as u32;
        self.chain = group.chain;
        Placed { segment: Arc::clone(&self.segment), group }
    }

    fn fits(&self, need: u64, room: Room) -> bool {
        let kept = match room {
            Room::Entries => self.kept(),
            Room::Control => SEAL_BYTES,
        };
        u64::from(self.offset) + need + kept <= u64::from(self.segment.bytes)
    }

    fn kept(&self) -> u64 {
        (self.segment_bytes / 16).clamp(SECTOR as u64, CONTROL_BYTES_MAX).next_multiple_of(SECTOR as u64) + SEAL_BYTES
    }

    /// Makes the next segment, with room for `need` bytes; returns the seal of the one before.
    fn rotate(&mut self, disk: &Disk, need: u64) -> Result<Placed, Error> {
        let seal = Draft::of(&Record::Seal).place(self.offset, self.chain);
        let bytes = (u64::from(DATA_START) + need + self.kept()).max(self.segment_bytes);
        let bytes = u32::try_from(bytes).map_err(|_| Error::TooLarge { bytes })?;
        let blank = match self.spare.take().filter(|blank| blank.bytes >= bytes) {
            Some(blank) => blank,
            None => disk.blank("segment", bytes)?,
        };
        let next = Arc::new(disk.create(blank, self.segment.number + 1, seal.chain)?);
        let segment = std::mem::replace(&mut self.segment, next);
        (self.offset, self.chain) = (DATA_START, seal.chain);
        Ok(Placed { segment, group: seal })
    }
}

/// Makes the next segment's zeros ahead, on a thread of its own: at the end of a segment nobody should wait for
/// megabytes of them. Asked for once half of the current segment is used.
#[derive(Debug)]
struct Spare {
    ask: Option<SyncSender<()>>,
    made: Receiver<Result<Blank, Error>>,
    asked: bool,
    thread: Option<JoinHandle<()>>,
}

impl Spare {
    fn start(disk: &Arc<Disk>, bytes: u32) -> Result<Self, Error> {
        let (ask, asked) = sync_channel(1);
        let (give, made) = sync_channel(1);
        let path = disk.path.clone();
        let disk = Arc::clone(disk);
        let work = move || {
            while let Ok(()) = asked.recv() {
                if give.send(disk.blank("spare", bytes)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("wal-spare".to_owned()).spawn(work);
        let thread = thread.map_err(|error| Error::io(&path, &error))?;
        Ok(Self { ask: Some(ask), made, asked: false, thread: Some(thread) })
    }

    fn ask(&mut self) {
        if !self.asked && self.ask.as_ref().is_some_and(|ask| ask.try_send(()).is_ok()) {
            self.asked = true;
        }
    }

    /// The spare, waited for if it is being made. `None` when there is none or it failed; the caller then makes one
    /// itself and learns whether the failure lasts.
    fn take(&mut self) -> Option<Blank> {
        std::mem::take(&mut self.asked).then(|| self.made.recv().ok()?.ok()).flatten()
    }

    fn close(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that makes log segments ahead panicked");
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.close();
    }
}
