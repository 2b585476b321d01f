//! What functions of design documents are told of a request and of who makes it.
//!
//! Credentials are left out: design documents are written by a database's admins, and requests come from others.

use bytes::Bytes;
use common::ids::DbName;
use http::header;
use serde_json::{Map, Value, json};

use super::call::Call;
use crate::cluster::catalog::DbEntry;
use crate::ops::validation;

/// The request object of a filter.
pub(super) fn of(call: &Call, name: &DbName, db: &DbEntry, body: Option<&Bytes>) -> Value {
    let path = call.parts.uri.path();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let query: Map<String, Value> = form_urlencoded::parse(call.parts.uri.query().unwrap_or_default().as_bytes())
        .map(|(name, value)| (name.into_owned(), json!(value)))
        .collect();
    let secret = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];
    let headers: Map<String, Value> = call
        .parts
        .headers
        .iter()
        .filter(|(name, _)| !secret.contains(name))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), json!(value.to_str().ok()?))))
        .collect();
    let raw_path = call.parts.uri.path_and_query().map_or(path, |whole| whole.as_str());
    json!({
        "info": {"db_name": name.as_str()},
        "id": null,
        "method": call.parts.method.as_str(),
        "requested_path": segments,
        "path": segments,
        "raw_path": raw_path,
        "query": query,
        "headers": headers,
        "body": body.map_or_else(|| json!("undefined"), |body| json!(String::from_utf8_lossy(body))),
        "form": {},
        "cookie": {},
        "userCtx": validation::user(name, call.user.name.as_deref(), &call.user.roles),
        "secObj": validation::security(db),
    })
}
