//! Gives out whole databases as the records of a backup, a block at a time.
//!
//! The reader must be a view: what lies in it must stay the same from the first block to the last. What a database
//! counts of itself is compared with what was given out, so that nothing is left out in silence.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;

use common::attachment::BlobDigest;
use common::backup::blobs::Blobs;
use common::backup::block::Records;
use common::backup::record::{Attached, Body, Chunk, Document, Local, Record};
use common::backup::tally::{Tallies, Tally};
use common::backup::{DatabaseEnd, End};
use common::ids::{DbUid, DocId};
use common::rev::Rev;

use super::keys::{self, Key};
use super::record::{self, BlobRecord, DocRecord, LocalRecord};
use super::{counters, damaged, decoded, is_dropped, key_of};
use crate::storage::{Error, Read};

/// Where giving out some databases stands.
#[derive(Debug)]
pub struct Export {
    databases: VecDeque<DbUid>,
    current: Option<Current>,
    ended: Vec<DatabaseEnd>,
    tallies: Tallies,
}

/// The database that is being given out.
#[derive(Debug)]
struct Current {
    db: DbUid,
    /// Whether its documents are out, and local ones are next.
    locals: bool,
    /// From where to go on, and the end.
    low: Vec<u8>,
    high: Vec<u8>,
    /// Bodies of the last document that are still to come.
    bodies: VecDeque<(u32, DocId, Rev)>,
    /// That document.
    winner: Option<DocRecord>,
    /// Its attachments, those of bodies that are out.
    blobs: Blobs,
}

impl Current {
    fn new(db: DbUid) -> Self {
        let (low, high) = keys::docs(db);
        Self { db, locals: false, low, high, bodies: VecDeque::new(), winner: None, blobs: Blobs::default() }
    }
}

impl Export {
    /// Of these databases, in this order, each once.
    pub fn new(databases: Vec<DbUid>) -> Self {
        let mut met = BTreeSet::new();
        let databases = databases.into_iter().filter(|db| met.insert(*db)).collect();
        Self { databases, current: None, ended: Vec::new(), tallies: Tallies::default() }
    }

    /// Fills a block; an empty one means that all is out.
    pub fn fill(&mut self, view: &dyn Read, block: &mut Records) -> Result<(), Error> {
        while !block.is_full() {
            match self.current.take() {
                Some(mut current) => {
                    if !self.go_on(view, &mut current, block)? {
                        self.current = Some(current);
                    } else if current.locals {
                        self.end(view, current.db)?;
                    } else {
                        let (low, high) = keys::locals(current.db);
                        self.current = Some(Current { locals: true, low, high, ..Current::new(current.db) });
                    }
                }
                None => {
                    let Some(db) = self.databases.pop_front() else { return Ok(()) };
                    self.begin(view, db, block)?;
                }
            }
        }
        Ok(())
    }

    /// What was given out, once all is.
    pub fn finish(self) -> End {
        End { databases: self.ended }
    }

    fn begin(&mut self, view: &dyn Read, db: DbUid, block: &mut Records) -> Result<(), Error> {
        if is_dropped(view, db)? {
            self.ended.push(DatabaseEnd { uid: db, dropped: true, tally: Tally::default() });
            return Ok(());
        }
        self.put(&Key::Counters(db), Record::Database(db), block)?;
        self.current = Some(Current::new(db));
        Ok(())
    }

    fn end(&mut self, view: &dyn Read, db: DbUid) -> Result<(), Error> {
        let tally = self.tallies.of(db).copied().unwrap_or_default();
        let counted = counters(view, db)?;
        if (tally.docs, tally.deleted) != (counted.docs, counted.deleted) {
            let what = format!(
                "it counts {} documents and {} deleted ones, and has {} and {}",
                counted.docs, counted.deleted, tally.docs, tally.deleted
            );
            return Err(unsound(&Key::Counters(db), &what));
        }
        self.ended.push(DatabaseEnd { uid: db, dropped: false, tally });
        Ok(())
    }

    /// Goes on until the block is full; whether it came to the end.
    fn go_on(&mut self, view: &dyn Read, current: &mut Current, block: &mut Records) -> Result<bool, Error> {
        self.bodies(view, current, block)?;
        let (low, high) = (current.low.clone(), current.high.clone());
        for pair in view.scan(Bound::Included(&low), Bound::Excluded(&high), false) {
            if block.is_full() {
                return Ok(false);
            }
            let (key, value) = pair?;
            let at = key_of(&key)?;
            match at.clone() {
                Key::Doc(_, id) => {
                    let unreadable = |record::Unknown| damaged(&key, "its record cannot be read");
                    let record = DocRecord::decode(&value).map_err(unreadable)?;
                    let tree = record.tree().map_err(|record::Unknown| damaged(&key, "its tree cannot be read"))?;
                    let document = Document::of(id.clone(), &tree);
                    let stored = document.revisions.iter().zip(0u32..).filter(|(revision, _)| revision.stored);
                    current.bodies = stored.map(|(revision, at)| (at, id.clone(), revision.rev.clone())).collect();
                    (current.winner, current.blobs) = (Some(record), Blobs::default());
                    self.put(&at, Record::Document(document), block)?;
                }
                Key::Local(_, id) => {
                    let local = decoded(&key, Some(value), LocalRecord::decode)?.filter(|local| local.live);
                    if let Some(LocalRecord { counter, json, .. }) = local {
                        self.put(&at, Record::Local(Local { id, counter, json }), block)?;
                    }
                }
                _ => return Err(damaged(&key, "it lies among the documents")),
            }
            // The shortest key behind this one.
            current.low = [&key[..], &[0]].concat();
            self.bodies(view, current, block)?;
        }
        // The block may have become full in the middle of the last document.
        Ok(current.bodies.is_empty() && current.blobs.next().is_none())
    }

    /// The bodies of the last document and the bytes of their attachments, as many as fit.
    fn bodies(&mut self, view: &dyn Read, current: &mut Current, block: &mut Records) -> Result<(), Error> {
        while !block.is_full() {
            if let Some((blob, number, _)) = current.blobs.next() {
                let chunk = chunk(view, current.db, blob, number)?;
                current.blobs.pass(&chunk);
                self.put(&Key::Blob(current.db, blob), Record::Chunk(chunk), block)?;
                continue;
            }
            let Some((at, id, rev)) = current.bodies.pop_front() else { break };
            let winner = current.winner.as_ref().filter(|record| record.winner == rev);
            let key = Key::Body(current.db, id, rev);
            let body = match winner {
                Some(record) => record.body(),
                None => {
                    let key = key.encode();
                    let body = decoded(&key, view.get(&key)?, record::Body::decode)?;
                    body.ok_or_else(|| damaged(&key, "a revision's body is gone"))?
                }
            };
            let unreadable = |record::Unknown| damaged(&key.encode(), "its attachments cannot be read");
            let attachments = body.attachments().map_err(unreadable)?;
            current.blobs.body(&attachments);
            let json = body.json;
            let record = match attachments.is_empty() {
                true => Record::Body(Body { at, json }),
                false => Record::Attached(Attached { at, json, attachments }),
            };
            self.put(&key, record, block)?;
        }
        Ok(())
    }

    fn put(&mut self, at: &Key, record: Record, block: &mut Records) -> Result<(), Error> {
        self.tallies.push(&record).map_err(|what| unsound(at, &what))?;
        block.push(&record);
        Ok(())
    }
}

/// A chunk of a blob that a document names.
fn chunk(view: &dyn Read, db: DbUid, blob: BlobDigest, number: u32) -> Result<Chunk, Error> {
    let key = Key::Blob(db, blob).encode();
    let known: Option<BlobRecord> = decoded(&key, view.get(&key)?, |value| record::decode(value))?;
    let place = known.ok_or_else(|| damaged(&key, "an attachment is gone"))?.place;
    let key = Key::Chunk(db, place, number).encode();
    let bytes = view.get(&key)?.ok_or_else(|| damaged(&key, "a part of an attachment is gone"))?;
    Ok(Chunk { blob, number, bytes })
}

/// What does not add up. No damage of this replica's files, which would have it rebuilt: all replicas may be alike.
fn unsound(at: &Key, what: &str) -> Error {
    Error::Io { path: "this replica".into(), reason: format!("{what}: {at}") }
}
