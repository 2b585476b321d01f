//! The function that a feed's filter names, read from its design document.

use bytes::Bytes;
use common::change::FilterFunction;
use common::ids::{DbName, DocId};
use common::query::Consistency;
use serde_json::{Map, Value, json};

use crate::http::call::Call;
use crate::http::error::Error;
use crate::http::function_request;

/// `filters/NAME` of a design document, or the map of `views/NAME`.
pub(super) async fn read(
    call: &Call,
    db: &DbName,
    (design, member, name): (&str, &str, &str),
    body: Option<&Bytes>,
) -> Result<FilterFunction, Error> {
    let id = DocId::parse(&format!("_design/{design}"))?;
    let designed = call.app.ops.design(db, &id, Consistency::Linearizable).await?;
    let members: Map<String, Value> = serde_json::from_slice(&designed.json).unwrap_or_default();
    let functions = members.get(member).ok_or_else(|| Error::NoKey(member.into()))?;
    let function = functions.get(name).ok_or_else(|| Error::NoKey(name.into()))?;
    if member == "views" {
        let text = function.get("map").and_then(Value::as_str).ok_or_else(|| Error::NoKey("map".into()))?;
        return Ok(FilterFunction { design: designed.design.group.library.clone(), text: text.into(), request: None });
    }
    let text = function.as_str().ok_or(Error::NotImplemented("Only filters that are one function are served."))?;
    let mut whole = members.clone();
    whole.insert("_id".to_owned(), json!(id.as_str()));
    let request = function_request::of(call, db, &designed.db, body);
    let (design, request) = (Value::Object(whole).to_string().into(), Some(request.to_string().into()));
    Ok(FilterFunction { design, text: text.into(), request })
}
