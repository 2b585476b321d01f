//! Makes the streams of partitions in a store that was written before there were any.
//!
//! Done once, when a replica opens, before anything reads or writes: what is folded in later keeps them itself. May be
//! cut off anywhere and begun again.

use bytes::Bytes;

use super::keys::{self, Key};
use super::record::{self, DocRecord};
use super::{damaged, decoded, key_of, scan};
use crate::storage::{Batch, Error, Read};

/// Says that the streams of partitions are whole. Part of snapshots, since they are whole where one was installed.
const WHOLE: &str = "partition-streams";
/// Rows in one batch.
const ROWS_MAX: usize = 10_000;

/// Gives `apply` batches, one after the other, that make the streams of partitions whole; none if they are. How many
/// rows that made.
pub fn complete(reader: &dyn Read, mut apply: impl FnMut(Batch) -> Result<(), Error>) -> Result<u64, Error> {
    let whole = Key::Meta(WHOLE.into()).encode();
    if reader.get(&whole)?.is_some() {
        return Ok(0);
    }
    let mut batch = Batch::default();
    let mut made = 0;
    for pair in scan(reader, &keys::all_dbs()) {
        let (key, value) = pair?;
        let Key::Doc(db, id) = key_of(&key)? else { continue };
        let Some(partition) = keys::partition_of(db, &id) else { continue };
        let record = decoded(&key, Some(value), DocRecord::decode)?.ok_or_else(|| damaged(&key, "it has no value"))?;
        let place = keys::by_partition(db, partition, record.seq);
        let row = record.seq_row(id.clone()).map_err(|record::Unknown| damaged(&key, "its tree cannot be read"))?;
        batch.changes.push((place, Some(record::encode(&row))));
        made += 1;
        if batch.changes.len() >= ROWS_MAX {
            apply(std::mem::take(&mut batch))?;
        }
    }
    batch.changes.push((whole, Some(Bytes::from_static(&[1]))));
    apply(batch)?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use common::command::EditKind;
    use common::ids::Index;

    use super::*;
    use crate::store::testing::{Map, address, command, db, edit};

    #[test]
    fn a_store_of_an_earlier_version_gets_the_streams_it_would_have() {
        let mut store = Map::owning_all();
        let names = ["p:1", "p:2", "q:1", "plain", "_design/p:x", "p:"];
        let put =
            |(n, name): (u128, &&str)| command(n, edit(address(db(n % 2), name), None, EditKind::Update, "{}", 1000));
        store.fold(Index(1), &(1..).zip(&names).map(put).collect::<Vec<_>>());
        let wanted = store.clone();
        let is_place = |key: &Bytes| matches!(Key::decode(key), Ok(Key::ByPartition(..)));
        assert_eq!(wanted.0.keys().filter(|key| is_place(key)).count(), 3);
        store.0.retain(|key, _| !is_place(key));
        let before = store.clone();
        let made = complete(&before, |batch| {
            store.apply(batch);
            Ok(())
        });
        assert_eq!(made.expect("a sound store"), 3);
        let again = complete(&store.clone(), |_| panic!("they are whole"));
        assert_eq!(again.expect("a sound store"), 0);
        store.0.remove(&Key::Meta(WHOLE.into()).encode()).expect("marked");
        assert_eq!(store, wanted);
    }
}
