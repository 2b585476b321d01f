//! Indexes of views: what is kept of them in the engine, how they are brought up to date, and how they are read.
//!
//! Derived from the documents, so neither in the log nor in snapshots; each replica makes its own, when it is asked.
//! An index is a state, a note for each document of the rows it has, and the rows. All of a step goes in with one
//! batch, the state included, so that a crash leaves the index at some earlier step. The functions are not run here:
//! [`pending`] says which documents are to be mapped next, [`fold`] takes in what came of it.
//!
//! One step at a time must be under way for an index; that is the caller's to see to.

mod fold;
mod pending;
mod read;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use common::ids::{DbUid, DocId, Seq};
use common::view::Signature;
use serde::{Deserialize, Serialize};

use super::keys::{self, Key};
use super::record::{self, Record};
use super::{damaged, decoded, scan};
use crate::storage::{Batch, Error, Read};
pub use fold::{Mapped, MappedRow, TooLong, fold, rows_of};
pub use pending::{Lost, Pending, PendingDoc, pending, purges};
pub use read::{Raw, groups, rows};

/// What stands behind a signature: the state, or a document's note, or a row.
const STATE: u8 = 0;
const DOCUMENT: u8 = 1;
const ROW: u8 = 2;

/// How far an index is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Every change up to here is in it.
    pub seq: Seq,
    /// Every purge before this number is in it.
    pub purges: u64,
    /// For each map, how many rows it has.
    pub counts: Vec<u64>,
    /// Documents left out because a function failed on them, or took too long.
    pub skipped: u64,
}

impl Record for State {}

/// A document's note: for each of its rows the number of the map and the bytes before the document's id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    rows: Vec<(u32, Bytes)>,
    skipped: bool,
}

impl Record for Note {}

/// A row as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    /// Bytes of its place before the document's id.
    key_bytes: u32,
    key: Box<str>,
    value: Box<str>,
}

impl Record for Row {}

/// How far the index is; `None` if there is none (any more): what may be left of it must be cleared first.
pub fn state(reader: &dyn Read, db: DbUid, signature: Signature) -> Result<Option<State>, Error> {
    let key = state_key(db, signature);
    decoded(&key, reader.get(&key)?, |value| record::decode(value))
}

/// A batch that clears away some of an index, its state first; empty when nothing is left.
pub fn clear(reader: &dyn Read, db: DbUid, signature: Signature, limit: usize) -> Result<Batch, Error> {
    let mut batch = Batch::default();
    for pair in scan(reader, &keys::view(db, signature)).take(limit) {
        batch.changes.push((pair?.0, None));
    }
    Ok(batch)
}

/// Indexes without a state, of all databases: what is left of them is in nobody's way but takes room.
pub fn leftovers(reader: &dyn Read) -> Result<Vec<(DbUid, Signature)>, Error> {
    let (mut low, high) = keys::all_dbs();
    let mut found = Vec::new();
    // From database to database, whatever lies in them.
    while let Some(pair) = scan(reader, &(low.clone(), high.clone())).next() {
        let (key, _) = pair?;
        let db = super::key_of(&key)?.db().ok_or_else(|| damaged(&key, "it lies among databases"))?;
        for signature in signatures(reader, db)? {
            if state(reader, db, signature)?.is_none() {
                found.push((db, signature));
            }
        }
        low = keys::whole_db(db).1;
    }
    Ok(found)
}

/// The signatures of the indexes there are, those that are only left over included.
pub fn signatures(reader: &dyn Read, db: DbUid) -> Result<Vec<Signature>, Error> {
    let (mut low, high) = keys::views(db);
    let mut found = Vec::new();
    // From index to index, whatever lies in them.
    while let Some(pair) = scan(reader, &(low.clone(), high.clone())).next() {
        let (key, _) = pair?;
        let Key::View(_, signature, _) = super::key_of(&key)? else { return Err(damaged(&key, "it lies among views")) };
        found.push(signature);
        low = keys::view(db, signature).1;
    }
    Ok(found)
}

pub(super) fn state_key(db: DbUid, signature: Signature) -> Bytes {
    Key::View(db, signature, Bytes::from_static(&[STATE])).encode()
}

fn note_key(db: DbUid, signature: Signature, id: &DocId) -> Bytes {
    Key::View(db, signature, [&[DOCUMENT], id.as_str().as_bytes()].concat().into()).encode()
}

/// What all rows of a map begin with.
fn rows_prefix(db: DbUid, signature: Signature, map: u32) -> Vec<u8> {
    [&keys::view(db, signature).0[..], &[ROW], &map.to_be_bytes()].concat()
}
