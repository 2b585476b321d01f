//! Design documents as indexes are put into them and taken out: bodies in, bodies out, laid out as CouchDB's.

use std::borrow::Cow;

use super::erlang::plain;
use super::error::Error;
use super::fields::Sort;
use super::index::{LANGUAGE, foreign_language};
use super::name::{Named, generated};
use super::request::Create;
use super::selector::Selector;
use super::value::Value;

type Members<'t> = Vec<(Cow<'t, str>, Value<'t>)>;

/// A request for an index, checked.
#[derive(Debug, Clone)]
pub struct Checked<'t> {
    /// Id of the design document.
    pub ddoc: String,
    /// The index's name.
    pub name: String,
    view: Value<'t>,
    partitioned: Option<bool>,
}

/// Checks a request for an index and names what it does not name.
pub fn check<'t>(create: &Create<'t>) -> Result<Checked<'t>, Error> {
    match &*create.kind {
        "json" => {}
        "text" => return Err(Error::NoTextService),
        "nouveau" => return Err(Error::NoNouveauService),
        other => return Err(Error::IndexType(other.to_owned())),
    }
    let map = map(&create.index)?;
    let named = Named {
        index: &create.index,
        ddoc: create.ddoc.as_deref(),
        name: create.name.as_deref(),
        partitioned: create.partitioned,
        kind: &create.kind,
        w: &create.w,
    };
    let ddoc = match create.ddoc.as_deref() {
        Some(id) if id.starts_with("_design/") => id.to_owned(),
        Some(name) => format!("_design/{name}"),
        None => format!("_design/{}", generated(&named)),
    };
    let name = create.name.as_deref().map_or_else(|| generated(&named), str::to_owned);
    let options = object([("def", create.index.clone())]);
    let view = object([("map", map), ("reduce", Value::String("_count".into())), ("options", options)]);
    Ok(Checked { ddoc, name, view, partitioned: create.partitioned })
}

/// The definition as it is stored: each field with its direction, the selector in normal form.
fn map<'t>(index: &Value<'_>) -> Result<Value<'t>, Error> {
    let Value::Object(members) = index else { return Err(Error::IndexNotObject(plain(index))) };
    let fields = Sort::of(index.get("fields").ok_or(Error::MissingKey("fields"))?)?;
    let partial = match index.get("partial_filter_selector") {
        Some(selector) => Selector::of(selector.clone())?.normal().clone(),
        None => Value::Object(Vec::new()),
    };
    let known = |name: &str| matches!(name, "fields" | "partial_filter_selector");
    if let Some((name, _)) = members.iter().find(|(name, _)| !known(name)) {
        return Err(Error::UnknownKey(name.to_string()));
    }
    Ok(object([("fields", fields.as_object()), ("partial_filter_selector", partial)]))
}

/// Adds an index to the body of a design document (`None`: there is none yet); `None` if it is in it already.
pub fn add<'t>(checked: &Checked<'t>, body: Option<&Value<'t>>) -> Result<Option<Value<'t>>, Error> {
    let mut members: Members<'t> = match body {
        Some(Value::Object(members)) => {
            require_query(members)?;
            if partitioned_of(members) != checked.partitioned {
                return Err(Error::PartitionedMismatch(checked.ddoc.clone()));
            }
            members.clone()
        }
        _ => vec![("language".into(), Value::String(LANGUAGE.into()))],
    };
    let mut views = match members.iter().find(|(name, _)| name == "views") {
        Some((_, Value::Object(views))) => views.clone(),
        _ => Vec::new(),
    };
    put(&mut views, &checked.name, checked.view.clone());
    put(&mut members, "views", Value::Object(views));
    if let (None, Some(partitioned)) = (body, checked.partitioned) {
        put(&mut members, "options", object([("partitioned", Value::Bool(partitioned))]));
    }
    let added = Value::Object(members);
    Ok(body.is_none_or(|body| !body.is_same(&added)).then_some(added))
}

/// Takes an index out of the body of a design document; `None` if nothing is left of it.
pub fn remove<'t>(name: &str, body: &Value<'t>) -> Option<Value<'t>> {
    let Value::Object(members) = body else { return None };
    let mut members = members.clone();
    if let Some((_, Value::Object(views))) = members.iter_mut().find(|(name, _)| name == "views") {
        views.retain(|(known, _)| known != name);
    }
    members.retain(|(name, value)| !(name == "views" && matches!(value, Value::Object(views) if views.is_empty())));
    let only_language = members.iter().all(|(name, _)| name == "language");
    (!only_language).then_some(Value::Object(members))
}

fn require_query(members: &Members<'_>) -> Result<(), Error> {
    let language = members.iter().find(|(name, _)| name == "language").map(|(_, language)| language);
    match language.and_then(Value::as_str) {
        Some(LANGUAGE) => Ok(()),
        _ => Err(foreign_language(language)),
    }
}

fn partitioned_of(members: &Members<'_>) -> Option<bool> {
    let options = members.iter().find(|(name, _)| name == "options").map(|(_, options)| options)?;
    match options.get("partitioned") {
        Some(Value::Bool(partitioned)) => Some(*partitioned),
        _ => None,
    }
}

fn put<'t>(members: &mut Members<'t>, name: &str, value: Value<'t>) {
    match members.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => *known = value,
        None => members.push((Cow::Owned(name.to_owned()), value)),
    }
}

fn object<'t, const N: usize>(members: [(&'static str, Value<'t>); N]) -> Value<'t> {
    Value::Object(members.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &'static str) -> Result<Checked<'static>, Error> {
        check(&Create::of(Value::parse(text.as_bytes()).expect("JSON"))?)
    }

    #[test]
    fn an_index_is_stored_as_couchdb_stores_it() {
        let index = checked(r#"{"index":{"fields":["n"]},"name":"n-idx","ddoc":"nd"}"#).expect("an index");
        assert_eq!((index.ddoc.as_str(), index.name.as_str()), ("_design/nd", "n-idx"));
        let body = add(&index, None).expect("new").expect("added");
        let stored = r#"{"language":"query","views":{"n-idx":{"map":{"fields":{"n":"asc"},"partial_filter_selector":{}},"reduce":"_count","options":{"def":{"fields":["n"]}}}}}"#;
        assert_eq!(body.to_json(), stored);
        assert!(add(&index, Some(&body)).expect("the same").is_none());
        assert!(remove("n-idx", &body).is_none());
        let other = checked(r#"{"index":{"fields":["m"]},"name":"m","ddoc":"_design/nd"}"#).expect("an index");
        let both = add(&other, Some(&body)).expect("another").expect("added");
        assert_eq!(remove("m", &both).expect("the first is left").to_json(), stored);
    }

    #[test]
    fn the_option_of_partitions_stays_what_it_was() {
        let index = checked(r#"{"index":{"fields":["n"]},"ddoc":"d","partitioned":true}"#).expect("an index");
        let body = add(&index, None).expect("new").expect("added");
        assert!(body.to_json().ends_with(r#""options":{"partitioned":true}}"#), "{}", body.to_json());
        let other = checked(r#"{"index":{"fields":["m"]},"ddoc":"d"}"#).expect("an index");
        assert_eq!(add(&other, Some(&body)).err(), Some(Error::PartitionedMismatch("_design/d".to_owned())));
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let told = |text| {
            let error = checked(text).expect_err("refused");
            (error.name(), error.to_string())
        };
        for (text, name, reason) in [
            (r#"{"index":{}}"#, "missing_required_key", "Missing required key: fields"),
            (r#"{"index":[]}"#, "invalid_index", "JSON indexes must be an object, not: []"),
            (r#"{"index":{"fields":["a"],"selector":{}}}"#, "invalid_key", "Invalid key selector for this request."),
            (r#"{"index":{"fields":["a"]},"type":"geo"}"#, "invalid_index", "Invalid type for index: geo"),
            (r#"{"index":{},"type":"text"}"#, "required index service unavailable", "text"),
        ] {
            assert_eq!(told(text), (name, reason.to_owned()), "{text}");
        }
        let foreign = Value::parse(br#"{"views":{}}"#).expect("JSON");
        let index = checked(r#"{"index":{"fields":["n"]}}"#).expect("an index");
        assert!(matches!(add(&index, Some(&foreign)), Err(Error::Language(_))));
    }
}
