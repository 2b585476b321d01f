//! Pages of documents in the order of their ids.

use std::ops::Bound;

use common::attachment::Attachment;
use common::ids::{DbUid, DocId};
use common::query::{IdPage, Range, RangePage, RangeRow};
use common::rev::{Rev, RevHash};

use super::keys::{self, Key, Span};
use super::record::{self, DocRecord, LocalRecord};
use super::{PAGE_BYTES_MAX, counters, damaged, key_of};
use crate::storage::{Error, Pair, Pairs, Read};

/// Documents counted one by one for [`RangePage::before`]. Larger makes `offset` known further into a database, at the
/// price of a scan from its beginning for each page that asks: with ten thousand, reading those took most of the time of a
/// walk in pages of a thousand.
const BEFORE_COUNTED_MAX: usize = 500;
/// Bodies passed over in one page of ids; a document may have a thousand.
const BODIES_PASSED_MAX: usize = 10_000;

/// One page of `range`.
pub(crate) fn page(reader: &dyn Read, range: &Range) -> Result<RangePage, Error> {
    let counters = counters(reader, range.db)?;
    let ends = Ends::of(range, keys::docs(range.db), keys::doc_bound);
    let before = if range.count_before { before(reader, range, &ends)? } else { None };
    let rows = live(ends.inside(reader, range.descending)).map(|found| found.and_then(|(id, doc)| row(range, id, doc)));
    let (rows, more) = take(rows, range.limit)?;
    Ok(RangePage { rows, more, before, total: counters.docs, seq: counters.seq })
}

/// One page of the local documents in `range`. They are counted nowhere, so `before` and `total` say nothing.
pub(crate) fn locals(reader: &dyn Read, range: &Range) -> Result<RangePage, Error> {
    let counters = counters(reader, range.db)?;
    let ends = Ends::of(range, keys::locals(range.db), keys::local_bound);
    let pairs = ends.inside(reader, range.descending);
    let rows = pairs.filter_map(|pair| local_row(range, pair).transpose());
    let (rows, more) = take(rows, range.limit)?;
    Ok(RangePage { rows, more, before: None, total: 0, seq: counters.seq })
}

/// Documents behind `after` that have bodies beside the winner's: all that compaction can shrink are among them.
pub(crate) fn old_bodies(reader: &dyn Read, db: DbUid, after: Option<&DocId>, limit: u32) -> Result<IdPage, Error> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut page = IdPage::default();
    for (passed, pair) in super::scan(reader, &keys::bodies(db, after)).enumerate() {
        let (key, _) = pair?;
        let Key::Body(_, id, _) = key_of(&key)? else { return Err(damaged(&key, "it lies among the bodies")) };
        if page.ids.last() == Some(&id) {
            continue;
        }
        if page.ids.len() >= limit || passed >= BODIES_PASSED_MAX {
            page.more = true;
            break;
        }
        page.ids.push(id);
    }
    Ok(page)
}

/// As many rows as fit a page, and whether there are more.
fn take(rows: impl Iterator<Item = Result<RangeRow, Error>>, limit: u32) -> Result<(Vec<RangeRow>, bool), Error> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut taken, mut bytes) = (Vec::new(), 0);
    for row in rows {
        let row = row?;
        if taken.len() >= limit || bytes >= PAGE_BYTES_MAX {
            return Ok((taken, true));
        }
        bytes += size(&row);
        taken.push(row);
    }
    Ok((taken, false))
}

/// The row of a local document; `None` for one that was deleted.
fn local_row(range: &Range, pair: Result<Pair, Error>) -> Result<Option<RangeRow>, Error> {
    let (key, value) = pair?;
    let (id, record) = match (key_of(&key)?, LocalRecord::decode(&value)) {
        (Key::Local(_, id), Ok(record)) => (id, record),
        (Key::Local(..), Err(record::Unknown)) => return Err(damaged(&key, "its record cannot be read")),
        _ => return Err(damaged(&key, "it lies among the local documents")),
    };
    let rev = Rev { generation: 0, hash: RevHash::new(&record.counter.to_string()) };
    let json = range.bodies.then_some(record.json);
    Ok(record.live.then_some(RangeRow { id, rev, json, conflicts: Vec::new(), attachments: Vec::new() }))
}

fn row(range: &Range, id: DocId, record: DocRecord) -> Result<RangeRow, Error> {
    let conflicts = if range.conflicts && !record.single {
        let unreadable = |record::Unknown| damaged(&Key::Doc(range.db, id.clone()).encode(), "its tree cannot be read");
        record.tree().map_err(unreadable)?.conflicts()
    } else {
        Vec::new()
    };
    let attachments = if range.bodies { attachments(range.db, &id, &record)? } else { Vec::new() };
    Ok(RangeRow { id, rev: record.winner, json: range.bodies.then_some(record.json), conflicts, attachments })
}

/// About what the row takes on the wire.
fn size(row: &RangeRow) -> usize {
    let rev = 24;
    let attachment = 128;
    let json = row.json.as_ref().map_or(0, |json| json.len());
    row.id.as_str().len() + json + (1 + row.conflicts.len()) * rev + row.attachments.len() * attachment
}

/// The attachments of a document's winner.
pub(super) fn attachments(db: DbUid, id: &DocId, record: &DocRecord) -> Result<Vec<Attachment>, Error> {
    let unreadable = |record::Unknown| damaged(&Key::Doc(db, id.clone()).encode(), "its attachments cannot be read");
    record.attachments().map_err(unreadable)
}

/// How many documents sort before the range, seen in its direction; `None` if there are too many to count.
fn before(reader: &dyn Read, range: &Range, ends: &Ends) -> Result<Option<u64>, Error> {
    let mut count = 0;
    // Deleted ones are passed over, but bounded with the others: what is bounded is the work.
    for (passed, pair) in ends.outside(reader, range.descending).enumerate() {
        if passed >= BEFORE_COUNTED_MAX {
            return Ok(None);
        }
        count += u64::from(!document(pair)?.1.deleted);
    }
    Ok(Some(count))
}

/// The documents among `pairs` that are not deleted.
fn live(pairs: Pairs<'_>) -> impl Iterator<Item = Result<(DocId, DocRecord), Error>> {
    pairs.map(document).filter(|found| !matches!(found, Ok((_, record)) if record.deleted))
}

/// The document that a pair among the documents is.
pub(super) fn document(pair: Result<Pair, Error>) -> Result<(DocId, DocRecord), Error> {
    let (key, value) = pair?;
    match (key_of(&key)?, DocRecord::decode(&value)) {
        (Key::Doc(_, id), Ok(record)) => Ok((id, record)),
        (Key::Doc(..), Err(record::Unknown)) => Err(damaged(&key, "its record cannot be read")),
        _ => Err(damaged(&key, "it lies among the documents")),
    }
}

/// The range as keys, within the span of its kind.
struct Ends {
    first: Vec<u8>,
    last: Vec<u8>,
    low: Bound<Vec<u8>>,
    high: Bound<Vec<u8>>,
}

impl Ends {
    /// `place` says where a document of some id stands within `span`.
    fn of(range: &Range, (first, last): Span, place: impl Fn(DbUid, &str) -> Vec<u8>) -> Self {
        let bound = |text: &str, exclusive| {
            let key = place(range.db, text);
            if exclusive { Bound::Excluded(key) } else { Bound::Included(key) }
        };
        let low = range.low.as_deref().map_or(Bound::Included(first.clone()), |text| bound(text, range.low_exclusive));
        let high =
            range.high.as_deref().map_or(Bound::Excluded(last.clone()), |text| bound(text, range.high_exclusive));
        Self { first, last, low, high }
    }

    fn inside<'a>(&self, reader: &'a dyn Read, descending: bool) -> Pairs<'a> {
        scan(reader, as_slice(&self.low), as_slice(&self.high), descending)
    }

    /// What lies on the side the range is read from.
    fn outside<'a>(&self, reader: &'a dyn Read, descending: bool) -> Pairs<'a> {
        if descending {
            scan(reader, opposite(&self.high), Bound::Excluded(&self.last), true)
        } else {
            scan(reader, Bound::Included(&self.first), opposite(&self.low), false)
        }
    }
}

/// Ends that cross are an empty range here; engines may refuse or panic.
pub(super) fn scan<'a>(reader: &'a dyn Read, low: Bound<&[u8]>, high: Bound<&[u8]>, reverse: bool) -> Pairs<'a> {
    let empty = match (low, high) {
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => low >= high,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    };
    if empty { Box::new(std::iter::empty()) } else { reader.scan(low, high, reverse) }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// The end of what a range with this end leaves out.
fn opposite(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Excluded(key),
        Bound::Excluded(key) => Bound::Included(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}
