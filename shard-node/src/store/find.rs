//! Looks through documents, or the entries of an index, for documents that a selector matches.
//!
//! One step does a bounded amount of work whatever it finds, and says where to go on: a query that matches nothing in
//! a large database never holds a thread for long.

use std::ops::Bound;

use bytes::Bytes;
use common::ids::DocId;
use common::mango::{Reader, Selector};
use common::query::{Answer, Find, FindPage, FoundRow, Place};
use common::rev::Rev;

use super::keys::{self, Key, Span};
use super::range::{attachments, document, scan};
use super::record::{self, DocRecord};
use super::{damaged, doc, indexes};
use crate::storage::{Error, Pair, Pairs, Read};

/// Keys passed in one step. A step of documents of 1 KB takes some milliseconds; shorter steps cost round trips.
const PASSED_MAX: usize = 1_000;
/// Bytes of JSON text looked at in one step, the last document excepted.
const BYTES_MAX: usize = 1 << 20;

/// One step of a query. With an index, `reader` must show one point in time: an entry and its document are of the
/// same moment.
pub(crate) fn page(reader: &dyn Read, find: &Find) -> Result<Answer, Error> {
    if !goes_by_ours(reader, find)? {
        return Ok(Answer::OtherIndexes);
    }
    let Ok(selector) = Selector::parse_normal(find.selector.as_bytes()) else { return Ok(Answer::NotUnderstood) };
    let documents = Reader::new(selector.roots());
    let limit = usize::try_from(find.limit).unwrap_or(usize::MAX);
    let mut page = FindPage::default();
    let (mut bytes, mut last) = (0, None);
    for (passed, pair) in between(reader, find).enumerate() {
        if passed >= PASSED_MAX || bytes >= BYTES_MAX || page.rows.len() >= limit {
            page.resume = last;
            break;
        }
        let (place, record) = match find.index {
            Some(number) => by_entry(reader, find, number, pair?)?,
            None => {
                let (id, record) = document(pair)?;
                (Place { key: Bytes::new(), id }, record)
            }
        };
        last = Some(place.clone());
        if record.deleted {
            continue;
        }
        // Design documents are looked at, too, and counted as CouchDB does.
        page.keys_examined += 1;
        page.docs_examined += 1;
        bytes += record.json.len();
        if place.id.is_design() {
            continue;
        }
        let conflicts = conflicts(find, &place.id, &record)?;
        let mut document = documents.open(place.id.as_str(), &record.winner, &record.json);
        document.add_revs("_conflicts", &conflicts);
        if selector.matches(&document) {
            let attachments = attachments(find.db, &place.id, &record)?;
            page.rows.push(FoundRow { place, rev: record.winner, json: record.json, conflicts, attachments });
        }
    }
    Ok(Answer::Found(page))
}

/// Whether the query was made for the indexes of this shard.
fn goes_by_ours(reader: &dyn Read, find: &Find) -> Result<bool, Error> {
    if find.index.is_none() && find.version.is_none() {
        return Ok(true);
    }
    let known = indexes(reader, find.db)?;
    let is_whole = |number| known.kept.iter().any(|kept| kept.number == number && kept.complete);
    Ok(find.version.is_none_or(|version| version == known.version) && find.index.is_none_or(is_whole))
}

/// What lies between the ends and behind the place to go on from.
fn between<'a>(reader: &'a dyn Read, find: &Find) -> Pairs<'a> {
    let (first, last): Span = find.index.map_or_else(|| keys::docs(find.db), |number| keys::entries(find.db, number));
    let at = |key: &[u8]| [&first[..], key].concat();
    let (mut low, mut high) = (Bound::Included(at(&find.low)), find.high.as_deref().map_or(last, at));
    if let Some(after) = &find.after {
        let after = at(&[&after.key[..], after.id.as_str().as_bytes()].concat());
        // A place may come from a client: what lies outside of the ends stays outside.
        match &low {
            _ if find.descending => high = high.min(after),
            Bound::Included(first) if *first <= after => low = Bound::Excluded(after),
            _ => {}
        }
    }
    scan(reader, low.as_ref().map(Vec::as_slice), Bound::Excluded(&high), find.descending)
}

/// The document of an entry, and where the entry stands.
fn by_entry(reader: &dyn Read, find: &Find, number: u32, (key, value): Pair) -> Result<(Place, DocRecord), Error> {
    let broken = |what| damaged(&key, what);
    let start = keys::entries(find.db, number).0.len();
    let columns = record::decode_entry(&value).map_err(|record::Unknown| broken("an entry cannot be read"))?;
    let columns = start.saturating_add(columns).min(key.len());
    let id = std::str::from_utf8(&key[columns..]).ok().and_then(|id| DocId::parse(id).ok());
    let id = id.ok_or_else(|| broken("an entry is of no document"))?;
    let record = doc(reader, &Key::Doc(find.db, id.clone()).encode())?;
    let record = record.ok_or_else(|| broken("the document of an entry is not there"))?;
    Ok((Place { key: key.slice(start..columns), id }, record))
}

fn conflicts(find: &Find, id: &DocId, record: &DocRecord) -> Result<Vec<Rev>, Error> {
    if !find.conflicts || record.single {
        return Ok(Vec::new());
    }
    let unreadable = |record::Unknown| damaged(&Key::Doc(find.db, id.clone()).encode(), "its tree cannot be read");
    Ok(record.tree().map_err(unreadable)?.conflicts())
}
