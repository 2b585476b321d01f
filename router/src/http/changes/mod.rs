//! `GET` and `POST /{db}/_changes`: a database's feed, as it is now or as it goes on.

mod filter;
mod options;
mod row;
mod sending;

use axum::body::Body;
use common::ids::{DbName, DocId};
use common::query::Revs;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::call::Call;
use super::error::Error;
use super::{Answer, render};
use crate::ops;
use crate::ops::get::Wanted;
use crate::telemetry::request;
use filter::Filter;
use options::{Kind, Options};
use sending::Sending;

/// Where a browser's event source left off.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(super) async fn feed(call: &Call, name: DbName, body: Body) -> Answer {
    let body = match call.parts.method {
        Method::POST => Some(call.read_json(body).await?),
        _ => None,
    };
    let mut params = call.params();
    if let Some(body) = body.as_ref().filter(|body| !body.is_empty()) {
        params.add_body(body)?;
    }
    let options = Options::of(&params, call.header(LAST_EVENT_ID), body.is_some())?;
    if let Filter::Function { design, member, function } = &options.filter {
        return Err(no_function(call, &name, design, member, function).await?);
    }
    let kind = options.kind;
    // The first page is there before the status goes out: a shard that cannot answer fails the whole request.
    let sending = Sending::begin(call.app.ops.clone(), &name, options).await?;
    // The feed goes on when the request's own work has ended: it keeps its id, and counts as a reader.
    let (id, reader) = (request::current(), call.app.metrics.reads_changes());
    let chunks = futures::stream::try_unfold(Some(sending), move |state| {
        let _reads = &reader;
        request::within_any(id.clone(), async move {
            let Some(mut sending) = state else { return Ok(None) };
            match sending.chunk().await {
                Ok((chunk, more)) => Ok(Some((chunk, more.then_some(sending)))),
                Err(error) => {
                    tracing::debug!(%error, "a feed was cut");
                    Err(error)
                }
            }
        })
    });
    let body = Body::from_stream(chunks);
    Ok(match kind {
        Kind::EventSource => {
            let mut response = render::typed(StatusCode::OK, HeaderValue::from_static("text/event-stream"), body);
            response.headers_mut().insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            response
        }
        _ => render::json_stream(body),
    })
}

/// There are no filter functions yet: why this one cannot be used.
async fn no_function(call: &Call, db: &DbName, design: &str, member: &str, function: &str) -> Result<Error, Error> {
    let id = DocId::parse(&format!("_design/{design}"))?;
    let wanted = Wanted { revs: Revs::Winner, tree: false };
    let (doc, _) = call.app.ops.get(db, &id, &wanted, common::query::Consistency::Linearizable).await?;
    let Some(design) = doc.filter(|doc| !doc.deleted).and_then(|doc| doc.found.into_iter().next()) else {
        return Ok(ops::Error::Missing.into());
    };
    let members: serde_json::Value = serde_json::from_slice(&design.json).unwrap_or_default();
    Ok(match members.get(member).map(|functions| functions.get(function)) {
        None => Error::NoKey(member.into()),
        Some(None) => Error::NoKey(function.into()),
        Some(Some(_)) => Error::NotImplemented("Filter functions are not served yet."),
    })
}
