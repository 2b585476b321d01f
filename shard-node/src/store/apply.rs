//! The fold: commands in, in log order, one batch and their outcomes out.
//!
//! Deterministic and total: the same commands on the same store give the same bytes and the same outcomes on every
//! replica, however they are cut into batches. Whether an edit is allowed is decided by `common::edit`; this file
//! keeps records, bodies, the stream and the counters in step with what was decided.

mod atomic;
mod attachments;
mod compact;
mod indexes;
mod noted;
mod purge;
mod validators;
mod views;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::command::{Address, By, Command, LocalEdit, Op, Outcome};
use common::edit::{self, Asker, Decision};
use common::ids::{DbUid, Index, Seq, Slot};
use common::query::DbCounters;
use common::rev::{Rev, RevHash};
use common::rev_tree::RevTree;

use self::noted::Noted;
use super::keys::{self, Key};
use super::overlay::Overlay;
use super::record::{self, Body, DocRecord, LocalRecord, SeqRow, Slots};
use super::{counters, damaged, decoded, is_dropped};
use crate::storage::{Batch, Error, Read};

/// Requests a local document remembers. What became of a retry that comes after this many other writes of the same
/// document is not known; more would make every checkpoint larger.
const LOCAL_REQUESTS_MAX: usize = 8;

/// Databases known of at the end of a batch. With more of them all are forgotten, so that memory does not grow with the
/// number of databases.
const KNOWN_DBS_MAX: usize = 256;

/// Folds commands into one batch. Nothing is written: the caller applies the batch.
pub struct Apply<'a> {
    reader: &'a dyn Read,
    overlay: Overlay<'a>,
    known: Known,
}

/// What is known of the store without looking, from one batch to the next: good as long as every batch is applied and
/// nothing else changes what stands in it. Without it each batch would look up the same few records again.
#[derive(Default)]
pub struct Known {
    /// The databases met so far; written once when a batch is finished.
    dbs: BTreeMap<DbUid, Db>,
    /// Loaded at the first document.
    slots: Option<Slots>,
}

struct Db {
    counters: DbCounters,
    dropped: bool,
    /// Whether its stream did.
    changed: bool,
    /// Whether its counters did, also if its stream did not.
    counted: bool,
    /// Loaded at the first document.
    indexes: Option<indexes::Indexes>,
    /// Loaded at the first document.
    validators: Option<validators::Validators>,
}

/// A document as a command finds it.
struct Found {
    key: Bytes,
    old: Option<(DocRecord, RevTree)>,
}

/// What came of a batch of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// To be applied in one step. Sorted by key, each key once.
    pub batch: Batch,
    /// Databases whose stream grew or ended, sorted: wake their feeds.
    pub changed: Vec<DbUid>,
}

impl<'a> Apply<'a> {
    /// Begins a batch on top of what `reader` has. Nothing else may be applied until this batch is.
    pub fn new(reader: &'a dyn Read) -> Self {
        Self::knowing(reader, Known::default())
    }

    /// The same with what is known from the batch before, which `reader` has.
    pub fn knowing(reader: &'a dyn Read, known: Known) -> Self {
        Self { reader, overlay: Overlay::new(reader), known }
    }

    /// Folds in one command of the log entry at `index`.
    pub fn command(&mut self, index: Index, command: &Command) -> Result<Outcome, Error> {
        let asker = Asker { request: command.request, retry: command.retry };
        let (by, op) = match &command.op {
            Op::Validated(validated) => (Some(validated.by), &validated.op),
            bare => (None, bare),
        };
        match op {
            Op::Edit(op) => self.document(index, by, &op.doc, &op.body, |tree| edit::decide(tree, asker, op)),
            Op::Graft(op) => self.document(index, by, &op.doc, &op.body, |tree| edit::decide_graft(tree, asker, op)),
            Op::Local(op) => self.local(asker, op),
            Op::DropDb { db } => self.drop_db(*db),
            Op::AdoptSlots { version, slots } => self.adopt(*version, slots),
            Op::Compact { doc } => self.compact(index, doc),
            Op::Purge(op) => self.purge(index, command.request, op),
            Op::AdoptIndexes { db, version, indexes } => self.adopt_indexes(*db, *version, indexes),
            Op::BuildIndexes { db } => self.build_indexes(*db),
            Op::Atomic(op) => self.atomic(index, asker, by, op),
            Op::Attached(op) => self.attached(index, asker, by, op),
            Op::PutChunk(op) => self.put_chunk(index, op),
            Op::ForgetUploads { before } => self.forget_uploads(*before),
            Op::AdoptValidators { db, others } => self.adopt_validators(*db, others),
            // One in another, which no router sends: it was put to one set of functions at most.
            Op::Validated(_) => Ok(Outcome::OtherValidators),
            Op::KeepViews { db, signatures } => self.keep_views(*db, signatures),
        }
    }

    /// Bytes that the batch would write, roughly. Commands that make or clear away indexes write much more than they say.
    pub fn bytes(&self) -> usize {
        self.overlay.bytes()
    }

    /// Ends the batch. `applied` is kept with it and comes back from [`applied`](super::applied).
    pub fn finish(self, applied: Bytes) -> Folded {
        self.finish_knowing(applied).0
    }

    /// The same, and what is known for the next batch, once this one is applied.
    pub fn finish_knowing(self, applied: Bytes) -> (Folded, Known) {
        let Self { mut overlay, mut known, .. } = self;
        overlay.put(Key::Applied.encode(), applied);
        let mut changed = Vec::new();
        for (uid, db) in &mut known.dbs {
            let indexes = db.indexes.as_mut().and_then(Noted::take_changed).map(|noted| (Key::Indexes(*uid), noted));
            let validators =
                db.validators.as_mut().and_then(Noted::take_changed).map(|noted| (Key::Validators(*uid), noted));
            for (key, noted) in indexes.into_iter().chain(validators).filter(|_| !db.dropped) {
                overlay.put(key.encode(), noted);
            }
            let (moved, counted) = (std::mem::take(&mut db.changed), std::mem::take(&mut db.counted));
            if moved {
                changed.push(*uid);
            }
            if db.dropped && moved {
                overlay.forget(&keys::whole_db(*uid));
                overlay.forget(&keys::uploads(*uid));
            } else if moved || counted {
                overlay.put(Key::Counters(*uid).encode(), record::encode(&db.counters));
            }
        }
        if known.dbs.len() > KNOWN_DBS_MAX {
            known.dbs.clear();
        }
        (Folded { batch: overlay.into_batch(), changed }, known)
    }

    fn document(
        &mut self,
        index: Index,
        by: Option<By>,
        at: &Address,
        body: &common::command::Body,
        decide: impl FnOnce(Option<&RevTree>) -> Decision,
    ) -> Result<Outcome, Error> {
        if let Some(refusal) = self.refusal(at)? {
            return Ok(refusal);
        }
        let key = Key::Doc(at.db, at.id.clone()).encode();
        let old = self.open(&key)?;
        let decision = decide(old.as_ref().map(|(_, tree)| tree));
        if matches!(decision, Decision::Write { .. }) && !self.is_let_in(at, by)? {
            return Ok(Outcome::OtherValidators);
        }
        let body = Body::plain(body.json.clone());
        self.carry_out(index, at, Found { key, old }, decision, body)
    }

    /// Does what was decided of the document that was found.
    fn carry_out(
        &mut self,
        index: Index,
        at: &Address,
        Found { key, old }: Found,
        decision: Decision,
        body: Body,
    ) -> Result<Outcome, Error> {
        match decision {
            Decision::Write { tree, rev, dropped } => {
                let of_winner = self.place_bodies(at, old.as_ref(), &tree, Some((&rev, body)), &dropped)?;
                let seq =
                    self.put_document(index, at, key, old.as_ref().map(|(record, _)| record), &tree, of_winner)?;
                Ok(Outcome::Written { rev, seq })
            }
            Decision::Repeat { rev } => {
                let seq = old.map(|(record, _)| record.seq).unwrap_or_default();
                Ok(Outcome::Written { rev, seq })
            }
            Decision::Conflict => Ok(Outcome::Conflict),
            Decision::Forgotten => Ok(Outcome::Forgotten),
            Decision::NotFound { deleted } => Ok(Outcome::NotFound { deleted }),
        }
    }

    /// The document at `key` with its tree, if it is there.
    fn open(&self, key: &[u8]) -> Result<Option<(DocRecord, RevTree)>, Error> {
        let Some(record) = decoded(key, self.overlay.get(key)?, DocRecord::decode)? else { return Ok(None) };
        let tree = record.tree().map_err(|record::Unknown| damaged(key, "its tree cannot be read"))?;
        Ok(Some((record, tree)))
    }

    /// Puts every body where it belongs in `tree`, which is not empty: the winner's with the record (it is returned),
    /// all others under their own keys. `new` is a revision that was just written, `dropped` are those that are no
    /// longer in the tree. Bodies only change places when the winner does.
    fn place_bodies(
        &mut self,
        at: &Address,
        old: Option<&(DocRecord, RevTree)>,
        tree: &RevTree,
        new: Option<(&Rev, Body)>,
        dropped: &[Rev],
    ) -> Result<Body, Error> {
        let key = |rev: &Rev| Key::Body(at.db, at.id.clone(), rev.clone()).encode();
        let winner = &tree.winner().expect("a tree that is not empty has a winner").rev;
        let mut of_winner = None;
        match new {
            Some((rev, body)) if rev == winner => of_winner = Some(body),
            Some((rev, body)) if tree.get(rev).is_some() => self.overlay.put(key(rev), body.encode()),
            _ => {}
        }
        if let Some((old, old_tree)) = old {
            // Nobody can ask for them any more. The old winner's body has no key of its own yet.
            for rev in dropped.iter().filter(|rev| **rev != old.winner) {
                if old_tree.get(rev).is_some_and(|node| node.stored) {
                    self.drop_body(at.db, key(rev))?;
                }
            }
            if *winner == old.winner {
                return Ok(old.body());
            }
            if tree.get(&old.winner).is_some() {
                self.overlay.put(key(&old.winner), old.body().encode());
            } else {
                self.release(at.db, &old.body())?;
            }
        }
        if let Some(body) = of_winner {
            return Ok(body);
        }
        // The winner is gone or was deleted, and a leaf that had lost to it takes its place.
        let key = key(winner);
        let body = decoded(&key, self.overlay.get(&key)?, Body::decode)?;
        let body = body.ok_or_else(|| damaged(&key, "a leaf has no body"))?;
        self.overlay.delete(key);
        Ok(body)
    }

    /// Puts a document with this tree, and this body of its winner, at the end of the stream and of its partition's.
    fn put_document(
        &mut self,
        index: Index,
        at: &Address,
        key: Bytes,
        old: Option<&DocRecord>,
        tree: &RevTree,
        body: Body,
    ) -> Result<Seq, Error> {
        self.take_document(at, old)?;
        let seq = self.next_seq(at.db)?;
        let new = DocRecord::new(seq, index, tree, body).expect("a tree that is not empty has a winner");
        self.index(at, old, Some(&new))?;
        let row = record::encode(&SeqRow::of(at.id.clone(), tree));
        if let Some(partition) = keys::partition_of(at.db, &at.id) {
            self.overlay.put(keys::by_partition(at.db, partition, seq), row.clone());
        }
        self.overlay.put(keys::by_seq(at.db, seq), row);
        self.overlay.put(key, new.encode());
        let counters = &mut self.db(at.db)?.counters;
        *count(counters, new.deleted) += 1;
        counters.bytes += length(&new.json);
        Ok(seq)
    }

    /// Takes a document, as it was, out of the streams and the counters.
    fn take_document(&mut self, at: &Address, old: Option<&DocRecord>) -> Result<(), Error> {
        let Some(old) = old else { return Ok(()) };
        self.overlay.delete(keys::by_seq(at.db, old.seq));
        if let Some(partition) = keys::partition_of(at.db, &at.id) {
            self.overlay.delete(keys::by_partition(at.db, partition, old.seq));
        }
        let counters = &mut self.db(at.db)?.counters;
        take(count(counters, old.deleted), 1, at.db)?;
        take(&mut counters.bytes, length(&old.json), at.db)
    }

    fn local(&mut self, asker: Asker, op: &LocalEdit) -> Result<Outcome, Error> {
        if let Some(refusal) = self.refusal(&op.doc)? {
            return Ok(refusal);
        }
        let key = Key::Local(op.doc.db, op.doc.id.clone()).encode();
        let old = decoded(&key, self.overlay.get(&key)?, LocalRecord::decode)?;
        let mut requests = old.as_ref().map(|old| old.requests.clone()).unwrap_or_default();
        if let Some((_, counter)) = requests.iter().find(|(known, _)| *known == asker.request) {
            return Ok(local_written(*counter));
        }
        if asker.retry && requests.len() >= LOCAL_REQUESTS_MAX {
            return Ok(Outcome::Forgotten);
        }
        let current = old.filter(|old| old.live).map(|old| old.counter);
        if current.is_none() && op.json.is_none() {
            return Ok(Outcome::NotFound { deleted: false });
        }
        // A missing document counts as 0-0, which is what its deletion answered.
        if op.parent.is_some_and(|parent| parent != current.unwrap_or(0)) {
            return Ok(Outcome::Conflict);
        }
        // As CouchDB numbers them: one more than the revision named, from one when none is.
        let counter = if op.json.is_some() { op.parent.unwrap_or(0) + 1 } else { 0 };
        requests.push((asker.request, counter));
        if requests.len() > LOCAL_REQUESTS_MAX {
            requests.remove(0);
        }
        let json = op.json.clone().unwrap_or_default();
        self.overlay.put(key, LocalRecord { counter, live: op.json.is_some(), requests, json }.encode());
        Ok(local_written(counter))
    }

    /// Marks the database and takes back what this batch did to it; what earlier batches wrote is left to
    /// [`sweep`](super::sweep), since it may be more than fits one batch.
    fn drop_db(&mut self, uid: DbUid) -> Result<Outcome, Error> {
        let db = self.db(uid)?;
        if !db.dropped {
            db.dropped = true;
            db.changed = true;
            self.overlay.put(Key::Dropped(uid).encode(), Bytes::new());
        }
        Ok(Outcome::Done)
    }

    fn adopt(&mut self, version: u64, slots: &[Slot]) -> Result<Outcome, Error> {
        let mut owned = slots.to_vec();
        owned.sort_unstable();
        owned.dedup();
        let new = Slots { version, owned };
        let known = self.slots()?;
        if *known == new {
            return Ok(Outcome::Done);
        }
        if known.version >= version {
            return Ok(Outcome::NotOwner { version: known.version });
        }
        self.overlay.put(slots_key(), record::encode(&new));
        self.known.slots = Some(new);
        Ok(Outcome::Done)
    }

    /// Why a write at `at` must not even be looked at, if so.
    fn refusal(&mut self, at: &Address) -> Result<Option<Outcome>, Error> {
        if self.db(at.db)?.dropped {
            return Ok(Some(Outcome::Dropped));
        }
        if at.db.is_system() {
            return Ok(None);
        }
        let slots = self.slots()?;
        let foreign = slots.owned.binary_search(&at.slot).is_err();
        Ok(foreign.then_some(Outcome::NotOwner { version: slots.version }))
    }

    fn db(&mut self, uid: DbUid) -> Result<&mut Db, Error> {
        match self.known.dbs.entry(uid) {
            std::collections::btree_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::btree_map::Entry::Vacant(vacant) => {
                let (counters, dropped) = (counters(self.reader, uid)?, is_dropped(self.reader, uid)?);
                Ok(vacant.insert(Db {
                    counters,
                    dropped,
                    changed: false,
                    counted: false,
                    indexes: None,
                    validators: None,
                }))
            }
        }
    }

    fn next_seq(&mut self, uid: DbUid) -> Result<Seq, Error> {
        let db = self.db(uid)?;
        db.changed = true;
        db.counters.seq.0 += 1;
        Ok(db.counters.seq)
    }

    fn slots(&mut self) -> Result<&Slots, Error> {
        match &mut self.known.slots {
            Some(known) => Ok(known),
            unknown => Ok(unknown.insert(slots(self.reader)?)),
        }
    }
}

/// The slots the shard owns; none, at version 0, before it adopted any.
pub fn slots(reader: &dyn Read) -> Result<Slots, Error> {
    let key = slots_key();
    Ok(decoded(&key, reader.get(&key)?, |value| record::decode(value))?.unwrap_or_default())
}

fn slots_key() -> Bytes {
    Key::Meta("slots".into()).encode()
}

fn count(counters: &mut DbCounters, deleted: bool) -> &mut u64 {
    if deleted { &mut counters.deleted } else { &mut counters.docs }
}

/// A counter below zero would mean that the documents and the counters are not of the same moment.
fn take(counter: &mut u64, amount: u64, db: DbUid) -> Result<(), Error> {
    *counter = counter
        .checked_sub(amount)
        .ok_or_else(|| damaged(&Key::Counters(db).encode(), "it counts less than there is"))?;
    Ok(())
}

fn length(json: &Bytes) -> u64 {
    json.len() as u64
}

/// Local documents have no place in the stream: seq 0.
fn local_written(counter: u64) -> Outcome {
    let hash = RevHash::Text(counter.to_string().into());
    Outcome::Written { rev: Rev { generation: 0, hash }, seq: Seq(0) }
}
