//! `GET` and `POST /{db}/_changes`: a database's feed, as it is now or as it goes on; and `/{db}/_partition/{partition}/_changes`,
//! that of one partition.

mod filter;
mod function;
mod options;
mod row;
mod sending;

use axum::body::Body;
use common::ids::DbName;
use common::partition::Partition;
use futures::TryStreamExt;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::call::Call;
use super::error::Error;
use super::{Answer, render};
use crate::feed::Scope;
use crate::telemetry::request;
use filter::Filter;
use options::{Kind, Options};
use sending::Sending;

/// Where a browser's event source left off.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(super) async fn feed(call: &Call, name: DbName, partition: Option<Partition>, body: Body) -> Answer {
    let body = match call.parts.method {
        Method::POST => Some(call.read_json(body).await?),
        _ => None,
    };
    let mut params = call.params();
    if let Some(body) = body.as_ref().filter(|body| !body.is_empty()) {
        params.add_body(body)?;
    }
    let mut options = Options::of(&params, call.header(LAST_EVENT_ID), body.is_some())?;
    options.since.check(Scope::of(partition.as_ref())).map_err(|wrong| Error::bad(wrong.to_string()))?;
    if let Filter::Function { design, member, function } = &options.filter {
        options.function =
            Some(Box::new(function::read(call, &name, (design, member, function), body.as_ref()).await?));
    }
    let kind = options.kind;
    // The first page is there before the status goes out: a shard that cannot answer fails the whole request.
    let sending = Sending::begin(call.app.ops.clone(), &name, partition, options).await?;
    // The feed goes on when the request's own work has ended: it keeps its id, and counts as a reader.
    let (id, reader) = (request::current(), call.app.metrics.reads_changes());
    let chunks = futures::stream::try_unfold(Some(sending), move |state| {
        let _reads = &reader;
        request::within_any(id.clone(), async move {
            let Some(mut sending) = state else { return Ok(None) };
            match sending.chunk().await {
                Ok((chunk, more)) => Ok(Some((sending.pieces(chunk), more.then_some(sending)))),
                Err(error) => {
                    tracing::debug!(%error, "a feed was cut");
                    Err(error)
                }
            }
        })
    });
    let body = Body::from_stream(chunks.try_flatten());
    Ok(match kind {
        Kind::EventSource => {
            let mut response = render::typed(StatusCode::OK, HeaderValue::from_static("text/event-stream"), body);
            response.headers_mut().insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            response
        }
        _ => render::json_stream(body),
    })
}
