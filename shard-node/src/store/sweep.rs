//! Clears away what dropped databases left.
//!
//! Done beside the log, each replica at its own pace: a dropped uid is refused everywhere, so nobody can tell how much
//! of it is left, and no batch of the log grows with the size of a database.

use super::keys::{self, Key};
use super::{damaged, key_of, scan};
use crate::storage::{Batch, Error, Read};

/// A batch that deletes up to `limit` keys of dropped databases; empty when nothing is left. Call it until then after
/// each start and each drop. Batches of the log may go in between reading and applying it, in any order.
pub fn sweep(reader: &dyn Read, limit: usize) -> Result<Batch, Error> {
    let mut batch = Batch::default();
    for note in scan(reader, &keys::all_dropped()) {
        let (key, _) = note?;
        let Key::Dropped(db) = key_of(&key)? else { return Err(damaged(&key, "it lies among the dropped databases")) };
        for span in [keys::uploads(db), keys::whole_db(db)] {
            for pair in scan(reader, &span) {
                if batch.changes.len() >= limit {
                    return Ok(batch);
                }
                batch.changes.push((pair?.0, None));
            }
        }
    }
    Ok(batch)
}
