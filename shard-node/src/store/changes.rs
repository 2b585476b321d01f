//! Pages of a database's stream of changes, or of that of one of its partitions.
//!
//! The reader may be the living engine: the page then shows the stream as it was when its last seq was read, less
//! the documents that have moved on since; those stand further ahead, where the next page finds them.

mod filter;

use std::ops::Bound;

use bytes::Bytes;
use common::change::{Change, ChangesPage, ChangesRequest, PENDING_COUNTED_MAX};
use common::ids::{DbUid, Seq};
use common::partition::Partition;
use common::query::{DbCounters, RevBody, Revs};

use super::keys::{self, Key};
use super::range::attachments;
use super::read;
use super::record::{self, DocRecord, SeqRow};
use super::{PAGE_BYTES_MAX, counters, damaged, decoded, doc, is_dropped, key_of};
use crate::storage::{Error, Pairs, Read};
pub use filter::Filter;

/// Rows put to a filter function in one page: it takes much longer than a selector.
const FUNCTION_ROWS_MAX: usize = 300;

/// One page of changes. Answers at once, also with nothing: waiting is the caller's.
pub fn changes(reader: &dyn Read, request: &ChangesRequest) -> Result<ChangesPage, Error> {
    filtered(reader, request, None)
}

/// The same, of rows put to `filter`: that of the request's selector.
pub fn filtered(reader: &dyn Read, request: &ChangesRequest, filter: Option<&Filter>) -> Result<ChangesPage, Error> {
    Ok(with_subjects(reader, request, filter)?.0)
}

/// The same, with the leaves that a filter function is to be asked about: for each row those of the request.
pub fn with_subjects(
    reader: &dyn Read,
    request: &ChangesRequest,
    filter: Option<&Filter>,
) -> Result<(ChangesPage, Vec<Vec<RevBody>>), Error> {
    let page = page(reader, request, filter);
    // Asked last: what a drop and the sweep behind it did to a page meanwhile, an error included, is of no account.
    if is_dropped(reader, request.db)? {
        let page = ChangesPage { rows: Vec::new(), more: false, last_seq: Seq(0), pending: 0, dropped: true };
        return Ok((page, Vec::new()));
    }
    page
}

fn page(
    reader: &dyn Read,
    request: &ChangesRequest,
    filter: Option<&Filter>,
) -> Result<(ChangesPage, Vec<Vec<RevBody>>), Error> {
    let counters = counters(reader, request.db)?;
    let partition = request.partition.as_ref();
    let stream = Stream { reader, db: request.db, partition, counters, descending: request.descending, filter };
    let mut limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    if request.function.is_some() {
        limit = limit.min(FUNCTION_ROWS_MAX);
    }
    let mut subjects = Vec::new();
    let (mut rows, mut more, mut bytes) = (Vec::new(), false, 0);
    for pair in stream.behind(request.since) {
        let (key, value) = pair?;
        if rows.len() >= limit || bytes >= PAGE_BYTES_MAX {
            more = true;
            break;
        }
        if let Some((change, looked_at, leaves)) = stream.change(request, &key, value)? {
            // What is looked at costs as much as what is sent, and a page must come to its end.
            bytes += size(&change).max(looked_at);
            rows.push(change);
            if request.function.is_some() {
                subjects.push(leaves);
            }
        }
    }
    let at = rows.last().map_or(request.since, |row| row.seq);
    let pending = match (more, request.count_pending) {
        (false, _) => 0,
        (true, true) => stream.count(request.since, at, rows.len())?,
        (true, false) => stream.most(at),
    };
    Ok((ChangesPage { rows, more, last_seq: counters.seq, pending, dropped: false }, subjects))
}

/// About what the row takes on the wire.
fn size(change: &Change) -> usize {
    let rev = 24;
    let (attachment, json) = (128, change.json.as_ref().map_or(0, Bytes::len));
    change.id.as_str().len() + json + change.leaves.len() * rev + change.attachments.len() * attachment
}

/// A row, how many bytes of bodies were looked at for it, and the leaves for a filter function.
type Found = (Change, usize, Vec<RevBody>);

/// One database's stream, or that of one of its partitions, seen in one direction.
struct Stream<'a> {
    reader: &'a dyn Read,
    db: DbUid,
    partition: Option<&'a Partition>,
    counters: DbCounters,
    descending: bool,
    filter: Option<&'a Filter>,
}

impl<'a> Stream<'a> {
    /// What stands behind `since`, up to the last seq.
    fn behind(&self, since: Seq) -> Pairs<'a> {
        let last = self.counters.seq;
        // Between two ends that leave both out lies nothing when they meet; engines may refuse or panic at that.
        let empty = if self.descending { since.0 <= 1 } else { since >= last };
        if empty {
            return Box::new(std::iter::empty());
        }
        let key = |seq| match self.partition {
            Some(partition) => keys::by_partition(self.db, partition.as_str(), seq),
            None => keys::by_seq(self.db, seq),
        };
        if self.descending {
            let (low, high) = (key(Seq(1)), key(Seq(since.0.min(last.0.saturating_add(1)))));
            self.reader.scan(Bound::Included(&low), Bound::Excluded(&high), true)
        } else {
            let (low, high) = (key(since), key(last));
            self.reader.scan(Bound::Excluded(&low), Bound::Included(&high), false)
        }
    }

    /// The row at `key`, how many bytes of bodies were looked at for it, and the leaves for a filter function; `None` if
    /// its document has moved on, or is gone, since the row was read.
    fn change(&self, request: &ChangesRequest, key: &[u8], value: Bytes) -> Result<Option<Found>, Error> {
        let (Key::BySeq(_, seq) | Key::ByPartition(.., seq)) = key_of(key)? else {
            return Err(damaged(key, "it lies in the stream"));
        };
        let row = decoded(key, Some(value), |value| record::decode::<SeqRow>(value))?;
        let SeqRow { id, mut leaves, deleted } = row.ok_or_else(|| damaged(key, "its row is gone"))?;
        if !request.all_leaves {
            leaves.truncate(1);
        }
        let mut change = Change { seq, id, leaves, deleted, json: None, attachments: Vec::new(), matching: None };
        if !request.bodies && self.filter.is_none() && request.function.is_none() {
            return Ok(Some((change, 0, Vec::new())));
        }
        let record = match doc(self.reader, &Key::Doc(self.db, change.id.clone()).encode())? {
            Some(record) if record.seq == seq => record,
            Some(record) if record.seq > seq => return Ok(None),
            // Purged since the row was read; then the row is gone as well.
            None if self.reader.get(key)?.is_none() => return Ok(None),
            Some(_) | None => return Err(damaged(key, "its document is older")),
        };
        let (mut looked_at, mut leaves) = (0, Vec::new());
        if request.function.is_some() {
            let Some(found) = self.leaves(request, &change, &record)? else { return Ok(None) };
            looked_at = found.iter().map(|leaf| leaf.json.len()).sum();
            leaves = found;
        }
        if let Some(filter) = self.filter {
            let Some(put) = filter.put(self.reader, self.db, &change, &record)? else { return Ok(None) };
            looked_at = put.looked_at;
            change.matching = Some(put.matching);
        }
        if change.is_passed_over() {
            change.leaves = Vec::new();
        } else if request.bodies {
            change.attachments = attachments(self.db, &change.id, &record)?;
            change.json = Some(record.json);
        }
        Ok(Some((change, looked_at, leaves)))
    }

    /// The leaves that a function is to be asked about; `None` if the document has moved on.
    fn leaves(
        &self,
        request: &ChangesRequest,
        change: &Change,
        record: &DocRecord,
    ) -> Result<Option<Vec<RevBody>>, Error> {
        if !request.all_leaves || record.single {
            let (rev, deleted, json) = (record.winner.clone(), record.deleted, record.json.clone());
            let attachments = attachments(self.db, &change.id, record)?;
            return Ok(Some(vec![RevBody { rev, deleted, json, attachments }]));
        }
        let answer = read::document(self.reader, self.db, &change.id, &Revs::Leaves, false)?;
        Ok(answer.filter(|doc| doc.seq == change.seq).map(|doc| doc.found))
    }

    /// How many seqs there are behind `at`.
    fn seqs(&self, at: Seq) -> u64 {
        let last = self.counters.seq;
        if self.descending { at.0.min(last.0 + 1).saturating_sub(1) } else { last.0.saturating_sub(at.0) }
    }

    /// As many rows as may stand behind `at`, and more than that cannot.
    fn most(&self, at: Seq) -> u64 {
        self.seqs(at).min(self.counters.docs + self.counters.deleted)
    }

    /// How many rows stand behind `at`, the end of a page of `page` rows that began behind `since`.
    fn count(&self, since: Seq, at: Seq, page: usize) -> Result<u64, Error> {
        let DbCounters { seq: last, docs, deleted, .. } = self.counters;
        let rows = docs + deleted;
        // No document changed twice: every seq has a row.
        if rows == last.0 && self.partition.is_none() {
            return Ok(self.seqs(at));
        }
        let from_the_start = if self.descending { since > last } else { since == Seq(0) };
        if from_the_start && self.partition.is_none() {
            return Ok(rows.saturating_sub(page as u64));
        }
        let mut counted = 0;
        for pair in self.behind(at) {
            pair?;
            counted += 1;
            if counted > PENDING_COUNTED_MAX {
                return Ok(self.most(at));
            }
        }
        Ok(counted)
    }
}
