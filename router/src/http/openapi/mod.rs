//! `GET /_openapi.json`: what this API takes and gives, in OpenAPI 3.1.
//!
//! Made from the routes themselves: a route without a description does not compile, and tests hold the descriptions
//! against the answers that the API's script pins. The same text comes from every router of a version.

mod describe;
mod document;
#[expect(dead_code, reason = "shapes are read by their derive alone")]
mod documents;
mod operation;
mod parameters;
mod routes;
#[expect(dead_code, reason = "shapes are read by their derive alone")]
mod shapes;
#[cfg(test)]
mod tests;
#[expect(dead_code, reason = "shapes are read by their derive alone")]
mod views;

use std::sync::LazyLock;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use super::call::Call;
use super::{read, render};

/// The document and its version.
static TEXT: LazyLock<(Bytes, HeaderValue)> = LazyLock::new(|| {
    let mut text = serde_json::to_vec(&document::document()).expect("made of text, numbers and lists: it becomes JSON");
    text.push(b'\n');
    let etag = render::content_etag(&text);
    (text.into(), etag)
});

/// `GET /_openapi.json`
pub(super) fn show(call: &Call) -> Response<Body> {
    let (text, etag) = &*TEXT;
    let mut response = match call.knows(etag) {
        true => read::not_modified(etag),
        false => {
            let kind = HeaderValue::from_static(operation::JSON);
            render::typed(StatusCode::OK, kind, text.clone().into())
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag.clone());
    // Kept, and asked about each time: another version of the router may say something else.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
