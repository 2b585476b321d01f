//! What a snapshot carries, and how a full store is made of it again.
//!
//! A snapshot is what cannot be made again from the rest: all keys but the streams (of databases and of partitions), and nothing of dropped databases
//! but the note that they were. Streams are rebuilt on the way in. Framing and checksums belong to whoever moves it.

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;
use common::ids::{DbUid, Seq};

use super::keys::{self, Key};
use super::record::{self, DocRecord, SeqRow};
use super::{damaged, decoded, key_of};
use crate::storage::{Error, Pair, Read};

/// Whether a snapshot carries the pair at `key`, as far as the key alone tells; [`pairs`] also leaves out dropped
/// databases.
pub fn wanted(key: &[u8]) -> bool {
    // Unknown keys are carried, so that `rebuild` stops at them instead of losing them in silence.
    Key::decode(key).map_or(true, |key| !keys::is_derived(&key))
}

/// All pairs of a snapshot of `view`, in key order.
pub fn pairs(view: &dyn Read) -> impl Iterator<Item = Result<Pair, Error>> + '_ {
    let mut dropped = Dropped::default();
    view.scan(Bound::Unbounded, Bound::Unbounded, false).filter(move |pair| match pair {
        Ok((key, _)) => Key::decode(key).map_or(true, |key| dropped.keeps(&key) && !keys::is_derived(&key)),
        Err(_) => true,
    })
}

/// All pairs of the store that a snapshot's `pairs` were taken from, in key order; fit for
/// [`Engine::install`](crate::storage::Engine::install). Ends after the first error.
///
/// Holds the streams of one database at a time in memory: about 60 bytes and the id for each document, half as much again
/// for one in a partition.
pub fn rebuild<I: Iterator<Item = Result<Pair, Error>>>(pairs: I) -> Rebuild<I> {
    Rebuild {
        pairs,
        dropped: Dropped::default(),
        last: Bytes::new(),
        streams: Streams::default(),
        held: None,
        drain: false,
        failed: false,
    }
}

/// The dropped databases met so far. Their notes sort before every database's keys.
#[derive(Default)]
struct Dropped(BTreeSet<DbUid>);

impl Dropped {
    /// Whether `key` is none of a dropped database. Keys come in order.
    fn keeps(&mut self, key: &Key) -> bool {
        if let Key::Dropped(db) = key {
            self.0.insert(*db);
        }
        key.db().is_none_or(|db| !self.0.contains(&db))
    }
}

/// See [`rebuild`].
pub struct Rebuild<I> {
    pairs: I,
    dropped: Dropped,
    /// The key before, to see that they come in order.
    last: Bytes,
    /// The streams of the database passing by, whose place is behind its documents and bodies.
    streams: Streams,
    /// The pair that the streams go before.
    held: Option<Pair>,
    drain: bool,
    failed: bool,
}

impl<I: Iterator<Item = Result<Pair, Error>>> Iterator for Rebuild<I> {
    type Item = Result<Pair, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.step();
        self.failed = next.is_err();
        next.transpose()
    }
}

impl<I: Iterator<Item = Result<Pair, Error>>> Rebuild<I> {
    fn step(&mut self) -> Result<Option<Pair>, Error> {
        loop {
            if self.drain {
                if let Some(pair) = self.streams.next()? {
                    return Ok(Some(pair));
                }
                self.drain = false;
                return Ok(self.held.take());
            }
            let Some(pair) = self.pairs.next().transpose()? else {
                if self.streams.is_empty() {
                    return Ok(None);
                }
                self.streams.sort();
                self.drain = true;
                continue;
            };
            if pair.0 <= self.last {
                return Err(damaged(&pair.0, "a snapshot is out of order"));
            }
            self.last = pair.0.clone();
            let key = key_of(&pair.0)?;
            if !self.dropped.keeps(&key) || keys::is_derived(&key) {
                continue;
            }
            if self.streams.goes_before(&pair.0) {
                self.streams.sort();
                self.held = Some(pair);
                self.drain = true;
                // The pair that ends one database's stream is never a document of the next: that has counters first.
                if let Key::Doc(..) = key {
                    return Err(damaged(&self.last, "a snapshot has a database without counters"));
                }
                continue;
            }
            if let Key::Doc(db, id) = key {
                let record = decoded(&pair.0, Some(pair.1.clone()), DocRecord::decode)?;
                let record = record.ok_or_else(|| damaged(&pair.0, "it has no value"))?;
                let row = record.seq_row(id).map_err(|record::Unknown| damaged(&pair.0, "its tree cannot be read"))?;
                self.streams.push(db, record.seq, &row);
            }
            return Ok(Some(pair));
        }
    }
}

/// The rows of one database's streams, side by side in one buffer: millions of them have no allocation each.
#[derive(Default)]
struct Streams {
    db: Option<DbUid>,
    /// In the order of the database's stream, once they are sorted.
    rows: Vec<Row>,
    /// The rows of documents in partitions once more, with the place of the name in `partitions`.
    in_partitions: Vec<(usize, Row)>,
    /// In the order of the documents, which is that of the keys.
    partitions: Vec<Box<str>>,
    bytes: Vec<u8>,
    /// Rows given out already.
    given: usize,
}

/// A row: its seq, and where it begins and ends in the buffer.
type Row = (Seq, usize, usize);

impl Streams {
    fn push(&mut self, db: DbUid, seq: Seq, row: &SeqRow) {
        self.db = Some(db);
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(&record::encode(row));
        let at = (seq, begin, self.bytes.len());
        self.rows.push(at);
        if let Some(partition) = keys::partition_of(db, &row.id) {
            if self.partitions.last().is_none_or(|last| **last != *partition) {
                self.partitions.push(partition.into());
            }
            self.in_partitions.push((self.partitions.len() - 1, at));
        }
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn goes_before(&self, key: &[u8]) -> bool {
        self.db.is_some_and(|db| *key >= keys::by_seq(db, Seq(0))[..])
    }

    fn sort(&mut self) {
        self.rows.sort_unstable();
        self.in_partitions.sort_unstable();
    }

    /// The next row as a pair; when there is none left, room is made for another database.
    fn next(&mut self) -> Result<Option<Pair>, Error> {
        let at = self.given;
        self.given += 1;
        let value = |(_, begin, end): Row| Bytes::copy_from_slice(&self.bytes[begin..end]);
        let Some(db) = self.db else { return Ok(None) };
        if let Some(row) = self.rows.get(at) {
            let key = keys::by_seq(db, row.0);
            if self.rows.get(at + 1).is_some_and(|next| next.0 == row.0) {
                return Err(damaged(&key, "two documents stand there"));
            }
            return Ok(Some((key, value(*row))));
        }
        if let Some((partition, row)) = self.in_partitions.get(at - self.rows.len()) {
            let key = keys::by_partition(db, &self.partitions[*partition], row.0);
            return Ok(Some((key, value(*row))));
        }
        *self = Self::default();
        Ok(None)
    }
}
