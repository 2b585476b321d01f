//! Definitions of indexes, as design documents of the language `query` hold them.

use serde::{Deserialize, Serialize};

use super::erlang::plain;
use super::error::Error;
use super::fields::{Direction, Sort, direction_of};
use super::path::Path;
use super::selector::Selector;
use super::value::Value;

/// The language of design documents that define indexes.
pub const LANGUAGE: &str = "query";

/// One index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name, one of its kind in its design document.
    pub name: Box<str>,
    /// What it sorts by. The direction is for show: an index is read both ways.
    pub fields: Sort,
    /// JSON text of the selector, in normal form, of the documents that are in it; `None` for all.
    pub partial: Option<Box<str>>,
    /// Whether each partition has its own; `None` if its design document says nothing, so that the database decides.
    pub partitioned: Option<bool>,
    /// Whether it waits to be asked for before it is built (`autoupdate: false`).
    pub lazy: bool,
    /// JSON text of its definition, as it is shown.
    pub shown: Box<str>,
}

/// An index and where it is defined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Id of the design document.
    pub ddoc: Box<str>,
    /// The definition.
    pub definition: Definition,
}

impl Definition {
    /// The names of the fields, in order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.fields.names()
    }

    /// The selector of the documents that are in it.
    pub fn partial_selector(&self) -> Option<Selector> {
        // What cannot be read was never let in as a definition.
        self.partial.as_ref().and_then(|text| Selector::parse_normal(text.as_bytes()).ok())
    }
}

impl Index {
    /// `{"ddoc":…,"name":…,"type":"json","partitioned":…,"def":…}`
    pub fn to_json(&self) -> String {
        let Definition { name, partitioned, shown, .. } = &self.definition;
        let text = |text: &str| Value::String(text.into()).to_json();
        let partitioned = partitioned.unwrap_or(false);
        format!(
            "{{\"ddoc\":{},\"name\":{},\"type\":\"json\",\"partitioned\":{partitioned},\"def\":{shown}}}",
            text(&self.ddoc),
            text(name)
        )
    }
}

/// What stands for reading all documents, wherever indexes are shown.
pub const ALL_DOCS_JSON: &str = r#"{"ddoc":null,"name":"_all_docs","type":"special","def":{"fields":[{"_id":"asc"}]}}"#;

/// The indexes a design document defines, `json` being its body. Whatever is no index is left out, as CouchDB does:
/// design documents come from anywhere.
pub fn of_ddoc(json: &[u8]) -> Vec<Definition> {
    let Ok(body) = Value::parse(json) else { return Vec::new() };
    if body.get("language").and_then(Value::as_str) != Some(LANGUAGE) {
        return Vec::new();
    }
    let partitioned = match body.get("options").and_then(|options| options.get("partitioned")) {
        Some(Value::Bool(partitioned)) => Some(*partitioned),
        _ => None,
    };
    let lazy = matches!(body.get("autoupdate"), Some(Value::Bool(false)));
    let Some(Value::Object(views)) = body.get("views") else { return Vec::new() };
    let definition = |name: &str, view: &Value<'_>| {
        if !matches!(view.get("options"), Some(Value::Object(_))) {
            return None;
        }
        of_view(name, view.get("map")?, partitioned, lazy)
    };
    views.iter().filter_map(|(name, view)| definition(name, view)).collect()
}

fn of_view(name: &str, map: &Value<'_>, partitioned: Option<bool>, lazy: bool) -> Option<Definition> {
    let Value::Object(members) = map else { return None };
    let fields = columns(map.get("fields")?)?;
    let partial = partial(map).map(|selector| Selector::of(selector.clone())).transpose().ok()?;
    let shown = members.iter().filter(|(name, value)| !(name == "partial_filter_selector" && is_empty(value)));
    let shown = shown.map(|(name, value)| {
        let value = if name == "fields" { fields.as_array() } else { value.clone() };
        (name.clone(), value)
    });
    let shown = Value::Object(shown.collect()).to_json();
    let partial = partial.map(|selector| selector.to_json().into());
    Some(Definition { name: name.into(), fields, partial, partitioned, lazy, shown: shown.into() })
}

/// `{"a":"asc","b":"asc"}`
fn columns(fields: &Value<'_>) -> Option<Sort> {
    let Value::Object(fields) = fields else { return None };
    let column = |(name, direction): &(std::borrow::Cow<'_, str>, Value<'_>)| {
        Path::parse(name).ok()?;
        Some((Box::from(&**name), direction_of(direction)?))
    };
    fields.iter().map(column).collect::<Option<Vec<(Box<str>, Direction)>>>().map(Sort)
}

/// The selector of a partial index; older design documents call it `selector`.
fn partial<'v, 't>(map: &'v Value<'t>) -> Option<&'v Value<'t>> {
    let given = |name| map.get(name).filter(|selector| !is_empty(selector));
    given("partial_filter_selector").or_else(|| given("selector"))
}

fn is_empty(value: &Value<'_>) -> bool {
    matches!(value, Value::Object(members) if members.is_empty())
}

/// The error of a design document whose language is another one (`None`: it has none).
pub fn foreign_language(language: Option<&Value<'_>>) -> Error {
    Error::Language(match language {
        Some(language) => format!("{{{},{}}}", plain(&Value::String("language".into())), plain(language)),
        None => "false".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &str) -> Vec<String> {
        let index = |definition| Index { ddoc: "_design/d".into(), definition }.to_json();
        of_ddoc(body.as_bytes()).into_iter().map(index).collect()
    }

    #[test]
    fn design_documents_define_indexes_as_couchdb_stores_them() {
        let stored = r#"{"language":"query","views":{"n-idx":{"map":{"fields":{"n":"asc"},"partial_filter_selector":{}},
            "reduce":"_count","options":{"def":{"fields":["n"]}}},"pn":{"map":{"fields":{"n":"desc"},
            "partial_filter_selector":{"n":{"$gt":2}}},"reduce":"_count","options":{}}}}"#;
        assert_eq!(
            shown(stored),
            [
                r#"{"ddoc":"_design/d","name":"n-idx","type":"json","partitioned":false,"def":{"fields":[{"n":"asc"}]}}"#,
                r#"{"ddoc":"_design/d","name":"pn","type":"json","partitioned":false,"def":{"fields":[{"n":"desc"}],"partial_filter_selector":{"n":{"$gt":2}}}}"#
            ]
        );
        let partial: Vec<Option<Box<str>>> =
            of_ddoc(stored.as_bytes()).into_iter().map(|index| index.partial).collect();
        assert_eq!(partial, [None, Some(r#"{"n":{"$gt":2}}"#.into())]);
    }

    #[test]
    fn older_design_documents_say_selector() {
        let old = r#"{"language":"query","autoupdate":false,"options":{"partitioned":true},"views":{"o":{
            "map":{"fields":{"l":"asc"},"selector":{"l":{"$gte":"F"}}},"options":{}}}}"#;
        let indexes = of_ddoc(old.as_bytes());
        assert_eq!(indexes[0].partial.as_deref(), Some(r#"{"l":{"$gte":"F"}}"#));
        assert_eq!((indexes[0].partitioned, indexes[0].lazy), (Some(true), true));
    }

    #[test]
    fn what_is_no_index_is_left_out() {
        for body in [
            r#"{"language":"javascript","views":{"v":{"map":{"fields":{"n":"asc"}},"options":{}}}}"#,
            r#"{"language":"query"}"#,
            r#"{"language":"query","views":{"v":{"map":"function(doc) {}","options":{}}}}"#,
            r#"{"language":"query","views":{"v":{"map":{"fields":{"n":"asc"}}}}}"#,
            r#"{"language":"query","views":{"v":{"map":{"fields":["n"]},"options":{}}}}"#,
            r#"{"language":"query","views":{"v":{"map":{"fields":{"n":"up"}},"options":{}}}}"#,
            r#"{"language":"query","views":{"v":{"map":{"fields":{"n..m":"asc"}},"options":{}}}}"#,
            r#"{"language":"query","views":{"v":{"map":{"fields":{"n":"asc"},"selector":{"$x":1}},"options":{}}}}"#,
            "[",
        ] {
            assert_eq!(of_ddoc(body.as_bytes()), [], "{body}");
        }
    }

    #[test]
    fn another_language_is_named_as_a_term() {
        let language = Value::String("js".into());
        let told = "Existing design doc has an invalid language: {<<108,97,110,103,117,97,103,101>>,<<106,115>>}";
        assert_eq!(foreign_language(Some(&language)).to_string(), told);
        assert_eq!(foreign_language(None).to_string(), "Existing design doc has an invalid language: false");
    }
}
