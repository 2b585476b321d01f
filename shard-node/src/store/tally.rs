//! Counts documents in a range of ids.

use std::ops::Bound;

use common::query::{Counted, Tally};

use super::range::{document, scan};
use super::{PAGE_BYTES_MAX, keys};
use crate::storage::{Error, Read};

/// Documents counted in one step. Larger steps hold a thread for longer; smaller ones cost round trips.
const COUNTED_MAX: usize = 10_000;

/// One step of `tally`.
pub(crate) fn step(reader: &dyn Read, tally: &Tally) -> Result<Counted, Error> {
    let place = |text: &str| keys::doc_bound(tally.db, text);
    let (first, last) = (place(&tally.low), place(&tally.high));
    let after = tally.after.as_ref().map(|id| place(id.as_str()));
    let low = match &after {
        Some(after) if *after >= first => Bound::Excluded(&after[..]),
        _ => Bound::Included(&first[..]),
    };
    let (mut counted, mut read, mut at) = (Counted::default(), 0, None);
    for (passed, pair) in scan(reader, low, Bound::Excluded(&last), false).enumerate() {
        if passed >= COUNTED_MAX || read >= PAGE_BYTES_MAX {
            counted.resume = at;
            break;
        }
        let (id, record) = document(pair)?;
        read += record.json.len();
        if record.deleted {
            counted.deleted += 1;
        } else {
            counted.docs += 1;
            counted.bytes += record.json.len() as u64;
        }
        at = Some(id);
    }
    Ok(counted)
}
