//! Requests for queries and indexes, as clients write them: each key checked, in CouchDB's order, with its words.

use super::erlang::plain;
use super::error::Error;
use super::fields::{Projection, Sort};
use super::plan::UseIndex;
use super::selector::Selector;
use super::value::Value;

/// Documents in an answer when nothing is said.
const LIMIT_DEFAULT: u64 = 25;

/// The body of `_find` and `_explain`.
#[derive(Debug, Clone)]
pub struct Find {
    /// What is asked for.
    pub selector: Selector,
    /// The index to use, if one is named.
    pub use_index: Option<UseIndex>,
    /// Where to go on; `None` from the start.
    pub bookmark: Option<Box<str>>,
    /// Documents at most.
    pub limit: u64,
    /// Documents to leave out at the start.
    pub skip: u64,
    /// In which order.
    pub sort: Sort,
    /// Which fields.
    pub projection: Projection,
    /// Of one partition.
    pub partition: Option<Box<str>>,
    /// Read quorum: above one asks for the documents themselves, never for what an index knows of them.
    pub r: u64,
    /// Whether to show conflicts.
    pub conflicts: bool,
    /// `stale: "ok"`, an old way to say `update: false` and `stable: true`.
    pub stale: bool,
    /// Whether an index that waits to be built is to be built first.
    pub update: bool,
    /// For show: all replicas give one answer.
    pub stable: bool,
    /// Whether to tell what it took.
    pub execution_stats: bool,
    /// Whether another index will do than the one named.
    pub allow_fallback: bool,
}

/// The body of `_index`.
#[derive(Debug, Clone)]
pub struct Create<'t> {
    /// The definition, as it was given.
    pub index: Value<'t>,
    /// The type.
    pub kind: Box<str>,
    /// The index's name.
    pub name: Option<Box<str>>,
    /// The design document's name.
    pub ddoc: Option<Box<str>>,
    /// The write quorum, which goes into generated names.
    pub w: Value<'t>,
    /// Whether it is an index of partitions.
    pub partitioned: Option<bool>,
}

/// The members of a request, taken out one by one.
struct Members<'t>(Vec<(std::borrow::Cow<'t, str>, Value<'t>)>);

impl<'t> Members<'t> {
    fn of(body: Value<'t>) -> Result<Self, Error> {
        match body {
            Value::Object(members) => Ok(Self(members)),
            _ => Err(Error::Json),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value<'t>> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    fn end(self) -> Result<(), Error> {
        self.0.into_iter().next().map_or(Ok(()), |(name, _)| Err(Error::UnknownKey(name.into_owned())))
    }

    fn flag(&mut self, name: &str, default: bool) -> Result<bool, Error> {
        match self.take(name) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(Error::NotBoolean(plain(&other))),
        }
    }

    fn natural(&mut self, name: &str, default: u64) -> Result<u64, Error> {
        let Some(value) = self.take(name) else { return Ok(default) };
        whole(&value, 0.0).ok_or_else(|| Error::NotNatural(plain(&value)))
    }
}

/// A whole number; those beyond what can be counted are as good as the largest.
fn whole(value: &Value<'_>, least: f64) -> Option<u64> {
    match value {
        Value::Number(number) if number.is_integer() && number.nearest() >= least => {
            Some(number.text().parse().unwrap_or(u64::MAX))
        }
        _ => None,
    }
}

fn positive(value: Option<&Value<'_>>) -> Result<u64, Error> {
    let Some(value) = value else { return Ok(1) };
    whole(value, 1.0).ok_or_else(|| Error::NotPositive(plain(value)))
}

impl Find {
    /// Takes the body of a query; `partition` is that of the path or of the query string.
    pub fn of(body: Value<'_>, partition: Option<&str>) -> Result<Self, Error> {
        let mut members = Members::of(body)?;
        let selector = members.take("selector").ok_or(Error::MissingKey("selector"))?;
        let selector = Selector::of(selector)?;
        let use_index = members.take("use_index").map_or(Ok(None), |value| use_index(&value))?;
        let bookmark = members.take("bookmark").map_or(Ok(None), |value| bookmark(&value))?;
        let limit = members.natural("limit", LIMIT_DEFAULT)?;
        let skip = members.natural("skip", 0)?;
        let sort = members.take("sort").map_or(Ok(Sort::default()), |value| Sort::of(&value))?;
        let projection = members.take("fields").map_or(Ok(Projection::default()), |value| Projection::of(&value))?;
        let partition = one_partition(members.take("partition"), partition)?;
        let r = positive(members.take("r").as_ref())?;
        let conflicts = members.flag("conflicts", false)?;
        let stale = members.take("stale").map_or(Ok(false), |value| stale(&value))?;
        let update = members.flag("update", true)?;
        let stable = members.flag("stable", false)?;
        let execution_stats = members.flag("execution_stats", false)?;
        let allow_fallback = members.flag("allow_fallback", true)?;
        members.end()?;
        Ok(Self {
            selector,
            use_index,
            bookmark,
            limit,
            skip,
            sort,
            projection,
            partition,
            r,
            conflicts,
            stale,
            update,
            stable,
            execution_stats,
            allow_fallback,
        })
    }

    /// Whether an index that waits to be built may stay as it is.
    pub fn as_it_is(&self) -> bool {
        self.stale || !self.update
    }

    /// The options as `_explain` shows them.
    pub fn options(&self) -> String {
        fn text(text: &str) -> Value<'_> {
            Value::String(text.into())
        }
        let use_index = self.use_index.iter().flat_map(|asked| std::iter::once(&asked.ddoc).chain(&asked.name));
        let list = |items: Vec<Value<'_>>| Value::Array(items).to_json();
        let partition = self.partition.as_deref().unwrap_or_default();
        let stale = if self.stale { "\"ok\"" } else { "false" };
        format!(
            "{{\"use_index\":{},\"bookmark\":{},\"limit\":{},\"skip\":{},\"sort\":{},\"fields\":{},\"partition\":{},\
             \"r\":{},\"conflicts\":{},\"stale\":{stale},\"update\":{},\"stable\":{},\"execution_stats\":{},\
             \"allow_fallback\":{}}}",
            list(use_index.map(|name| text(name)).collect()),
            text(self.bookmark.as_deref().unwrap_or("nil")).to_json(),
            self.limit,
            self.skip,
            self.sort.as_object().to_json(),
            list(self.projection.names().map(text).collect()),
            text(partition).to_json(),
            self.r,
            self.conflicts,
            self.update,
            self.stable,
            self.execution_stats,
            self.allow_fallback,
        )
    }
}

fn use_index(value: &Value<'_>) -> Result<Option<UseIndex>, Error> {
    let refused = || Error::IndexName(plain(value));
    let names: Vec<&str> = match value {
        Value::Null => Vec::new(),
        Value::String(path) => {
            let parts: Vec<&str> = path.split('/').collect();
            match parts.as_slice() {
                ["_design", rest @ ..] if !rest.is_empty() && rest.len() < 3 => rest.to_vec(),
                rest if rest.len() < 3 => rest.to_vec(),
                _ => return Err(refused()),
            }
        }
        Value::Array(names) => names.iter().map(|name| name.as_str().ok_or_else(refused)).collect::<Result<_, _>>()?,
        _ => return Err(refused()),
    };
    match names.as_slice() {
        [] => Ok(None),
        [ddoc] => Ok(Some(UseIndex { ddoc: (*ddoc).into(), name: None })),
        [ddoc, name] => Ok(Some(UseIndex { ddoc: (*ddoc).into(), name: Some((*name).into()) })),
        _ => Err(refused()),
    }
}

/// An answer without documents has the bookmark `nil`, which clients send back.
fn bookmark(value: &Value<'_>) -> Result<Option<Box<str>>, Error> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() || text == "nil" => Ok(None),
        Value::String(text) => Ok(Some((&**text).into())),
        other => Err(Error::Bookmark(other.to_json())),
    }
}

fn one_partition(given: Option<Value<'_>>, path: Option<&str>) -> Result<Option<Box<str>>, Error> {
    let given: Option<Box<str>> = match given {
        None => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) => Some(Box::from(&*text)),
        Some(other) => return Err(Error::NotString(plain(&other))),
    };
    match (given, path) {
        (Some(given), Some(path)) if *given != *path => {
            Err(Error::PartitionConflict(plain(&Value::String(given.to_string().into()))))
        }
        (given, path) => Ok(given.or_else(|| path.map(Box::from))),
    }
}

fn stale(value: &Value<'_>) -> Result<bool, Error> {
    match value {
        Value::Bool(false) => Ok(false),
        Value::String(text) if text == "ok" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        other => Err(Error::Value { key: "stale", value: plain(other) }),
    }
}

impl<'t> Create<'t> {
    /// Takes the body of a request for an index.
    pub fn of(body: Value<'t>) -> Result<Self, Error> {
        let mut members = Members::of(body)?;
        let index = members.take("index").ok_or(Error::MissingKey("index"))?;
        let kind = members.take("type").map_or(Ok("json".into()), |value| text(&value))?;
        let name = members.take("name").map(|value| name_of(&value)).transpose()?;
        let ddoc = members.take("ddoc").map(|value| name_of(&value)).transpose()?;
        let w = members.take("w");
        positive(w.as_ref())?;
        let partitioned = match members.take("partitioned") {
            None => None,
            Some(Value::Bool(partitioned)) => Some(partitioned),
            Some(other) => return Err(Error::Partitioned(plain(&other))),
        };
        members.end()?;
        let w = w.unwrap_or_else(|| Value::Number(super::number::Number::new("2")));
        Ok(Self { index, kind, name, ddoc, w, partitioned })
    }
}

/// Names of the body of `_bulk_delete`.
pub fn bulk_delete(body: Value<'_>) -> Result<Vec<Box<str>>, Error> {
    let mut members = Members::of(body)?;
    let names = match members.take("docids").ok_or(Error::MissingKey("docids"))? {
        Value::Array(names) => names,
        other => return Err(Error::BulkNames(plain(&other))),
    };
    positive(members.take("w").as_ref())?;
    members.end()?;
    let name = |name: &Value<'_>| {
        use_index(name)?;
        text(name)
    };
    names.iter().map(name).collect()
}

fn text(value: &Value<'_>) -> Result<Box<str>, Error> {
    value.as_str().map(Box::from).ok_or_else(|| Error::NotString(plain(value)))
}

fn name_of(value: &Value<'_>) -> Result<Box<str>, Error> {
    let name = text(value)?;
    if name.is_empty() { Err(Error::EmptyName) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str) -> Result<Find, (&'static str, String)> {
        let body = Value::parse(text.as_bytes()).expect("JSON");
        Find::of(body, None).map_err(|error| (error.name(), error.to_string()))
    }

    #[test]
    fn options_are_shown_as_couchdb_shows_them() {
        let shown = find(r#"{"selector":{"n":1}}"#).expect("a query").options();
        assert_eq!(
            shown,
            r#"{"use_index":[],"bookmark":"nil","limit":25,"skip":0,"sort":{},"fields":[],"partition":"","r":1,"conflicts":false,"stale":false,"update":true,"stable":false,"execution_stats":false,"allow_fallback":true}"#
        );
        let query = r#"{"selector":{},"use_index":"_design/a/b","sort":["n"],"fields":["x"],"stale":"ok","limit":0}"#;
        let shown = find(query).expect("a query").options();
        assert!(shown.starts_with(r#"{"use_index":["a","b"],"bookmark":"nil","limit":0,"#), "{shown}");
        assert!(shown.contains(r#""sort":{"n":"asc"},"fields":["x"]"#), "{shown}");
    }

    #[test]
    fn bad_requests_are_told_in_couchdbs_words() {
        let list = r#"[null,1.2,"no limit!"]"#;
        let term = "[null,1.2,<<110,111,32,108,105,109,105,116,33>>]";
        for (text, name, reason) in [
            ("{}".to_owned(), "missing_required_key", "Missing required key: selector".to_owned()),
            (
                format!(r#"{{"selector":{{}},"limit":{list}}}"#),
                "invalid_non_neg_integer",
                format!("{term} is not an integer greater than or equal to zero"),
            ),
            (
                format!(r#"{{"selector":{{}},"r":{list}}}"#),
                "invalid_pos_integer",
                format!("{term} is not an integer greater than zero"),
            ),
            (
                format!(r#"{{"selector":{{}},"conflicts":{list}}}"#),
                "invalid_boolean",
                format!("Invalid boolean value: {term}"),
            ),
            (
                r#"{"selector":{},"use_index":"foo/bar/baz"}"#.to_owned(),
                "invalid_index_name",
                "Invalid index name: <<102,111,111,47,98,97,114,47,98,97,122>>".to_owned(),
            ),
            (
                r#"{"selector":{},"use_index":["foo","bar","baz"]}"#.to_owned(),
                "invalid_index_name",
                "Invalid index name: [<<102,111,111>>,<<98,97,114>>,<<98,97,122>>]".to_owned(),
            ),
            (r#"{"selector":{},"x":1}"#.to_owned(), "invalid_key", "Invalid key x for this request.".to_owned()),
        ] {
            assert_eq!(find(&text).expect_err("refused"), (name, reason), "{text}");
        }
    }

    #[test]
    fn requests_for_indexes_are_checked_in_couchdbs_order() {
        let create = |text: &'static str| {
            let body = Value::parse(text.as_bytes()).expect("JSON");
            Create::of(body).map(|_| ()).map_err(|error| (error.name(), error.to_string()))
        };
        for (text, name, reason) in [
            (r#"{"type":1.5}"#, "missing_required_key", "Missing required key: index"),
            (r#"{"index":{},"type":["baz",3.0]}"#, "invalid_string", "Invalid string: [<<98,97,122>>,3.0]"),
            (r#"{"index":{},"name":""}"#, "invalid_empty_string", "Index name or ddoc cannot be empty string"),
            (r#"{"index":{},"ddoc":[null,false]}"#, "invalid_string", "Invalid string: [null,false]"),
            (r#"{"index":{},"w":0}"#, "invalid_pos_integer", "0 is not an integer greater than zero"),
            (r#"{"index":{},"y":0}"#, "invalid_key", "Invalid key y for this request."),
        ] {
            assert_eq!(create(text), Err((name, reason.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_partition_is_named_once() {
        let of = |text: &str, partition| Find::of(Value::parse(text.as_bytes()).expect("JSON"), partition);
        let partition = |found: Result<Find, Error>| found.expect("a query").partition;
        assert_eq!(partition(of(r#"{"selector":{},"partition":"p"}"#, Some("p"))).as_deref(), Some("p"));
        assert_eq!(partition(of(r#"{"selector":{}}"#, Some("p"))).as_deref(), Some("p"));
        assert_eq!(partition(of(r#"{"selector":{},"partition":""}"#, None)), None);
        assert!(of(r#"{"selector":{},"partition":"p"}"#, Some("q")).is_err());
    }
}
