//! The store: the fold of a shard's log into documents, and what can be asked of it.
//!
//! Pure and synchronous over [`storage::Read`](crate::storage::Read): commands go in, a batch and outcomes come out;
//! the caller applies the batch. Equal logs give equal stores on every replica. Nothing here waits, spawns, looks at
//! a clock or draws a random number. An error is always the storage's: the replica that sees one must stop.

pub mod apply;
pub mod changes;
pub mod export;
mod find;
pub mod keys;
mod overlay;
mod partitions;
mod range;
pub mod read;
pub mod record;
pub mod snapshot;
mod sweep;
mod tally;
pub mod uploads;
mod validators;
pub mod views;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::ops::Bound;

use bytes::Bytes;
use common::ids::{DbUid, Seq};
use common::mango::kept::ShardIndexes;
use common::query::DbCounters;

use crate::storage::{Error, Pairs, Read};
pub use apply::{Apply, Folded, Known};
pub use changes::{Filter, changes, filtered, with_subjects};
use keys::{Key, Span};
pub use partitions::complete;
pub use read::read;
use record::DocRecord;
pub use sweep::sweep;

/// Bytes of rows one answer carries at most, the last row excepted. Larger answers hold more memory on both sides of
/// the wire; smaller ones cost round trips.
pub const PAGE_BYTES_MAX: usize = 4 << 20;

/// Raft's opaque record of what was applied last, as it went in with its batch; `None` in a new store.
pub fn applied(reader: &dyn Read) -> Result<Option<Bytes>, Error> {
    reader.get(&Key::Applied.encode())
}

/// Last seq of a database.
pub fn last_seq(reader: &dyn Read, db: DbUid) -> Result<Seq, Error> {
    Ok(counters(reader, db)?.seq)
}

/// Whether a database was dropped.
pub fn dropped(reader: &dyn Read, db: DbUid) -> Result<bool, Error> {
    is_dropped(reader, db)
}

fn is_dropped(reader: &dyn Read, db: DbUid) -> Result<bool, Error> {
    Ok(reader.get(&Key::Dropped(db).encode())?.is_some())
}

fn counters(reader: &dyn Read, db: DbUid) -> Result<DbCounters, Error> {
    let key = Key::Counters(db).encode();
    Ok(decoded(&key, reader.get(&key)?, |value| record::decode(value))?.unwrap_or_default())
}

/// What is known of the indexes of a database; nothing, at version 0, before it has any.
fn indexes(reader: &dyn Read, db: DbUid) -> Result<ShardIndexes, Error> {
    let key = Key::Indexes(db).encode();
    Ok(decoded(&key, reader.get(&key)?, |value| record::decode(value))?.unwrap_or_default())
}

fn doc(reader: &dyn Read, key: &[u8]) -> Result<Option<DocRecord>, Error> {
    decoded(key, reader.get(key)?, DocRecord::decode)
}

fn decoded<T>(
    key: &[u8],
    value: Option<Bytes>,
    decode: impl FnOnce(&Bytes) -> Result<T, record::Unknown>,
) -> Result<Option<T>, Error> {
    value.map(|value| decode(&value).map_err(|record::Unknown| damaged(key, "its record cannot be read"))).transpose()
}

fn key_of(bytes: &[u8]) -> Result<Key, Error> {
    Key::decode(bytes).map_err(|keys::Unknown| damaged(bytes, "it is no key of the store"))
}

fn scan<'a>(reader: &'a dyn Read, (low, high): &Span) -> Pairs<'a> {
    reader.scan(Bound::Included(low), Bound::Excluded(high), false)
}

/// An invariant of the store does not hold at `key`: the engine gave back something else than was put.
fn damaged(key: &[u8], what: &str) -> Error {
    let key = match Key::decode(key) {
        Ok(key) => key.to_string(),
        Err(keys::Unknown) => format!("{key:02x?}"),
    };
    // The store is not told where its engine lives; whoever logs this knows which replica it is.
    Error::Damaged { path: "this replica".into(), reason: format!("{what}: {key}") }
}
