//! What browsers let scripts of other sites do (CORS), as configured; nothing, unless it is.

use std::time::Duration;

use common::config::Cors;
use http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::call::{LAG, SHARD};

/// Headers of answers that scripts may read, besides those that they may always read.
const EXPOSED: [&str; 10] = [
    "accept-ranges",
    "content-length",
    "content-range",
    "content-type",
    "etag",
    "location",
    "retry-after",
    "x-couch-request-id",
    "x-couch-update-newrev",
    "x-couchdb-body-time",
];

/// The layer that answers preflights and marks answers; `None` if no other site may ask. Names that are no methods or
/// headers are left out, as no browser sends them.
pub(super) fn layer(config: &Cors) -> Option<CorsLayer> {
    if config.origins.is_empty() {
        return None;
    }
    let origins = match config.origins.as_slice() {
        [any] if any == "*" => AllowOrigin::any(),
        listed => AllowOrigin::list(listed.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())),
    };
    let methods: Vec<Method> = config.methods.iter().filter_map(|name| name.parse().ok()).collect();
    let headers: Vec<HeaderName> = config.headers.iter().filter_map(|name| name.parse().ok()).collect();
    let exposed = EXPOSED.iter().map(|name| HeaderName::from_static(name)).chain([LAG, SHARD]);
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_credentials(config.credentials)
        .allow_methods(methods)
        .allow_headers(headers)
        .expose_headers(exposed.collect::<Vec<_>>())
        .max_age(Duration::from_secs(config.max_age));
    Some(layer)
}
