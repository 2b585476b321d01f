//! Opens the folder: reads every segment, and when they are good cleans up behind a crash.
//!
//! Changes nothing before all segments were found good. Cleaning up can itself be cut short: each step leaves a folder
//! that the next start understands the same way.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::direct;
use super::disk::{self, Disk};
use super::group::SECTOR;
use super::index::{Log, Position};
use super::replay::{Replay, Verdict};
use super::scan::Tail;
use super::segment::{DATA_START, Header, Segment};
use super::{Error, State};

/// A log ready to go on.
pub(super) struct Recovered {
    pub state: State,
    pub segment: Arc<Segment>,
    pub end: Position,
    pub chain: u32,
}

/// Recovers the log in the (locked) folder; makes its first segment when there is none.
pub(super) fn recover(disk: &Disk, segment_bytes: u64, cache_bytes: u64) -> Result<Recovered, Error> {
    disk.sweep()?;
    let files = disk::segments(&disk.path)?;
    let Some((first, _)) = files.first() else {
        let segment = Arc::new(disk.create(disk.blank("segment", segment_bytes as u32)?, 1, 0)?);
        let end = Position { segment: 1, offset: DATA_START };
        let state = State { log: Log::new(cache_bytes, 1), segments: BTreeMap::from([(1, Arc::clone(&segment))]) };
        return Ok(Recovered { state, segment, end, chain: 0 });
    };
    let mut replay = Replay::new(&disk.path, &disk.identity, *first, cache_bytes);
    let mut segments = BTreeMap::new();
    for (number, path) in &files {
        let bytes = std::fs::read(path).map_err(|error| Error::io(path, &error))?;
        let segment = open(path, *number, &bytes)?;
        if replay.add(*number, bytes)? {
            segments.insert(*number, Arc::new(segment));
        }
    }
    let mut verdict = replay.finish()?;
    let segment = Arc::clone(&segments[&verdict.newest.header.number]);
    clean_up(disk, &segments, &segment, &verdict)?;
    let (end, chain) = (Position { segment: segment.number, offset: verdict.end.offset }, verdict.end.chain);
    verdict.log.set_written(end);
    let mut state = State { log: verdict.log, segments };
    // A purge whose deletions were cut short. A newest segment without its head yet stands on those before it.
    if end.offset > DATA_START {
        for unneeded in state.release(segment.number) {
            disk.remove(&unneeded)?;
        }
    }
    Ok(Recovered { state, segment, end, chain })
}

/// Makes the files say what was read from them, and makes that durable: the state is answered for from now on.
fn clean_up(
    disk: &Disk,
    segments: &BTreeMap<u64, Arc<Segment>>,
    segment: &Segment,
    verdict: &Verdict,
) -> Result<(), Error> {
    // From the back, so that no hole appears.
    for path in verdict.surplus.iter().rev() {
        disk.remove(path)?;
    }
    let write = |bytes: &[u8], at: usize| {
        segment.file.write_all_at(bytes, at as u64).map_err(|error| Error::io(&segment.path, &error))
    };
    let bytes = &verdict.newest.bytes;
    let (synced, end) = (verdict.end.synced as usize, verdict.end.offset as usize);
    if verdict.end.tail == Tail::Torn {
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(end, |last| last + 1);
        tracing::warn!(
            file = %segment.path.display(), offset = end, bytes = used.saturating_sub(end),
            "the last write to the log was cut short and is dropped; it was never acknowledged"
        );
        write(&vec![0; used.next_multiple_of(SECTOR).saturating_sub(end)], end)?;
    }
    // The last writes may have failed to reach the disk in a process that then aborted; the system would call their
    // pages clean, and a sync alone would do nothing. Written again they are dirty, and the sync is honest.
    write(&bytes[synced..end], synced)?;
    for segment in segments.values() {
        disk.sync(&segment.file, &segment.path)?;
    }
    Ok(())
}

fn open(path: &Path, number: u64, bytes: &[u8]) -> Result<Segment, Error> {
    let (_, seed) = Header::parse(bytes, path)?;
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(|error| Error::io(path, &error))?;
    let bytes = u32::try_from(bytes.len()).map_err(|_| Error::damaged(path, 0, "longer than a segment can be"))?;
    Ok(Segment { number, path: path.to_owned(), file, direct: direct::open(path), bytes, seed })
}
