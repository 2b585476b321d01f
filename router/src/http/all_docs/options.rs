//! What a listing is asked for. Pure.

use common::partition::Partition;
use serde_json::value::RawValue;

use crate::http::attachments::shown::Shown as Attachments;
use crate::http::error::Error;
use crate::http::params::Params;
use crate::ops::all_docs::{DESIGNS, Listing};

/// The options of a listing.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// Which rows.
    pub(super) asked: Asked,
    /// Whether to show the documents.
    pub(super) include_docs: bool,
    /// Whether to show their conflicts.
    pub(super) conflicts: bool,
    /// How to show their attachments.
    pub(super) attachments: Attachments,
    /// Whether to show where the feed ends.
    pub(super) update_seq: bool,
}

/// Which rows.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    /// Those in a range of ids.
    Range(Listing),
    /// Those of these ids, in this order; each is JSON text.
    Keys(Vec<Box<RawValue>>),
}

/// A key, as it compares with ids: they are strings, and null, booleans and numbers sort before all strings, arrays
/// and objects behind.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    BeforeAll,
    Text(Box<str>),
    BehindAll,
}

impl Options {
    pub(super) fn of(params: &Params<'_>) -> Result<Self, Error> {
        let include_docs = params.flag("include_docs", false)?;
        let conflicts = params.flag("conflicts", false)?;
        let update_seq = params.flag("update_seq", false)?;
        let attachments = Attachments::of(params)?;
        let asked = match keys(params)? {
            Some(keys) => Asked::Keys(keys),
            None => Asked::Range(listing(params, include_docs, conflicts)?),
        };
        Ok(Self { asked, include_docs, conflicts, attachments, update_seq })
    }
}

/// The same listing, of design documents alone.
pub(super) fn design(listing: Listing) -> Listing {
    between(listing, DESIGNS.0, DESIGNS.1)
}

/// The same listing, of one partition alone.
pub(super) fn within(listing: Listing, partition: &Partition) -> Listing {
    let listing = between(listing, &partition.low(), &partition.high());
    Listing { partition: Some(partition.clone()), ..listing }
}

/// The same listing, of ids from `first` and before `behind` alone.
fn between(mut listing: Listing, first: &str, behind: &str) -> Listing {
    if listing.low.as_deref().is_none_or(|low| low < first) {
        (listing.low, listing.low_exclusive) = (Some(first.into()), false);
    }
    if listing.high.as_deref().is_none_or(|high| high >= behind) {
        (listing.high, listing.high_exclusive) = (Some(behind.into()), true);
    }
    checked(listing)
}

fn keys(params: &Params<'_>) -> Result<Option<Vec<Box<RawValue>>>, Error> {
    let Some(text) = params.get("keys") else { return Ok(None) };
    let bounds = ["key", "start_key", "startkey", "end_key", "endkey"];
    if bounds.iter().any(|name| params.get(name).is_some()) {
        return Err(Error::Query("`keys` is incompatible with `key`, `start_key` and `end_key`".to_owned()));
    }
    if !text.trim_start().starts_with('[') && serde_json::from_str::<&RawValue>(text).is_ok() {
        return Err(Error::bad("`keys` body member must be an array."));
    }
    let mut keys: Vec<Box<RawValue>> = params.json("keys")?.unwrap_or_default();
    if params.flag("descending", false)? {
        keys.reverse();
    }
    let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let skip = place(params.number("skip")?.unwrap_or(0)).min(keys.len());
    keys.drain(..skip);
    if let Some(limit) = params.number("limit")? {
        keys.truncate(place(limit));
    }
    Ok(Some(keys))
}

fn listing(params: &Params<'_>, bodies: bool, conflicts: bool) -> Result<Listing, Error> {
    let descending = params.flag("descending", false)?;
    let inclusive_end = params.flag("inclusive_end", true)?;
    let key = key(params, &["key"])?;
    let (start, end) = match key {
        Some(key) => (Some(key.clone()), Some(key)),
        None => (key_of(params, "start_key", "startkey")?, key_of(params, "end_key", "endkey")?),
    };
    let (low, high) = if descending { (end, start) } else { (start, end) };
    let (low_exclusive, high_exclusive) = if descending { (!inclusive_end, false) } else { (false, !inclusive_end) };
    let nothing = low == Some(Key::BehindAll) || high == Some(Key::BeforeAll);
    let text = |key: Option<Key>| match key {
        Some(Key::Text(text)) => Some(text),
        _ => None,
    };
    Ok(checked(Listing {
        low: text(low),
        high: text(high),
        low_exclusive,
        high_exclusive,
        empty: nothing,
        descending,
        skip: params.number("skip")?.unwrap_or(0),
        limit: params.number("limit")?,
        bodies,
        conflicts: bodies && conflicts,
        locals: false,
        partition: None,
    }))
}

/// A range whose ends have crossed holds nothing; what sorts before its start is still counted.
fn checked(mut listing: Listing) -> Listing {
    let crossed = matches!((&listing.low, &listing.high), (Some(low), Some(high)) if low > high);
    if crossed {
        listing.empty = true;
        if listing.descending {
            listing.low = None;
        } else {
            listing.high = None;
        }
    }
    listing
}

fn key_of(params: &Params<'_>, name: &str, other: &str) -> Result<Option<Key>, Error> {
    key(params, &[name, other])
}

fn key(params: &Params<'_>, names: &[&str]) -> Result<Option<Key>, Error> {
    let raw: Option<Box<RawValue>> = params.json_of(names)?;
    Ok(raw.map(|raw| match serde_json::from_str::<String>(raw.get()) {
        Ok(text) => Key::Text(text.into()),
        Err(_) if raw.get().starts_with(['[', '{']) => Key::BehindAll,
        Err(_) => Key::BeforeAll,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::options_of;
    use super::*;

    fn range(query: &str) -> Listing {
        match options_of(query).expect("valid").asked {
            Asked::Range(listing) => listing,
            Asked::Keys(keys) => panic!("{} keys", keys.len()),
        }
    }

    fn ends(listing: &Listing) -> (Option<&str>, Option<&str>) {
        (listing.low.as_deref(), listing.high.as_deref())
    }

    #[test]
    fn a_range_has_ends_in_both_spellings() {
        let listing = range("startkey=%22a%22&end_key=%22c%22&inclusive_end=false&limit=2&skip=1");
        assert_eq!(ends(&listing), (Some("a"), Some("c")));
        assert_eq!((listing.low_exclusive, listing.high_exclusive), (false, true));
        assert_eq!((listing.limit, listing.skip, listing.empty), (Some(2), 1, false));
        let listing = range("startkey=%22c%22&endkey=%22a%22&descending=true&inclusive_end=false");
        assert_eq!(ends(&listing), (Some("a"), Some("c")));
        assert_eq!((listing.low_exclusive, listing.high_exclusive), (true, false));
        assert_eq!(ends(&range("key=%22k%22")), (Some("k"), Some("k")));
    }

    #[test]
    fn keys_that_are_no_strings_sort_around_all_ids() {
        assert_eq!(ends(&range("startkey=1&endkey=%7B%7D")), (None, None));
        assert!(!range("startkey=null&endkey=[]").empty);
        assert!(range("startkey=[]").empty);
        assert!(range("endkey=5").empty);
        assert!(range("startkey=%22b%22&endkey=%22a%22").empty);
        assert_eq!(ends(&range("startkey=%22b%22&endkey=%22a%22")), (Some("b"), None));
    }

    #[test]
    fn keys_are_skipped_limited_and_turned_around_like_rows() {
        let keys = |query| match options_of(query).expect("valid").asked {
            Asked::Keys(keys) => keys.iter().map(|key| key.get().to_owned()).collect::<Vec<_>>(),
            Asked::Range(_) => panic!("a range"),
        };
        assert_eq!(keys("keys=[1,%22b%22,%22c%22]&skip=1&limit=1"), ["\"b\""]);
        assert_eq!(keys("keys=[1,2]&descending=true"), ["2", "1"]);
        let told = |query| options_of(query).expect_err("invalid").to_string();
        assert_eq!(told("keys=[]&key=1"), "`keys` is incompatible with `key`, `start_key` and `end_key`");
        assert_eq!(told("keys=5"), "`keys` body member must be an array.");
        assert_eq!(told("keys=[1"), "invalid UTF-8 JSON");
        assert_eq!(told("limit=abc"), "Invalid value for integer: \"abc\"");
    }

    #[test]
    fn design_documents_are_a_range() {
        let listing = design(range("startkey=%22_design/x%22"));
        assert_eq!(ends(&listing), (Some("_design/x"), Some("_design0")));
        assert!(listing.high_exclusive);
        assert_eq!(ends(&design(Listing::all())), (Some("_design/"), Some("_design0")));
        assert!(design(range("startkey=%22a%22")).empty);
    }

    #[test]
    fn a_partition_is_a_range() {
        let partition = Partition::parse("p").expect("a name");
        let within = |query| within(range(query), &partition);
        let listing = within("");
        assert_eq!((ends(&listing), listing.high_exclusive), ((Some("p:"), Some("p;")), true));
        let listing = within("startkey=%22p:b%22&endkey=%22p:c%22");
        assert_eq!((ends(&listing), listing.high_exclusive), ((Some("p:b"), Some("p:c")), false));
        assert!(within("startkey=%22q:a%22").empty);
        assert!(within("endkey=%22o:a%22").empty);
        assert!(within("key=%22q:a%22").empty);
    }
}
