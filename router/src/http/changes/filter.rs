//! Which changes a feed shows. Pure.

use std::collections::HashSet;

use common::change::Change;
use common::mango::{Projection, Selector, Value};

use crate::http::error::Error;
use crate::http::params::Params;

/// Which changes are shown.
#[derive(Debug, Clone)]
pub(super) enum Filter {
    /// All.
    None,
    /// Those of these documents.
    DocIds(HashSet<String>),
    /// Those of design documents.
    Design,
    /// Those whose document matches; the shards put it to the selector.
    Selector {
        /// JSON text of the selector in normal form.
        selector: Box<str>,
        /// What is shown of a document.
        fields: Projection,
    },
    /// A function of a design document, which must at least be there.
    Function {
        /// The design document's name.
        design: String,
        /// Its member: `filters` or `views`.
        member: &'static str,
        /// The function's name.
        function: String,
    },
}

impl Filter {
    /// The filter of a feed. A selector is taken from a body only (`posted`), as in CouchDB.
    pub(super) fn of(params: &Params<'_>, posted: bool) -> Result<Self, Error> {
        match params.get("filter") {
            None | Some("") => Ok(Filter::None),
            Some("_doc_ids") => doc_ids(params),
            Some("_design") => Ok(Filter::Design),
            Some("_selector") if posted => selector(params),
            Some("_selector") => Err(Error::bad("Selector must be specified in POST payload")),
            Some("_view") => match params.get("view").unwrap_or_default() {
                "" => Err(Error::bad("`view` filter parameter is not provided.")),
                view => function(view, "views", "`view` must be of the form `designname/viewname`"),
            },
            Some(name) if name.starts_with('_') => Err(Error::bad("unknown builtin filter name")),
            Some(name) => function(name, "filters", "`filter` must be of the form `designname/filtername`"),
        }
    }

    /// Whether a change is shown, as far as that is not for the shards to say.
    pub(super) fn passes(&self, change: &Change) -> bool {
        match self {
            Filter::None | Filter::Selector { .. } | Filter::Function { .. } => true,
            Filter::DocIds(ids) => ids.contains(change.id.as_str()),
            Filter::Design => change.id.is_design(),
        }
    }

    /// What the shards are to put documents to.
    pub(super) fn selector(&self) -> Option<&str> {
        match self {
            Filter::Selector { selector, .. } => Some(selector),
            _ => None,
        }
    }
}

fn doc_ids(params: &Params<'_>) -> Result<Filter, Error> {
    let wrong = || Error::bad("`doc_ids` filter parameter is not a list of doc ids.");
    let text = params.get("doc_ids").ok_or_else(wrong)?;
    let ids: serde_json::Value = serde_json::from_str(text).map_err(|_| Error::bad("invalid UTF-8 JSON"))?;
    let ids: Vec<String> = serde_json::from_value(ids).map_err(|_| wrong())?;
    Ok(Filter::DocIds(ids.into_iter().collect()))
}

fn selector(params: &Params<'_>) -> Result<Filter, Error> {
    let wrong = || Error::bad("Selector error: expected a JSON object");
    let refused = |error: common::mango::Error| Error::bad(error.to_string());
    let text = params.get("selector").ok_or_else(wrong)?;
    let selector = match Value::parse(text.as_bytes()) {
        Ok(selector @ Value::Object(_)) => Selector::of(selector).map_err(refused)?,
        _ => return Err(wrong()),
    };
    let fields = match params.get("fields").map(|text| Value::parse(text.as_bytes())) {
        None => Projection::default(),
        Some(Ok(fields @ Value::Array(_))) => Projection::of(&fields).map_err(refused)?,
        Some(_) => return Err(Error::bad("Selector error: fields must be JSON array")),
    };
    Ok(Filter::Selector { selector: selector.to_json().into(), fields })
}

/// `design/function`
fn function(name: &str, member: &'static str, wrong: &'static str) -> Result<Filter, Error> {
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [design, function] => {
            Ok(Filter::Function { design: (*design).to_owned(), member, function: (*function).to_owned() })
        }
        _ => Err(Error::bad(wrong)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(query: &str, body: Option<&str>) -> String {
        let mut params = Params::of_query(Some(query));
        if let Some(body) = body {
            params.add_body(body.as_bytes()).expect("an object");
        }
        match Filter::of(&params, body.is_some()) {
            Ok(filter) => format!("{filter:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn filters_are_told_apart_in_couchdbs_words() {
        let no_ids = "`doc_ids` filter parameter is not a list of doc ids.";
        let no_selector = "Selector error: expected a JSON object";
        for (query, body, wanted) in [
            ("", None, "None"),
            ("filter=_design", None, "Design"),
            ("filter=_doc_ids", None, no_ids),
            ("filter=_doc_ids&doc_ids=5", None, no_ids),
            ("filter=_doc_ids&doc_ids=%5B5%5D", None, no_ids),
            ("filter=_doc_ids&doc_ids=%5B", None, "invalid UTF-8 JSON"),
            ("filter=_doc_ids&doc_ids=%5B%22a%22%5D", None, r#"DocIds({"a"})"#),
            ("filter=_doc_ids", Some(r#"{"doc_ids":["a"]}"#), r#"DocIds({"a"})"#),
            ("filter=_selector&selector=%7B%7D", None, "Selector must be specified in POST payload"),
            ("filter=_selector", Some("{}"), no_selector),
            ("filter=_selector", Some(r#"{"selector":[]}"#), no_selector),
            ("filter=_selector", Some(r#"{"selector":{"a":{"$x":1}}}"#), "Invalid operator: $x"),
            ("filter=_selector", Some(r#"{"selector":{},"fields":"a"}"#), "Selector error: fields must be JSON array"),
            ("filter=_view", None, "`view` filter parameter is not provided."),
            ("filter=_view&view=x", None, "`view` must be of the form `designname/viewname`"),
            ("filter=_x", None, "unknown builtin filter name"),
            ("filter=x", None, "`filter` must be of the form `designname/filtername`"),
        ] {
            assert_eq!(told(query, body), wanted, "{query} {body:?}");
        }
    }
}
