//! `GET /{db}/{doc}?open_revs=all|[…]`: several revisions at once, as a JSON array or as multipart.

use common::ids::{DbName, DocId};
use common::query::{DocAnswer, Revs};
use common::rev::Rev;
use http::{HeaderValue, StatusCode};

use super::attachments::related::Related;
use super::attachments::splice::Spliced;
use super::call::Call;
use super::doc::Shown;
use super::error::Error;
use super::params::Params;
use super::read::tell_lag;
use super::{Answer, render};
use crate::ops;
use crate::ops::get::Wanted;

pub(super) async fn get(call: &Call, params: &Params<'_>, db: &DbName, id: &DocId, wanted: &str) -> Answer {
    let shown = Shown::of(params)?;
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
    let multipart = call.accepts("multipart", "mixed");
    let shown = if multipart { shown.following() } else { shown };
    let items = items(id, doc.as_ref(), &revs, &shown, multipart);
    let (kind, body) = if multipart { as_multipart(items) } else { (render::JSON, as_json(items)) };
    let body = match body.is_text() {
        true => body.text.into(),
        false => {
            let entry = call.app.ops.db_for(db, consistency).await?;
            body.body(&call.app.ops, &entry, consistency)
        }
    };
    let mut response = render::typed(StatusCode::OK, kind, body);
    tell_lag(response.headers_mut(), consistency, lag_ms);
    Ok(response)
}

/// One revision: its type, and the document's text with what belongs to it; or the revision that is not there.
enum Item {
    Found(HeaderValue, Spliced),
    Missing(Rev),
}

fn list(params: &Params<'_>) -> Result<Vec<Rev>, Error> {
    let texts: Option<serde_json::Value> = params.json("open_revs")?;
    let invalid = || Error::bad("Invalid list of revisions");
    let texts: Vec<String> = texts.and_then(|value| serde_json::from_value(value).ok()).ok_or_else(invalid)?;
    texts.iter().map(|text| Rev::parse(text).map_err(Error::from)).collect()
}

fn items(id: &DocId, doc: Option<&DocAnswer>, revs: &Revs, shown: &Shown, multipart: bool) -> Vec<Item> {
    let Some(doc) = doc else {
        let Revs::List { revs, .. } = revs else { return Vec::new() };
        return revs.iter().cloned().map(Item::Missing).collect();
    };
    let related = Related::new(render::boundary());
    let found = doc.found.iter().map(|found| {
        let mut text = Spliced::from(Vec::with_capacity(found.json.len() + 128));
        shown.render(&mut text, id, doc, found);
        if !multipart {
            return Item::Found(render::JSON, text);
        }
        let attachments = shown.attachments(doc, &found.rev);
        let (text, kind) = related.write(text, id, &found.attachments, attachments);
        Item::Found(kind.unwrap_or(render::JSON), text)
    });
    found.chain(doc.missing.iter().cloned().map(Item::Missing)).collect()
}

fn as_json(items: Vec<Item>) -> Spliced {
    let mut body = Spliced::from(b"[".to_vec());
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            body.text.push(b',');
        }
        match item {
            Item::Found(_, text) => {
                body.text.extend_from_slice(b"{\"ok\":");
                body.append(text);
                body.text.push(b'}');
            }
            Item::Missing(rev) => missing(&mut body.text, &rev),
        }
    }
    body.text.extend_from_slice(b"]\n");
    body
}

fn as_multipart(items: Vec<Item>) -> (HeaderValue, Spliced) {
    let boundary = render::boundary();
    let mut body = Spliced::from(format!("--{boundary}").into_bytes());
    for item in items {
        body.text.extend_from_slice(b"\r\nContent-Type: ");
        match item {
            Item::Found(kind, text) => {
                body.text.extend_from_slice(kind.as_bytes());
                body.text.extend_from_slice(b"\r\n\r\n");
                body.append(text);
            }
            Item::Missing(rev) => {
                body.text.extend_from_slice(b"application/json; error=\"true\"\r\n\r\n");
                missing(&mut body.text, &rev);
            }
        }
        body.text.extend_from_slice(format!("\r\n--{boundary}").as_bytes());
    }
    body.text.extend_from_slice(b"--");
    let kind = format!("multipart/mixed; boundary=\"{boundary}\"");
    (HeaderValue::try_from(kind).expect("hexadecimal digits can stand in a header"), body)
}

fn missing(out: &mut Vec<u8>, rev: &Rev) {
    out.extend_from_slice(b"{\"missing\":");
    render::rev(out, rev);
    out.push(b'}');
}
