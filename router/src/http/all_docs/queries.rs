//! `POST /{db}/_all_docs/queries` and its like: several listings, one behind the other.

use axum::body::Body;
use bytes::Bytes;
use common::ids::DbName;
use futures::StreamExt;
use futures::future::ready;
use futures::stream::{self, BoxStream, TryStreamExt, once};
use serde_json::value::RawValue;

use super::options::Options;
use super::{Kind, Text, text};
use crate::http::call::Call;
use crate::http::error::Error;
use crate::http::read::tell_lag;
use crate::http::{Answer, body, render};
use crate::ops;

/// Answers `{"queries":[{…},…]}` with `{"results":[{"total_rows":…,"rows":[…]},…]}`. What the request's own query says
/// holds for all of them, unless they say otherwise.
pub(in crate::http) async fn list(call: &Call, db: DbName, kind: Kind, request: Body) -> Answer {
    let text_of_queries = call.read(request).await?;
    let queries = queries(&text_of_queries)?;
    let params = call.params();
    let consistency = call.consistency(&params)?;
    let mut asked = Vec::with_capacity(queries.len());
    for query in &queries {
        let mut params = call.params();
        params.add_body(query.get().as_bytes())?;
        asked.push(Options::of(&params)?);
    }
    // What is asked first is begun before the status goes out; the others while they are sent, so that only one
    // listing at a time holds its pages in memory.
    let mut asked = asked.into_iter();
    let (first, lag_ms) = match asked.next() {
        Some(options) => {
            let Text { pieces, lag_ms } = text(&call.app.ops, &db, kind, options, consistency).await?;
            (pieces, lag_ms)
        }
        None => {
            call.app.ops.db(&db).await?;
            (stream::empty().boxed(), 0)
        }
    };
    let ops = call.app.ops.clone();
    let others = stream::iter(asked).then(move |options| {
        let (ops, db) = (ops.clone(), db.clone());
        async move {
            let text = text(&ops, &db, kind, options, consistency).await?;
            Ok::<_, ops::Error>(fixed(b",\r\n").chain(text.pieces))
        }
    });
    let open = if queries.is_empty() { fixed(b"{\"results\":[") } else { fixed(b"{\"results\":[\r\n") };
    let whole = open.chain(first).chain(others.try_flatten()).chain(fixed(b"\r\n]}\n"));
    // Nothing may follow an error: the connection is cut there, so that the answer does not look whole.
    let whole = whole.scan(false, |failed, piece| {
        let over = std::mem::replace(failed, piece.is_err());
        ready((!over).then_some(piece))
    });
    let mut response = render::json_stream(Body::from_stream(whole));
    tell_lag(response.headers_mut(), consistency, lag_ms);
    Ok(response)
}

fn fixed(text: &'static [u8]) -> BoxStream<'static, Result<Bytes, ops::Error>> {
    once(ready(Ok(Bytes::from_static(text)))).boxed()
}

fn queries(text: &[u8]) -> Result<Vec<Box<RawValue>>, Error> {
    let body: serde_json::Value = body::parse_json(text)?;
    let members = body.as_object().ok_or_else(|| Error::bad("Request body must be a JSON object"))?;
    let queries = members.get("queries").ok_or_else(|| Error::bad("POST body must include `queries` parameter."))?;
    let array = || Error::bad("`queries` member must be an array.");
    let queries = queries.as_array().ok_or_else(array)?;
    queries.iter().map(|query| serde_json::value::to_raw_value(query).map_err(|_| array())).collect()
}
