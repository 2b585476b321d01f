//! Takes into an index what came of mapping some documents.

use bytes::Bytes;
use common::ids::{DbUid, DocId, Seq};
use common::mango::{Value, key};
use common::view::{Signature, row_place};
use serde_json::value::RawValue;

use super::super::{decoded, record};
use super::{Note, Row, State, note_key, rows_prefix, state_key};
use crate::storage::{Batch, Error, Read};

/// Longest key of a row, in bytes that sort. An engine's keys must hold it, and the document's id.
const KEY_BYTES_MAX: usize = 48 << 10;

/// What came of mapping one document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapped {
    /// Its rows, in the order of the maps and as they were emitted.
    pub rows: Vec<MappedRow>,
    /// Whether a function failed on it, or a row could not be kept.
    pub skipped: bool,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedRow {
    /// The number of the map.
    pub map: u32,
    /// Bytes of the key that sort.
    pub sorts_as: Bytes,
    /// JSON text.
    pub key: Box<str>,
    /// JSON text.
    pub value: Box<str>,
}

/// A row whose key no index can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key it emitted is longer than an index can hold, or nested too deep")]
pub struct TooLong;

/// Reads what a map function emitted: `[[key,value],…]`.
pub fn rows_of(map: u32, emitted: &str) -> Result<Vec<MappedRow>, TooLong> {
    let pairs: Vec<(&RawValue, &RawValue)> = serde_json::from_str(emitted).map_err(|_| TooLong)?;
    let row = |(key, value): (&RawValue, &RawValue)| {
        let parsed = Value::parse(key.get().as_bytes()).map_err(|_| TooLong)?;
        let sorts_as = key::of(&parsed);
        if sorts_as.len() > KEY_BYTES_MAX {
            return Err(TooLong);
        }
        Ok(MappedRow { map, sorts_as: sorts_as.into(), key: key.get().into(), value: value.get().into() })
    };
    pairs.into_iter().map(row).collect()
}

/// The batch that takes a step in, and how far the index is behind it.
pub fn fold(
    reader: &dyn Read,
    (db, signature, by_partition): (DbUid, Signature, bool),
    state: &State,
    mapped: Vec<(DocId, Mapped)>,
    (seq, purges): (Seq, u64),
) -> Result<(Batch, State), Error> {
    let mut state = State { seq, purges, ..state.clone() };
    let mut batch = Batch::default();
    for (id, Mapped { rows, skipped }) in mapped {
        let at = note_key(db, signature, &id);
        let old: Option<Note> = decoded(&at, reader.get(&at)?, |value| record::decode(value))?;
        let was_noted = old.is_some();
        let old = old.unwrap_or_default();
        for (number, (map, before_id)) in (0u32..).zip(&old.rows) {
            batch.changes.push((row_key(db, signature, *map, before_id, &id, number), None));
            if let Some(count) = state.counts.get_mut(*map as usize) {
                *count = count.saturating_sub(1);
            }
        }
        state.skipped = state.skipped.saturating_sub(u64::from(old.skipped)) + u64::from(skipped);
        let partition = if by_partition { id.as_str().split_once(':').map(|(name, _)| name) } else { None };
        let mut note = Note { rows: Vec::with_capacity(rows.len()), skipped };
        for (number, MappedRow { map, sorts_as, key, value }) in (0u32..).zip(rows) {
            let place = row_place(partition, &sorts_as, &id, number);
            let key_bytes = before_id(partition, &sorts_as);
            let row = Row { key_bytes: u32::try_from(key_bytes).unwrap_or(u32::MAX), key, value };
            note.rows.push((map, Bytes::copy_from_slice(&place[..key_bytes])));
            let whole = [&rows_prefix(db, signature, map)[..], &place].concat();
            batch.changes.push((whole.into(), Some(record::encode(&row))));
            let at = map as usize;
            if state.counts.len() <= at {
                state.counts.resize(at + 1, 0);
            }
            state.counts[at] += 1;
        }
        if !note.rows.is_empty() || skipped {
            batch.changes.push((at, Some(record::encode(&note))));
        } else if was_noted {
            batch.changes.push((at, None));
        }
    }
    batch.changes.push((state_key(db, signature), Some(record::encode(&state))));
    Ok((batch, state))
}

/// How many bytes of a place stand before the document's id.
fn before_id(partition: Option<&str>, sorts_as: &[u8]) -> usize {
    let mut prefix = Vec::new();
    if let Some(partition) = partition {
        common::view::push_id(&mut prefix, partition);
    }
    prefix.len() + sorts_as.len()
}

fn row_key(db: DbUid, signature: Signature, map: u32, before_id: &[u8], id: &DocId, number: u32) -> Bytes {
    [&rows_prefix(db, signature, map)[..], &row_place(None, before_id, id, number)].concat().into()
}
