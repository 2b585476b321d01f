//! The views of a design document: read from its body, checked as CouchDB checks them, named by what they depend on.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_128;

use super::reduce::Builtin;
use crate::ids::Signature;
use crate::mango::index::LANGUAGE;
use crate::mango::key;

/// All that the index of a design document's views depends on. Made together, since every document is read once for
/// all of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Group {
    /// The texts of the map functions, each once.
    pub maps: Vec<Box<str>>,
    /// JSON text of what `require` finds: `{"views":{"lib":…}}`, or `{}`.
    pub library: Box<str>,
    /// Whether design documents are mapped as well.
    pub include_design: bool,
    /// Whether documents show their `_local_seq`.
    pub local_seq: bool,
    /// Whether its rows are kept by the documents' partitions.
    pub by_partition: bool,
}

impl Group {
    /// Its name. Another version of the keys' bytes is another index.
    pub fn signature(&self) -> Signature {
        let bytes = postcard::to_stdvec(&(key::VERSION, self)).expect("texts and flags always serialise into memory");
        Signature(xxh3_128(&bytes).to_be_bytes())
    }
}

/// How the rows of a view are reduced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reduce {
    /// By a function that is built in.
    Builtin(Builtin),
    /// By a function in JavaScript: its text.
    Function(Box<str>),
}

/// One view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its name.
    pub name: Box<str>,
    /// Its map function's place in [`Group::maps`].
    pub map: u32,
    /// How its rows are reduced, if they can be.
    pub reduce: Option<Reduce>,
}

/// The views of a design document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Design {
    /// Those in JavaScript, by name.
    pub views: Vec<View>,
    /// What their index depends on. Its `by_partition` is what the options say, or else `false`.
    pub group: Group,
    /// `options.partitioned`.
    pub partitioned: Option<bool>,
    /// `language`; JavaScript if it says nothing.
    pub language: Box<str>,
}

/// Why a design document is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// What a member must be.
const STRING: &[&str] = &["string"];
const OBJECT: &[&str] = &["object"];
const BOOLEAN: &[&str] = &["boolean"];
const FUNCTIONS: &[&str] = &["object", "string"];

impl Design {
    /// The language of views that are functions.
    pub const JAVASCRIPT: &'static str = "javascript";

    /// Reads a design document's body.
    pub fn parse(json: &[u8]) -> Result<Self, Invalid> {
        let body: Map<String, Value> =
            serde_json::from_slice(json).map_err(|_| Invalid("a design document must be a JSON object".to_owned()))?;
        let language = body.get("language").and_then(Value::as_str).unwrap_or(Self::JAVASCRIPT);
        check_shape(&body, language)?;
        let member = |name: &str| body.get("options").and_then(|options| options.get(name)).and_then(Value::as_bool);
        let mut maps: Vec<Box<str>> = Vec::new();
        let mut views = Vec::new();
        let none = Map::new();
        let defined = body.get("views").and_then(Value::as_object).unwrap_or(&none);
        for (name, view) in defined.iter().filter(|(name, _)| language == Self::JAVASCRIPT && *name != "lib") {
            let Some(text) = view.get("map").and_then(Value::as_str) else {
                return Err(Invalid(format!("View {name} must contain map function")));
            };
            let at = maps.iter().position(|known| **known == *text).unwrap_or_else(|| {
                maps.push(text.into());
                maps.len() - 1
            });
            let reduce = view.get("reduce").and_then(Value::as_str).map(reduce).transpose()?.flatten();
            views.push(View { name: name.as_str().into(), map: u32::try_from(at).unwrap_or(u32::MAX), reduce });
        }
        let library = match defined.get("lib") {
            Some(lib) => serde_json::json!({"views": {"lib": lib}}).to_string(),
            None => "{}".to_owned(),
        };
        let group = Group {
            maps,
            library: library.into(),
            include_design: member("include_design").unwrap_or(false),
            local_seq: member("local_seq").unwrap_or(false),
            by_partition: false,
        };
        Ok(Self { views, group, partitioned: member("partitioned"), language: language.into() })
    }

    /// The validation function of a design document's body; `None` if it has none.
    pub fn validation(json: &[u8]) -> Option<Box<str>> {
        let body: Map<String, Value> = serde_json::from_slice(json).ok()?;
        body.get("validate_doc_update")?.as_str().map(Box::from)
    }

    /// Whether its views are asked by partition, in a database that has partitions or has none.
    pub fn is_partitioned(&self, has_partitions: bool) -> bool {
        has_partitions && self.partitioned.unwrap_or(true)
    }

    /// What its index depends on there.
    pub fn group_in(&self, has_partitions: bool) -> Group {
        Group { by_partition: self.is_partitioned(has_partitions), ..self.group.clone() }
    }

    /// The view of that name.
    pub fn view(&self, name: &str) -> Option<&View> {
        self.views.iter().find(|view| &*view.name == name)
    }
}

fn reduce(text: &str) -> Result<Option<Reduce>, Invalid> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if !text.starts_with('_') {
        return Ok(Some(Reduce::Function(text.into())));
    }
    match Builtin::named(text) {
        Some(builtin) => Ok(Some(Reduce::Builtin(builtin))),
        None => Err(Invalid(format!("`{text}` is not a supported reduce function."))),
    }
}

/// Whether the members are of the types that they must have.
fn check_shape(body: &Map<String, Value>, language: &str) -> Result<(), Invalid> {
    for name in ["filters", "lists", "shows", "updates", "views", "options"] {
        check(body.get(name), name, OBJECT)?;
    }
    for name in ["language", "validate_doc_update"] {
        check(body.get(name), name, STRING)?;
    }
    check(body.get("rewrites"), "rewrites", &["string", "array"])?;
    let inside = |name: &str| body.get(name).and_then(Value::as_object).into_iter().flatten();
    for name in ["filters", "lists", "shows", "updates"] {
        for (function, text) in inside(name) {
            check(Some(text), &format!("{name}.{function}"), FUNCTIONS)?;
        }
    }
    for (name, value) in
        inside("options").filter(|(name, _)| matches!(name.as_str(), "include_design" | "local_seq" | "partitioned"))
    {
        check(Some(value), &format!("options.{name}"), BOOLEAN)?;
    }
    for (name, view) in inside("views") {
        check(Some(view), &format!("views.{name}"), OBJECT)?;
        if name != "lib" {
            // The map of a Mango index says which fields it has.
            let map = if language == LANGUAGE { OBJECT } else { STRING };
            check(view.get("map"), &format!("views.{name}.map"), map)?;
            check(view.get("reduce"), &format!("views.{name}.reduce"), STRING)?;
        }
    }
    Ok(())
}

fn check(value: Option<&Value>, path: &str, types: &[&str]) -> Result<(), Invalid> {
    let Some(value) = value else { return Ok(()) };
    let is = |kind: &&str| match *kind {
        "string" => value.is_string(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        _ => value.is_boolean(),
    };
    if types.iter().any(is) {
        return Ok(());
    }
    Err(Invalid(format!("`{path}` field must have {} type", types.join(" or "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str) -> String {
        match Design::parse(json.as_bytes()) {
            Ok(design) => {
                let view = |view: &View| format!("{}={}:{:?}", view.name, view.map, view.reduce);
                design.views.iter().map(view).collect::<Vec<_>>().join(" ")
            }
            Err(Invalid(reason)) => reason,
        }
    }

    #[test]
    fn views_are_read_and_their_shape_is_checked() {
        for (json, wanted) in [
            ("{}", ""),
            (
                r#"{"views":{"a":{"map":"f"},"b":{"map":"f","reduce":"_count"},"c":{"map":"g","reduce":" "}}}"#,
                "a=0:None b=0:Some(Builtin(Count)) c=1:None",
            ),
            (
                r#"{"views":{"a":{"map":"f","reduce":"function(){}"},"lib":{"x":"y"}}}"#,
                r#"a=0:Some(Function("function(){}"))"#,
            ),
            (r#"{"views":5}"#, "`views` field must have object type"),
            (r#"{"views":{"a":"f"}}"#, "`views.a` field must have object type"),
            (r#"{"views":{"a":{}}}"#, "View a must contain map function"),
            (r#"{"views":{"a":{"map":5}}}"#, "`views.a.map` field must have string type"),
            (
                r#"{"views":{"a":{"map":"f","reduce":"_random_junk"}}}"#,
                "`_random_junk` is not a supported reduce function.",
            ),
            (r#"{"filters":{"a":5}}"#, "`filters.a` field must have object or string type"),
            (r#"{"validate_doc_update":{}}"#, "`validate_doc_update` field must have string type"),
            (r#"{"options":{"partitioned":1}}"#, "`options.partitioned` field must have boolean type"),
            (r#"{"rewrites":5}"#, "`rewrites` field must have string or array type"),
            (r#"{"language":"query","views":{"a":{"map":{"fields":{}}}}}"#, ""),
            (r#"{"language":"query","views":{"a":{"map":"f"}}}"#, "`views.a.map` field must have object type"),
        ] {
            assert_eq!(told(json), wanted, "{json}");
        }
    }

    #[test]
    fn equal_functions_and_options_have_one_signature() {
        let signature = |json: &str| Design::parse(json.as_bytes()).expect("valid").group.signature();
        let one = signature(r#"{"views":{"a":{"map":"f"}}}"#);
        assert_eq!(one, signature(r#"{"x":1,"views":{"b":{"map":"f","reduce":"_sum"}}}"#));
        for other in [
            r#"{"views":{"a":{"map":"g"}}}"#,
            r#"{"views":{"a":{"map":"f"},"lib":{}}}"#,
            r#"{"views":{"a":{"map":"f"}},"options":{"include_design":true}}"#,
            r#"{"views":{"a":{"map":"f"}},"options":{"local_seq":true}}"#,
        ] {
            assert_ne!(one, signature(other), "{other}");
        }
        assert_eq!(one.to_string().len(), 32);
    }
}
