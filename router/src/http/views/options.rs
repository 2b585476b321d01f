//! What a view is asked for, with CouchDB's words when that cannot be. Pure.

use bytes::Bytes;
use common::mango::{Value, key};
use common::partition::Partition;
use common::view::design::View;
use common::view::{GroupLevel, Span, push_id};
use serde_json::value::RawValue;

use crate::http::attachments::shown::Shown;
use crate::http::error::Error;
use crate::http::params::Params;
use crate::ops::views::{Designed, Update, ViewQuery};

/// Stands behind every id: no UTF-8 text has this byte.
const BEHIND_IDS: u8 = 0xff;

/// The options of a query.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) query: ViewQuery,
    pub(super) include_docs: bool,
    pub(super) conflicts: bool,
    /// How the attachments of documents are shown.
    pub(super) attachments: Shown,
    pub(super) update_seq: bool,
}

impl Options {
    pub(super) fn of(
        params: &Params<'_>,
        designed: &Designed,
        view: &View,
        partition: Option<&Partition>,
    ) -> Result<Self, Error> {
        let partition = of_partition(params, designed, partition)?;
        let prefix = partition.as_ref().map_or_else(Vec::new, |partition| {
            let mut prefix = Vec::new();
            push_id(&mut prefix, partition.as_str());
            prefix
        });
        let reduces = match params.get("reduce") {
            None => view.reduce.is_some(),
            Some(_) if !params.flag("reduce", true)? => false,
            Some(_) if view.reduce.is_none() => return Err(wrong("Reduce is invalid for map-only views.")),
            Some(_) => true,
        };
        let level = level(params)?;
        if level.is_some() && !reduces {
            return Err(wrong("Invalid use of grouping on a map view."));
        }
        let include_docs = params.flag("include_docs", false)?;
        if include_docs && reduces {
            return Err(wrong("`include_docs` is invalid for reduce"));
        }
        let descending = params.flag("descending", false)?;
        let keys = keys(params)?;
        if keys.is_some() && reduces && level != Some(GroupLevel::Exact) {
            return Err(wrong("Multi-key fetches for reduce views must use `group=true`"));
        }
        let has_keys = keys.is_some();
        let spans = match keys {
            Some(mut keys) => {
                if descending {
                    keys.reverse();
                }
                keys.iter().map(|key| Ok(one_key(&prefix, &sort_key(key.get())?))).collect::<Result<_, Error>>()?
            }
            None => vec![span(params, &prefix, descending)?],
        };
        let conflicts = params.flag("conflicts", false)?;
        params.flag("sorted", true)?;
        params.flag("stable", false)?;
        let query = ViewQuery {
            spans,
            descending,
            skip: params.number("skip")?.unwrap_or(0),
            limit: params.number("limit")?,
            docs: include_docs,
            conflicts: include_docs && conflicts,
            update: update(params)?,
            level: reduces.then(|| level.unwrap_or(GroupLevel::All)),
            partition,
            count_before: !reduces && !has_keys,
        };
        let update_seq = params.flag("update_seq", false)?;
        let attachments = Shown::of(params)?;
        Ok(Self { query, include_docs, conflicts: include_docs && conflicts, attachments, update_seq })
    }
}

fn wrong(reason: &str) -> Error {
    Error::Query(reason.to_owned())
}

fn of_partition(
    params: &Params<'_>,
    designed: &Designed,
    partition: Option<&Partition>,
) -> Result<Option<Partition>, Error> {
    let named = match (partition, params.get("partition")) {
        (Some(partition), _) => Some(partition.clone()),
        (None, None) => None,
        (None, Some(name)) => Some(Partition::parse(name).map_err(crate::ops::Error::from)?),
    };
    match (designed.is_partitioned(), &named) {
        (true, None) => Err(wrong("`partition` parameter is mandatory for queries to this view.")),
        (false, Some(_)) => Err(wrong("`partition` parameter is not supported in this view.")),
        _ => Ok(named),
    }
}

fn level(params: &Params<'_>) -> Result<Option<GroupLevel>, Error> {
    let group = match params.get("group") {
        None => None,
        Some(_) => Some(if params.flag("group", false)? { GroupLevel::Exact } else { GroupLevel::All }),
    };
    let level = params.number("group_level")?.map(|level| match level {
        0 => GroupLevel::All,
        level => GroupLevel::Items(u32::try_from(level).unwrap_or(u32::MAX)),
    });
    // As CouchDB: of both the level counts; and `group=false` is no grouping, though it may be said.
    Ok(level.or(group).filter(|level| *level != GroupLevel::All || params.get("group_level").is_some()))
}

fn update(params: &Params<'_>) -> Result<Update, Error> {
    match (params.get("update"), params.get("stale")) {
        (Some("true") | None, None) => Ok(Update::First),
        (Some("false"), _) | (None, Some("ok")) => Ok(Update::No),
        (Some("lazy"), _) | (None, Some("update_after")) => Ok(Update::Behind),
        (Some("true"), Some(_)) => Ok(Update::First),
        (Some(_), _) => Err(wrong("Invalid value for `update`.")),
        (None, Some(_)) => Err(wrong("Invalid value for `stale`.")),
    }
}

fn keys(params: &Params<'_>) -> Result<Option<Vec<Box<RawValue>>>, Error> {
    let Some(text) = params.get("keys") else { return Ok(None) };
    if ["key", "start_key", "startkey", "end_key", "endkey"].iter().any(|name| params.get(name).is_some()) {
        return Err(wrong("`keys` is incompatible with `key`, `start_key` and `end_key`"));
    }
    if !text.trim_start().starts_with('[') && serde_json::from_str::<&RawValue>(text).is_ok() {
        return Err(Error::bad("`keys` body member must be an array."));
    }
    params.json("keys")
}

fn sort_key(text: &str) -> Result<Vec<u8>, Error> {
    let value = Value::parse(text.as_bytes()).map_err(|_| Error::bad("invalid UTF-8 JSON"))?;
    Ok(key::of(&value))
}

/// All rows of one key.
fn one_key(prefix: &[u8], key: &[u8]) -> Span {
    let low = [prefix, key].concat();
    let high = [&low[..], &[BEHIND_IDS]].concat();
    Span { low: low.into(), high: Some(high.into()) }
}

/// The rows between the ends, whichever way they are read.
fn span(params: &Params<'_>, prefix: &[u8], descending: bool) -> Result<Span, Error> {
    let text = |names: &[&str]| -> Result<Option<Vec<u8>>, Error> {
        let raw: Option<Box<RawValue>> = params.json_of(names)?;
        raw.map(|raw| sort_key(raw.get())).transpose()
    };
    let id = |names: [&str; 2]| names.iter().find_map(|name| params.get(name));
    let inclusive_end = params.flag("inclusive_end", true)?;
    let key = text(&["key"])?;
    let (start, end) = match key {
        Some(key) => (Some(key.clone()), Some(key)),
        None => (text(&["start_key", "startkey"])?, text(&["end_key", "endkey"])?),
    };
    let start = start.map(|key| Edge { key, id: id(["startkey_docid", "start_key_doc_id"]), inclusive: true });
    let end = end.map(|key| Edge { key, id: id(["endkey_docid", "end_key_doc_id"]), inclusive: inclusive_end });
    let (low, high) = if descending { (end, start) } else { (start, end) };
    let low = low.map_or_else(|| prefix.to_vec(), |edge| edge.low(prefix));
    let high = match high {
        Some(edge) => Some(edge.high(prefix)),
        // To the end of the partition.
        None if !prefix.is_empty() => Some([prefix, &[BEHIND_IDS]].concat()),
        None => None,
    };
    // Ends that have crossed hold nothing; what stands before the start is still counted.
    let high = high.map(|high| if high < low && !descending { low.clone() } else { high });
    let low = match &high {
        Some(high) if descending && *high < low => high.clone(),
        _ => low,
    };
    Ok(Span { low: low.into(), high: high.map(Bytes::from) })
}

/// An end of a range.
struct Edge<'a> {
    key: Vec<u8>,
    id: Option<&'a str>,
    inclusive: bool,
}

impl Edge<'_> {
    fn place(&self, prefix: &[u8]) -> Vec<u8> {
        let mut place = [prefix, &self.key].concat();
        if let Some(id) = self.id {
            push_id(&mut place, id);
        }
        place
    }

    /// Behind all rows of the key, or of the document under it.
    fn behind(&self, prefix: &[u8]) -> Vec<u8> {
        let mut place = self.place(prefix);
        // Behind a document stand the four bytes of a row's number, none of them as high as this for all five.
        let bytes = if self.id.is_some() { 5 } else { 1 };
        place.extend(std::iter::repeat_n(BEHIND_IDS, bytes));
        place
    }

    /// The lowest place inside.
    fn low(&self, prefix: &[u8]) -> Vec<u8> {
        if self.inclusive { self.place(prefix) } else { self.behind(prefix) }
    }

    /// The lowest place that is not inside.
    fn high(&self, prefix: &[u8]) -> Vec<u8> {
        if self.inclusive { self.behind(prefix) } else { self.place(prefix) }
    }
}
