//! `GET /{db}/{doc}?open_revs=all|[…]`: several revisions at once, as a JSON array or as multipart.

use axum::body::Body;
use common::ids::{DbName, DocId};
use common::query::{DocAnswer, Revs};
use common::rev::Rev;
use http::{HeaderValue, StatusCode};

use super::call::Call;
use super::doc::Shown;
use super::error::Error;
use super::params::Params;
use super::read::tell_lag;
use super::{Answer, render};
use crate::ops;
use crate::ops::get::Wanted;

pub(super) async fn get(call: &Call, params: &Params<'_>, db: &DbName, id: &DocId, wanted: &str) -> Answer {
    let shown = Shown::of(params);
    let consistency = call.consistency(params)?;
    let revs = match wanted {
        "all" => Revs::Leaves,
        _ => Revs::List { revs: list(params)?, latest: params.is_true("latest") },
    };
    let read = Wanted { revs: revs.clone(), tree: shown.needs_tree() };
    let (doc, lag_ms) = call.app.ops.get(db, id, &read, consistency).await?;
    if doc.is_none() && revs == Revs::Leaves {
        return Err(ops::Error::Missing.into());
    }
    let items = items(id, doc.as_ref(), &revs, shown);
    let multipart = call.accepts("multipart", "mixed");
    let mut response = if multipart { as_multipart(&items) } else { as_json(&items) };
    tell_lag(response.headers_mut(), consistency, lag_ms);
    Ok(response)
}

/// One revision: the document's text, or the revision that is not there.
enum Item {
    Found(Vec<u8>),
    Missing(Rev),
}

fn list(params: &Params<'_>) -> Result<Vec<Rev>, Error> {
    let texts: Option<serde_json::Value> = params.json("open_revs")?;
    let invalid = || Error::bad("Invalid list of revisions");
    let texts: Vec<String> = texts.and_then(|value| serde_json::from_value(value).ok()).ok_or_else(invalid)?;
    texts.iter().map(|text| Rev::parse(text).map_err(Error::from)).collect()
}

fn items(id: &DocId, doc: Option<&DocAnswer>, revs: &Revs, shown: Shown) -> Vec<Item> {
    let Some(doc) = doc else {
        let Revs::List { revs, .. } = revs else { return Vec::new() };
        return revs.iter().cloned().map(Item::Missing).collect();
    };
    let found = doc.found.iter().map(|found| {
        let mut text = Vec::with_capacity(found.json.len() + 128);
        shown.render(&mut text, id.as_str(), doc, found);
        Item::Found(text)
    });
    found.chain(doc.missing.iter().cloned().map(Item::Missing)).collect()
}

fn as_json(items: &[Item]) -> http::Response<Body> {
    let mut body = Vec::new();
    render::array(&mut body, items, |out, item| match item {
        Item::Found(text) => {
            out.extend_from_slice(b"{\"ok\":");
            out.extend_from_slice(text);
            out.push(b'}');
        }
        Item::Missing(rev) => missing(out, rev),
    });
    render::json(StatusCode::OK, body)
}

fn as_multipart(items: &[Item]) -> http::Response<Body> {
    let boundary = format!("{:032x}", rand::random::<u128>());
    let mut body = format!("--{boundary}").into_bytes();
    for item in items {
        match item {
            Item::Found(text) => {
                body.extend_from_slice(b"\r\nContent-Type: application/json\r\n\r\n");
                body.extend_from_slice(text);
            }
            Item::Missing(rev) => {
                body.extend_from_slice(b"\r\nContent-Type: application/json; error=\"true\"\r\n\r\n");
                missing(&mut body, rev);
            }
        }
        body.extend_from_slice(format!("\r\n--{boundary}").as_bytes());
    }
    body.extend_from_slice(b"--");
    let kind = format!("multipart/mixed; boundary=\"{boundary}\"");
    let kind = HeaderValue::try_from(kind).expect("hexadecimal digits can stand in a header");
    render::typed(StatusCode::OK, kind, body.into())
}

fn missing(out: &mut Vec<u8>, rev: &Rev) {
    out.extend_from_slice(b"{\"missing\":");
    render::rev(out, rev);
    out.push(b'}');
}
