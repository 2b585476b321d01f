//! Looks through documents for those that a selector matches.
//!
//! One step does a bounded amount of work whatever it finds, and says where to go on: a query that matches nothing in
//! a large database never holds a thread for long.

use std::ops::Bound;

use bytes::Bytes;
use common::ids::DocId;
use common::mango::{Reader, Selector};
use common::query::{Find, FindPage, FoundRow, Place};
use common::rev::Rev;

use super::damaged;
use super::keys::{self, Key};
use super::range::{document, scan};
use super::record::{self, DocRecord};
use crate::storage::{Error, Pairs, Read};

/// Keys passed in one step. A step of documents of 1 KB takes some milliseconds; shorter steps cost round trips.
const PASSED_MAX: usize = 1_000;
/// Bytes of JSON text looked at in one step, the last document excepted.
const BYTES_MAX: usize = 1 << 20;

/// One step of a query; `None` if its selector cannot be read here.
pub(crate) fn page(reader: &dyn Read, find: &Find) -> Result<Option<FindPage>, Error> {
    let Ok(selector) = Selector::parse_normal(find.selector.as_bytes()) else { return Ok(None) };
    let documents = Reader::new(selector.roots());
    let limit = usize::try_from(find.limit).unwrap_or(usize::MAX);
    let mut page = FindPage::default();
    let (mut bytes, mut last) = (0, None);
    for (passed, pair) in by_id(reader, find).enumerate() {
        let (id, record) = document(pair)?;
        if passed >= PASSED_MAX || bytes >= BYTES_MAX || page.rows.len() >= limit {
            page.resume = last;
            break;
        }
        let place = Place { key: Bytes::new(), id };
        last = Some(place.clone());
        if record.deleted || place.id.is_design() {
            continue;
        }
        page.keys_examined += 1;
        page.docs_examined += 1;
        bytes += record.json.len();
        let conflicts = conflicts(find, &place.id, &record)?;
        let mut document = documents.open(place.id.as_str(), &record.winner, &record.json);
        document.add_revs("_conflicts", &conflicts);
        if selector.matches(&document) {
            page.rows.push(FoundRow { place, rev: record.winner, json: record.json, conflicts });
        }
    }
    Ok(Some(page))
}

/// The documents between the ends and behind the place to go on from.
fn by_id<'a>(reader: &'a dyn Read, find: &Find) -> Pairs<'a> {
    let (first, last) = keys::docs(find.db);
    let at = |id: &[u8]| [&first[..], id].concat();
    let (mut low, mut high) = (Bound::Included(at(&find.low)), find.high.as_deref().map_or(last, at));
    if let Some(after) = find.after.as_ref().map(|after| at(after.id.as_str().as_bytes())) {
        // A place may come from a client: what lies outside of the ends stays outside.
        match &low {
            _ if find.descending => high = high.min(after),
            Bound::Included(first) if *first <= after => low = Bound::Excluded(after),
            _ => {}
        }
    }
    scan(reader, low.as_ref().map(Vec::as_slice), Bound::Excluded(&high), find.descending)
}

fn conflicts(find: &Find, id: &DocId, record: &DocRecord) -> Result<Vec<Rev>, Error> {
    if !find.conflicts || record.single {
        return Ok(Vec::new());
    }
    let unreadable = |record::Unknown| damaged(&Key::Doc(find.db, id.clone()).encode(), "its tree cannot be read");
    Ok(record.tree().map_err(unreadable)?.conflicts())
}
