//! Reads an index of views: rows as they stand, or put together into groups. A bounded part at a time.

use std::ops::Bound;

use bytes::Bytes;
use common::ids::{DbUid, DocId};
use common::mango::{Value, key};
use common::view::{GroupLevel, GroupPage, Partial, Reducing, Rows, Signature, ViewDoc, ViewGroup, ViewPage, ViewRow};

use super::super::keys::Key;
use super::super::range::{self, attachments};
use super::super::record;
use super::super::{PAGE_BYTES_MAX, damaged, decoded, doc};
use super::{Row, State, rows_prefix};
use crate::storage::{Error, Pair, Pairs, Read};

/// Rows sent at once.
const ROWS_MAX: usize = 1_000;
/// Groups sent at once.
const GROUPS_MAX: usize = 1_000;
/// Rows put into groups in one step.
const PASSED_MAX: usize = 20_000;
/// The same for a function in JavaScript, which is called with all rows of a group in a step.
const PASSED_BY_FUNCTION_MAX: usize = 2_000;
/// Rows counted one by one for [`ViewPage::before`].
const BEFORE_COUNTED_MAX: usize = 2_000;

/// What is read.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a> {
    /// The database.
    pub db: DbUid,
    /// The index.
    pub signature: Signature,
    /// The map.
    pub map: u32,
    /// Which rows.
    pub rows: &'a Rows,
}

/// A page of rows. With documents, `reader` must show one point in time.
pub fn rows(reader: &dyn Read, raw: &Raw<'_>, state: &State) -> Result<ViewPage, Error> {
    let limit = usize::try_from(raw.rows.limit).unwrap_or(usize::MAX).min(ROWS_MAX);
    let total = state.counts.get(raw.map as usize).copied().unwrap_or(0);
    let before = if raw.rows.count_before { raw.before(reader)? } else { None };
    let mut page = ViewPage { total, before, seq: state.seq, ..ViewPage::default() };
    let mut bytes = 0;
    for found in raw.between(reader) {
        let (span, pair) = found?;
        if page.rows.len() >= limit || bytes >= PAGE_BYTES_MAX {
            page.resume = page.rows.last().map(|row| (row.span, row.place.clone()));
            break;
        }
        let (place, id, row) = raw.row(pair)?;
        let doc = if raw.rows.docs { document(reader, raw, &id)? } else { None };
        bytes += place.len() + row.key.len() + row.value.len() + doc.as_ref().map_or(0, |doc| doc.json.len());
        page.rows.push(ViewRow { span, place, id, key: row.key, value: row.value, doc });
    }
    Ok(page)
}

/// A page of groups. By a function in JavaScript, their parts are the rows: `[[key,id],value]` each, as JSON text.
pub fn groups(reader: &dyn Read, raw: &Raw<'_>, reducing: &Reducing, state: &State) -> Result<GroupPage, Error> {
    let limit = usize::try_from(raw.rows.limit).unwrap_or(usize::MAX).min(GROUPS_MAX);
    let passed_max = if reducing.by.is_ok() { PASSED_MAX } else { PASSED_BY_FUNCTION_MAX };
    let mut page = GroupPage { seq: state.seq, ..GroupPage::default() };
    let mut last: Option<(u32, Bytes)> = None;
    // Bytes of the key before, of whose group the next row often is.
    let mut same: Option<(u32, Bytes)> = None;
    let mut bytes = 0;
    for (passed, found) in raw.between(reader).enumerate() {
        let (span, pair) = found?;
        if passed >= passed_max || bytes >= PAGE_BYTES_MAX {
            page.resume = last;
            break;
        }
        let (place, id, row) = raw.row(pair)?;
        bytes += row.value.len() / 8;
        let key_bytes = place.slice(..row.key_bytes as usize);
        let is_same = same.as_ref().is_some_and(|(of, known)| *of == span && *known == key_bytes);
        if !is_same {
            let (group, key) = group_of(reducing.level, &key_bytes, &row.key);
            let goes_on = page.groups.last().is_some_and(|known| known.span == span && known.place == group);
            if !goes_on {
                if page.groups.len() >= limit {
                    page.resume = last;
                    break;
                }
                bytes += group.len() + key.len();
                let partial = reducing.by.as_ref().map_or(Partial::Values(Vec::new()), |builtin| builtin.nothing());
                page.groups.push(ViewGroup { span, place: group, key, partial });
            }
            same = Some((span, key_bytes.clone()));
        }
        let group = page.groups.last_mut().ok_or_else(|| damaged(&place, "a row is in no group"))?;
        if let Partial::Values(rows) = &mut group.partial {
            bytes += row.value.len() + row.key.len() + id.as_str().len();
            let id = serde_json::Value::from(id.as_str());
            rows.push(format!("[[{},{id}],{}]", row.key, row.value).into());
        } else {
            let value = Value::parse(row.value.as_bytes());
            let value = value.map_err(|_| damaged(&place, "the value of a row cannot be read"))?;
            group.partial.add(&key_bytes, &value);
        }
        last = Some((span, place));
    }
    Ok(page)
}

/// The group of a key: its bytes, and the JSON text of what its members have in common.
fn group_of(level: GroupLevel, key_bytes: &Bytes, text: &str) -> (Bytes, Box<str>) {
    let items = match level {
        GroupLevel::All | GroupLevel::Items(0) => return (Bytes::new(), "null".into()),
        GroupLevel::Exact => return (key_bytes.clone(), text.into()),
        GroupLevel::Items(items) => items as usize,
    };
    match Value::parse(text.as_bytes()) {
        Ok(Value::Array(mut all)) if all.len() > items => {
            let whole = key::of(&Value::Array(all.clone()));
            all.truncate(items);
            let start = Value::Array(all);
            // What stands before the key itself is its partition.
            let partition = key_bytes.len().saturating_sub(whole.len());
            let bytes = [&key_bytes[..partition], &key::of(&start)].concat();
            (bytes.into(), start.to_json().into())
        }
        _ => (key_bytes.clone(), text.into()),
    }
}

impl<'a> Raw<'a> {
    /// The rows of all ranges, behind the place to go on from.
    fn between<'r>(&self, reader: &'r dyn Read) -> impl Iterator<Item = Result<(u32, Pair), Error>> + use<'r, 'a> {
        let this = *self;
        let from = self.rows.after.as_ref().map_or(0, |(span, _)| *span);
        (from..u32::try_from(self.rows.spans.len()).unwrap_or(u32::MAX)).flat_map(move |number| {
            let after = this.rows.after.as_ref().filter(|(span, _)| *span == number).map(|(_, place)| place);
            this.span(reader, number, after).map(move |pair| Ok((number, pair?)))
        })
    }

    fn span<'r>(&self, reader: &'r dyn Read, number: u32, after: Option<&Bytes>) -> Pairs<'r> {
        let Some(span) = self.rows.spans.get(number as usize) else { return Box::new(std::iter::empty()) };
        let prefix = rows_prefix(self.db, self.signature, self.map);
        let at = |place: &[u8]| [&prefix[..], place].concat();
        let mut low = Bound::Included(at(&span.low));
        let mut high = span.high.as_ref().map_or_else(|| self.end(), |high| at(high));
        match after {
            Some(after) if self.rows.descending => high = high.min(at(after)),
            Some(after) if at(after) >= at(&span.low) => low = Bound::Excluded(at(after)),
            _ => {}
        }
        range::scan(reader, low.as_ref().map(Vec::as_slice), Bound::Excluded(&high), self.rows.descending)
    }

    /// Behind all rows of the map.
    fn end(&self) -> Vec<u8> {
        match self.map.checked_add(1) {
            Some(next) => rows_prefix(self.db, self.signature, next),
            None => super::keys::view(self.db, self.signature).1,
        }
    }

    /// How many rows stand before the first range, seen in the direction of reading.
    fn before(&self, reader: &dyn Read) -> Result<Option<u64>, Error> {
        let Some(first) = self.rows.spans.first() else { return Ok(Some(0)) };
        let prefix = rows_prefix(self.db, self.signature, self.map);
        let at = |place: &[u8]| [&prefix[..], place].concat();
        let outside = if self.rows.descending {
            let Some(high) = &first.high else { return Ok(Some(0)) };
            range::scan(reader, Bound::Included(&at(high)), Bound::Excluded(&self.end()), true)
        } else {
            range::scan(reader, Bound::Included(&prefix), Bound::Excluded(&at(&first.low)), false)
        };
        let mut count = 0;
        for (passed, pair) in outside.enumerate() {
            pair?;
            if passed >= BEFORE_COUNTED_MAX {
                return Ok(None);
            }
            count += 1;
        }
        Ok(Some(count))
    }

    /// The place of a row, the document it is of, and what is kept of it.
    fn row(&self, (key, value): Pair) -> Result<(Bytes, DocId, Row), Error> {
        let row: Option<Row> = decoded(&key, Some(value), |value| record::decode(value))?;
        let row = row.ok_or_else(|| damaged(&key, "its row is gone"))?;
        let place = key.slice(rows_prefix(self.db, self.signature, self.map).len()..);
        let id = place.get(row.key_bytes as usize..).and_then(id_of);
        let id = id.ok_or_else(|| damaged(&key, "a row is of no document"))?;
        Ok((place, id, row))
    }
}

/// The id at the start of these bytes, see [`common::view::push_id`].
fn id_of(bytes: &[u8]) -> Option<DocId> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied();
    loop {
        match rest.next()? {
            0 if rest.next()? == 0 => break,
            byte => plain.push(byte),
        }
    }
    DocId::parse(std::str::from_utf8(&plain).ok()?).ok()
}

fn document(reader: &dyn Read, raw: &Raw<'_>, id: &DocId) -> Result<Option<ViewDoc>, Error> {
    let at = Key::Doc(raw.db, id.clone()).encode();
    let Some(record) = doc(reader, &at)?.filter(|record| !record.deleted) else { return Ok(None) };
    let conflicts = match raw.rows.conflicts && !record.single {
        true => record.tree().map_err(|record::Unknown| damaged(&at, "its tree cannot be read"))?.conflicts(),
        false => Vec::new(),
    };
    let attachments = attachments(raw.db, id, &record)?;
    Ok(Some(ViewDoc { rev: record.winner, json: record.json, attachments, conflicts }))
}
