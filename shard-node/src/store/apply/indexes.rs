//! Indexes are kept where documents are: an entry goes in, or out, in the batch of the document it is of.
//!
//! An index of documents that were there before is made by commands in the log, a bounded part with each; so is one
//! cleared away that is kept no longer. Every write keeps all entries of its document, also those that an index under
//! way would come to later: it makes the same ones again.

use bytes::Bytes;
use common::command::{Address, Outcome};
use common::ids::{DbUid, DocId};
use common::mango::index::of_ddoc;
use common::mango::kept::{Kept, ShardIndexes, Writer};

use super::Apply;
use super::noted::Noted;
use crate::storage::Error;
use crate::store::indexes;
use crate::store::keys::{self, Key};
use crate::store::range::document;
use crate::store::record::{self, DocRecord};

/// Documents taken into indexes with one command. More would delay the writes that come meanwhile.
const BUILT_MAX: usize = 500;
/// Bytes of JSON text looked at for it, the last document excepted.
const BUILT_BYTES_MAX: usize = 512 << 10;
/// Bytes of entries made with it, those of the last document excepted. There may be many indexes, and texts make long keys.
const BUILT_ENTRY_BYTES_MAX: usize = 2 << 20;
/// Entries cleared away with one command.
const CLEARED_MAX: usize = 2_000;

/// The indexes of a database, and what makes their entries.
pub(super) type Indexes = Noted<ShardIndexes, Writer>;

/// The keys of a document's entries.
fn entries(writer: &Writer, at: &Address, record: Option<&DocRecord>) -> Vec<(Bytes, usize)> {
    let Some(record) = record.filter(|record| !record.deleted) else { return Vec::new() };
    let keys = writer.keys(&at.id, &record.winner, &record.json).into_iter();
    keys.map(|(number, columns)| (entry(at.db, number, &columns, &at.id), columns.len())).collect()
}

fn entry(db: DbUid, number: u32, columns: &[u8], id: &DocId) -> Bytes {
    [&keys::entries(db, number).0[..], columns, id.as_str().as_bytes()].concat().into()
}

impl Apply<'_> {
    /// Moves a document's entries to where its new record has them, and notes the indexes and functions it defines.
    pub(super) fn index(
        &mut self,
        at: &Address,
        old: Option<&DocRecord>,
        new: Option<&DocRecord>,
    ) -> Result<(), Error> {
        if at.id.is_design() {
            self.define_validator(at, new)?;
        }
        let known = self.indexes(at.db)?;
        if at.id.is_design() {
            let live = new.filter(|new| !new.deleted);
            let definitions = live.map(|new| of_ddoc(&new.json)).unwrap_or_default();
            known.change(|known| known.define(at.id.as_str(), definitions));
            return Ok(());
        }
        if known.derived.is_empty() {
            return Ok(());
        }
        let (old, new) = (entries(&known.derived, at, old), entries(&known.derived, at, new));
        for (key, _) in old.iter().filter(|entry| !new.contains(entry)) {
            self.overlay.delete(key.clone());
        }
        // One that stays is written again: an index under way may not have come to it.
        for (key, columns_bytes) in new {
            self.overlay.put(key, record::encode_entry(columns_bytes));
        }
        Ok(())
    }

    pub(super) fn adopt_indexes(&mut self, uid: DbUid, version: u64, wanted: &[Kept]) -> Result<Outcome, Error> {
        let db = self.db(uid)?;
        if db.dropped {
            return Ok(Outcome::Dropped);
        }
        let empty = db.counters.docs == 0 && db.counters.deleted == 0;
        let indexes = self.indexes(uid)?;
        if indexes.known.version == version {
            indexes.change(|known| known.adopt(wanted, empty));
        }
        Ok(Outcome::Indexed { more: indexes.known.is_unfinished() })
    }

    pub(super) fn build_indexes(&mut self, uid: DbUid) -> Result<Outcome, Error> {
        if self.db(uid)?.dropped {
            return Ok(Outcome::Dropped);
        }
        let known = &self.indexes(uid)?.known;
        if let Some(number) = known.gone.first() {
            let number = *number;
            self.clear_index(uid, number)?;
        } else if let Some(first) = known.kept.iter().find(|kept| !kept.complete) {
            let from = first.upto.clone();
            self.build_from(uid, from)?;
        }
        Ok(Outcome::Indexed { more: self.indexes(uid)?.known.is_unfinished() })
    }

    /// Takes some documents behind `from` into all indexes that have come as far.
    fn build_from(&mut self, uid: DbUid, from: Option<DocId>) -> Result<(), Error> {
        let (mut low, high) = keys::docs(uid);
        if let Some(from) = &from {
            low = Key::Doc(uid, from.clone()).encode().to_vec();
            low.push(0);
        }
        let under_way = |kept: &common::mango::kept::KeptHere| !kept.complete && kept.upto == from;
        let writer = Writer::new(self.indexes(uid)?.known.kept.iter().filter(|kept| under_way(kept)));
        let (mut puts, mut passed, mut bytes, mut made) = (Vec::new(), 0, 0, 0);
        let (mut last, mut complete) = (from.clone(), true);
        for pair in self.overlay.scan(&(low, high)) {
            if passed >= BUILT_MAX || bytes >= BUILT_BYTES_MAX || made >= BUILT_ENTRY_BYTES_MAX {
                complete = false;
                break;
            }
            let (id, record) = document(pair)?;
            passed += 1;
            bytes += record.json.len();
            if !record.deleted {
                for (number, columns) in writer.keys(&id, &record.winner, &record.json) {
                    let key = entry(uid, number, &columns, &id);
                    made += key.len();
                    puts.push((key, columns.len()));
                }
            }
            last = Some(id);
        }
        for (key, columns_bytes) in puts {
            self.overlay.put(key, record::encode_entry(columns_bytes));
        }
        let indexes = self.indexes(uid)?;
        indexes.changed = true;
        for kept in indexes.known.kept.iter_mut().filter(|kept| under_way(kept)) {
            kept.upto.clone_from(&last);
            kept.passed += passed as u64;
            kept.complete = complete;
        }
        indexes.known.version += u64::from(complete);
        Ok(())
    }

    /// Takes away some entries of an index that is kept no longer.
    fn clear_index(&mut self, uid: DbUid, number: u32) -> Result<(), Error> {
        let span = keys::entries(uid, number);
        let left: Result<Vec<Bytes>, Error> =
            self.overlay.scan(&span).take(CLEARED_MAX).map(|pair| Ok(pair?.0)).collect();
        let left = left?;
        let is_last = left.len() < CLEARED_MAX;
        for key in left {
            self.overlay.delete(key);
        }
        if is_last {
            let indexes = self.indexes(uid)?;
            indexes.known.gone.retain(|gone| *gone != number);
            indexes.changed = true;
        }
        Ok(())
    }

    fn indexes(&mut self, uid: DbUid) -> Result<&mut Indexes, Error> {
        let reader = self.reader;
        let db = self.db(uid)?;
        match &mut db.indexes {
            Some(known) => Ok(known),
            unknown => Ok(unknown.insert(Indexes::new(indexes(reader, uid)?, |known| Writer::new(&known.kept)))),
        }
    }
}
