//! Replays the segments of a log, one after the other, and decides what they amount to: a state to go on from, or
//! damage. Takes their bytes and changes nothing; `recover` reads the files and acts on the verdict.

use std::path::{Path, PathBuf};

use super::group::{self, SECTOR, Spot};
use super::index::Log;
use super::record::Record;
use super::scan::{self, End, Stop, Tail, Why};
use super::segment::Header;
use super::{Error, Identity, disk};

/// A segment as it was read from its file.
pub(super) struct Found {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
    pub header: Header,
    pub seed: u32,
}

/// The replay so far. Holds the bytes of the newest segment only.
pub(super) struct Replay<'a> {
    dir: &'a Path,
    identity: &'a Identity,
    first: u64,
    next: u64,
    log: Log,
    newest: Option<(Found, End)>,
    surplus: Vec<PathBuf>,
}

/// What a folder without damage amounts to.
pub(super) struct Verdict {
    pub log: Log,
    /// The segment to go on in.
    pub newest: Found,
    pub end: End,
    /// Segments made ahead of the seal of the one before when a crash came; they have no records.
    pub surplus: Vec<PathBuf>,
}

impl<'a> Replay<'a> {
    /// Nothing replayed yet; the oldest segment there is has the number `first`.
    pub(super) fn new(dir: &'a Path, identity: &'a Identity, first: u64, cache_bytes: u64) -> Self {
        let log = Log::new(cache_bytes, first);
        Self { dir, identity, first, next: first, log, newest: None, surplus: Vec::new() }
    }

    /// Takes the next file. Returns whether the log goes on in it: it is surplus if not.
    pub(super) fn add(&mut self, number: u64, bytes: Vec<u8>) -> Result<bool, Error> {
        if number != self.next {
            return Err(self.missing(self.next));
        }
        self.next += 1;
        let found = self.load(number, bytes)?;
        match &self.newest {
            Some((before, end)) if end.tail != Tail::Sealed => {
                // Were there a record, the seal in front of it would be durable.
                if !group::is_zero(&found.bytes[SECTOR..]) {
                    let reason = "records end without a seal, but a later segment has more";
                    return Err(Error::damaged(&before.path, u64::from(end.offset), reason));
                }
                self.surplus.push(found.path);
                return Ok(false);
            }
            Some((_, end)) if end.chain != found.header.chain => {
                return Err(Error::damaged(&found.path, 0, "the segment does not follow the one before"));
            }
            _ => {}
        }
        let visit = |spot: Spot, record: &Record<'_>| self.log.replay(number, spot, record);
        let end = scan::scan(&found.bytes, found.seed, found.header.chain, visit);
        let end = end.map_err(|stop| error(&found.path, stop))?;
        self.newest = Some((found, end));
        Ok(true)
    }

    /// Ends the replay.
    pub(super) fn finish(self) -> Result<Verdict, Error> {
        let next = self.missing(self.next);
        let first = disk::segment_path(self.dir, self.first);
        let Some((newest, end)) = self.newest.filter(|(_, end)| end.tail != Tail::Sealed) else { return Err(next) };
        self.log.check_replayed(self.first).map_err(|reason| Error::damaged(&first, 0, reason))?;
        Ok(Verdict { log: self.log, newest, end, surplus: self.surplus })
    }

    fn load(&self, number: u64, bytes: Vec<u8>) -> Result<Found, Error> {
        let path = disk::segment_path(self.dir, number);
        let (header, seed) = Header::parse(&bytes, &path)?;
        if header.identity != *self.identity {
            let (found, expected) = (Box::new(header.identity), Box::new(self.identity.clone()));
            return Err(Error::Foreign { dir: self.dir.to_owned(), found, expected });
        }
        if header.number != number {
            return Err(Error::damaged(&path, 0, format!("the file has the header of segment {}", header.number)));
        }
        Ok(Found { path, bytes, header, seed })
    }

    fn missing(&self, number: u64) -> Error {
        Error::damaged(&disk::segment_path(self.dir, number), 0, "the segment is missing")
    }
}

fn error(path: &Path, stop: Stop<&'static str>) -> Error {
    match stop.why {
        Why::Rotten(reason) | Why::Visitor(reason) => Error::damaged(path, u64::from(stop.offset), reason),
        Why::Format(found) => Error::Format { file: path.to_owned(), found: u32::from(found) },
    }
}
