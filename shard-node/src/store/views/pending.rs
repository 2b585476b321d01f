//! What an index of views has not taken in yet, a bounded part at a time.

use std::collections::BTreeMap;
use std::ops::Bound;

use common::attachment::stubs;
use common::document;
use common::ids::{DbUid, DocId, Seq};
use common::rev::Rev;
use common::view::Group;

use super::super::keys::{self, Key};
use super::super::range::{self, attachments};
use super::super::record::{self, DocRecord, PurgeRecord, Purges, SeqRow};
use super::super::{counters, damaged, decoded, doc, is_dropped, key_of};
use super::State;
use crate::storage::{Error, Read};

/// Documents in a step. Larger steps hold more memory and the threads of functions longer, smaller ones cost batches.
pub(super) const DOCS_MAX: usize = 500;
/// Changes passed over in a step, those of design documents and deletions included.
const PASSED_MAX: usize = 2_000;
/// Bytes of text in a step, the last document excepted.
const BYTES_MAX: usize = 2 << 20;

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The documents.
    pub docs: Vec<PendingDoc>,
    /// How far the index is behind this step.
    pub seq: Seq,
    /// The same for purges.
    pub purges: u64,
    /// Whether nothing is left behind it.
    pub complete: bool,
}

/// A document that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingDoc {
    /// Its id.
    pub id: DocId,
    /// Its text, as it is mapped; `None` if it has no rows any more.
    pub text: Option<Box<str>>,
}

/// The next step from `state`, at one point in time that `reader` shows. `Err` in the inner result says where the stream
/// cannot be followed any more: what was purged meanwhile is forgotten, and the index must be made anew. `None` if the
/// database was dropped.
pub fn pending(
    reader: &dyn Read,
    db: DbUid,
    group: &Group,
    state: &State,
) -> Result<Option<Result<Pending, Lost>>, Error> {
    if is_dropped(reader, db)? {
        return Ok(None);
    }
    let mut docs = BTreeMap::new();
    let Some(purged) = purged(reader, db, state, &mut docs)? else { return Ok(Some(Err(Lost))) };
    let last = counters(reader, db)?.seq;
    let (mut seq, mut bytes, mut passed, mut to_the_end) = (state.seq, 0, 0, true);
    if state.seq < last {
        let (low, high) = (keys::by_seq(db, state.seq), keys::by_seq(db, last));
        for pair in range::scan(reader, Bound::Excluded(&low), Bound::Included(&high), false) {
            if docs.len() >= DOCS_MAX || bytes >= BYTES_MAX || passed >= PASSED_MAX {
                to_the_end = false;
                break;
            }
            let (key, value) = pair?;
            passed += 1;
            let Key::BySeq(_, at) = key_of(&key)? else { return Err(damaged(&key, "it lies in the stream")) };
            seq = at;
            let row = decoded(&key, Some(value), |value| record::decode::<SeqRow>(value))?;
            let SeqRow { id, deleted, .. } = row.ok_or_else(|| damaged(&key, "its row is gone"))?;
            if id.is_design() && !group.include_design {
                continue;
            }
            let text = match deleted {
                true => None,
                false => {
                    let record = doc(reader, &Key::Doc(db, id.clone()).encode())?;
                    let record = record.ok_or_else(|| damaged(&key, "its document is not there"))?;
                    Some(text(db, &id, &record, group)?)
                }
            };
            bytes += text.as_ref().map_or(0, |text| text.len());
            docs.insert(id, text);
        }
    }
    let seq = if to_the_end { last.max(seq) } else { seq };
    let docs = docs.into_iter().map(|(id, text)| PendingDoc { id, text }).collect();
    // Purges move no stream: with some left there is more to do, also at its end.
    Ok(Some(Ok(Pending { docs, seq, purges: purged.upto, complete: to_the_end && purged.all })))
}

/// The stream cannot be followed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

/// The number of the next purge: every one before it was made.
pub fn purges(reader: &dyn Read, db: DbUid) -> Result<u64, Error> {
    Ok(known_purges(reader, db)?.next)
}

fn known_purges(reader: &dyn Read, db: DbUid) -> Result<Purges, Error> {
    let key = Key::Purges(db).encode();
    let known: Option<Purges> = decoded(&key, reader.get(&key)?, |value| record::decode(value))?;
    Ok(known.unwrap_or_default())
}

/// How far purges were looked at.
struct Purged {
    /// The number of the next one.
    upto: u64,
    /// Whether that is all there are.
    all: bool,
}

/// Notes the documents that were purged as a whole, [`DOCS_MAX`] purges at most. `None` if some are forgotten.
fn purged(
    reader: &dyn Read,
    db: DbUid,
    state: &State,
    docs: &mut BTreeMap<DocId, Option<Box<str>>>,
) -> Result<Option<Purged>, Error> {
    let Purges { first, next } = known_purges(reader, db)?;
    // What was purged before the index was begun is not in it.
    if state.seq == Seq(0) {
        return Ok(Some(Purged { upto: next, all: true }));
    }
    if state.purges < first {
        return Ok(None);
    }
    let upto = next.min(state.purges.saturating_add(DOCS_MAX as u64));
    for number in state.purges..upto {
        let key = Key::Purge(db, number).encode();
        let purge: Option<PurgeRecord> = decoded(&key, reader.get(&key)?, |value| record::decode(value))?;
        let purge = purge.ok_or_else(|| damaged(&key, "a purge that is remembered is not there"))?;
        // What is left of a document stands in the stream again.
        if doc(reader, &Key::Doc(db, purge.id.clone()).encode())?.is_none() {
            docs.insert(purge.id, None);
        }
    }
    Ok(Some(Purged { upto, all: upto == next }))
}

/// A document as map functions see it.
fn text(db: DbUid, id: &DocId, record: &DocRecord, group: &Group) -> Result<Box<str>, Error> {
    let unreadable = |record::Unknown| damaged(&Key::Doc(db, id.clone()).encode(), "its tree cannot be read");
    let mut extra: Vec<(&str, String)> = Vec::new();
    if !record.single {
        let tree = record.tree().map_err(unreadable)?;
        for (name, revs) in [("_conflicts", tree.conflicts()), ("_deleted_conflicts", tree.deleted_conflicts())] {
            if !revs.is_empty() {
                extra.push((name, list(&revs)));
            }
        }
    }
    if let Some(stubs) = stubs(&attachments(db, id, record)?) {
        extra.push(("_attachments", stubs));
    }
    if group.local_seq {
        extra.push(("_local_seq", record.seq.0.to_string()));
    }
    let extra: Vec<(&str, &str)> = extra.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut out = Vec::with_capacity(record.json.len() + 128);
    document::render(&mut out, id.as_str(), &record.winner, false, &extra, &record.json);
    let out = String::from_utf8(out).map_err(|_| damaged(&Key::Doc(db, id.clone()).encode(), "its body is no text"))?;
    Ok(out.into())
}

fn list(revs: &[Rev]) -> String {
    let texts: Vec<String> = revs.iter().map(ToString::to_string).collect();
    serde_json::Value::from(texts).to_string()
}
