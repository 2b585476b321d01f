//! Views: `_design/{ddoc}/_view/{view}`, several queries of one (`…/queries`), the same in a partition, and `_info`.

mod options;

use axum::body::Body;
use bytes::Bytes;
use common::document;
use common::ids::{DbName, DocId};
use common::partition::Partition;
use common::query::{Consistency, Revs};
use common::rev::Rev;
use common::view::design::View;
use common::view::{ViewDoc, ViewRow};
use futures::StreamExt;
use futures::future::ready;
use futures::stream::{self, TryStreamExt, once};
use http::{Method, StatusCode};

use super::attachments::splice::{Origin, Pieces, Spliced};
use super::call::Call;
use super::error::Error;
use super::read::tell_lag;
use super::{Answer, body, render};
use crate::ops::get::Wanted;
use crate::ops::views::{Designed, Row, Viewing};
use crate::ops::{self, Ops};
use options::Options;

/// Text gathered before it is sent on.
const CHUNK_BYTES: usize = 32 << 10;

/// Rows as text, piece by piece: an object without a line feed behind it.
struct Text {
    pieces: Pieces,
    lag_ms: u64,
}

/// `GET` and `POST …/_view/{view}`
pub(super) async fn view(
    call: &Call,
    db: DbName,
    id: DocId,
    name: String,
    partition: Option<&Partition>,
    request: Body,
) -> Answer {
    let text = match call.parts.method {
        Method::POST => Some(call.read_json(request).await?),
        _ => None,
    };
    let mut params = call.params();
    if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
        params.add_body(text)?;
    }
    let consistency = call.consistency(&params)?;
    let (designed, view) = designed(call, &db, &id, &name, consistency).await?;
    let options = Options::of(&params, &designed, &view, partition)?;
    let Text { pieces, lag_ms } = begin(&call.app.ops, &designed, &view, options, consistency).await?;
    let end = once(ready(Ok(Bytes::from_static(b"\n"))));
    let mut response = render::json_stream(Body::from_stream(pieces.chain(end)));
    tell_lag(response.headers_mut(), consistency, lag_ms);
    Ok(response)
}

/// `POST …/_view/{view}/queries`: what the request's own query says holds for all, unless they say otherwise.
pub(super) async fn queries(call: &Call, db: DbName, id: DocId, name: String, request: Body) -> Answer {
    let text = call.read_json(request).await?;
    let asked: serde_json::Value = body::parse_json(&text)?;
    let asked = asked.as_object().ok_or_else(|| Error::bad("Request body must be a JSON object"))?;
    let queries = asked.get("queries").ok_or_else(|| Error::bad("POST body must include `queries` parameter."))?;
    let queries = queries.as_array().ok_or_else(|| Error::bad("`queries` member must be an array."))?;
    let params = call.params();
    let consistency = call.consistency(&params)?;
    let (designed, view) = designed(call, &db, &id, &name, consistency).await?;
    let mut all = Vec::with_capacity(queries.len());
    for query in queries {
        let mut params = call.params();
        params.add_body(query.to_string().as_bytes())?;
        all.push(Options::of(&params, &designed, &view, None)?);
    }
    // The first is begun before the status goes out, the others while they are sent.
    let mut all = all.into_iter();
    let (first, lag_ms) = match all.next() {
        Some(options) => {
            let Text { pieces, lag_ms } = begin(&call.app.ops, &designed, &view, options, consistency).await?;
            (pieces, lag_ms)
        }
        None => (stream::empty().boxed(), 0),
    };
    let ops = call.app.ops.clone();
    let others = stream::iter(all).then(move |options| {
        let (ops, designed, view) = (ops.clone(), designed.clone(), view.clone());
        async move {
            let Text { pieces, .. } = begin(&ops, &designed, &view, options, consistency).await?;
            Ok::<_, ops::Error>(fixed(b",\r\n").chain(pieces))
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

/// `GET …/_info`
pub(super) async fn info(call: &Call, db: DbName, id: DocId) -> Answer {
    let designed = call.app.ops.design(&db, &id, Consistency::Linearizable).await?;
    let name = id.as_str().strip_prefix("_design/").unwrap_or(id.as_str());
    let signature = designed.group().signature().to_string();
    let seq = call.app.ops.info(&db, Consistency::Linearizable).await?.counters.seq;
    let mut text = b"{\"name\":".to_vec();
    render::string(&mut text, name);
    // An index is brought up to date by whoever asks for it, on the replica that is asked: nothing waits here.
    let rest = format!(
        ",\"view_index\":{{\"updates_pending\":{{\"minimum\":0,\"preferred\":0,\"total\":0}},\"waiting_commit\":false,\
         \"waiting_clients\":0,\"updater_running\":false,\"update_seq\":{seq},\"sizes\":{{\"file\":0,\"external\":0,\
         \"active\":0}},\"signature\":\"{signature}\",\"purge_seq\":0,\"language\":\"{}\",\"compact_running\":false,\
         \"collator_versions\":[]}}}}",
        designed.design.language
    );
    text.extend_from_slice(rest.as_bytes());
    Ok(render::json(StatusCode::OK, text))
}

async fn designed(
    call: &Call,
    db: &DbName,
    id: &DocId,
    name: &str,
    consistency: Consistency,
) -> Result<(Designed, View), Error> {
    let designed = call.app.ops.design(db, id, consistency).await?;
    let view = designed.view(name)?.clone();
    Ok((designed, view))
}

/// Begins a query. Every shard has answered once before this returns.
async fn begin(
    ops: &Ops,
    designed: &Designed,
    view: &View,
    options: Options,
    consistency: Consistency,
) -> Result<Text, ops::Error> {
    let viewing = ops.view(designed, view, &options.query, consistency).await?;
    let lag_ms = viewing.lag_ms;
    let from = Origin { ops: ops.clone(), db: viewing.db().clone(), consistency: viewing.consistency() };
    let sending = Sending { head: Some(head(&viewing, &options)), ops: ops.clone(), viewing, options, any: false };
    let pieces = stream::try_unfold(Some(sending), |sending| async move {
        let Some(mut sending) = sending else { return Ok(None) };
        let (text, more) = sending.chunk().await?;
        Ok(Some((text, more.then_some(sending))))
    });
    Ok(Text { pieces: from.pieces(pieces).boxed(), lag_ms })
}

struct Sending {
    head: Option<Vec<u8>>,
    ops: Ops,
    viewing: Viewing,
    options: Options,
    any: bool,
}

impl Sending {
    async fn chunk(&mut self) -> Result<(Spliced, bool), ops::Error> {
        let mut out = Spliced::from(self.head.take().unwrap_or_default());
        out.text.reserve(CHUNK_BYTES);
        while out.text.len() < CHUNK_BYTES {
            if out.text.len() > CHUNK_BYTES / 8 && !self.viewing.is_ready() {
                break;
            }
            let Some(row) = self.viewing.next().await? else {
                out.text.extend_from_slice(if self.any { b"\r\n]}" } else { b"\r\n\r\n]}" });
                return Ok((out, false));
            };
            out.text.extend_from_slice(if std::mem::replace(&mut self.any, true) { b",\r\n" } else { b"\r\n" });
            match row {
                Row::Mapped(row) => self.mapped(&mut out, &row).await?,
                Row::Reduced(key, value) => {
                    out.text.extend_from_slice(format!("{{\"key\":{key},\"value\":{value}}}").as_bytes());
                }
            }
        }
        Ok((out, true))
    }

    async fn mapped(&self, out: &mut Spliced, row: &ViewRow) -> Result<(), ops::Error> {
        out.text.extend_from_slice(b"{\"id\":");
        render::string(&mut out.text, row.id.as_str());
        out.text.extend_from_slice(format!(",\"key\":{},\"value\":{}", row.key, row.value).as_bytes());
        if self.options.include_docs {
            out.text.extend_from_slice(b",\"doc\":");
            match linked(&row.value) {
                Some((id, rev)) => self.linked(out, &id, rev).await?,
                None => self.document(out, &row.id, row.doc.as_ref()),
            }
        }
        out.text.push(b'}');
        Ok(())
    }

    fn document(&self, out: &mut Spliced, id: &DocId, doc: Option<&ViewDoc>) {
        let Some(ViewDoc { rev, json, attachments, conflicts }) = doc else {
            return out.text.extend_from_slice(b"null");
        };
        let mut shown = Vec::new();
        if self.options.conflicts && !conflicts.is_empty() {
            render::revs(&mut shown, conflicts);
        }
        let shown = String::from_utf8_lossy(&shown);
        let conflicts = Some(("_conflicts", &*shown)).filter(|(_, shown)| !shown.is_empty());
        document::render(&mut out.text, id.as_str(), rev, false, conflicts.as_slice(), json);
        self.options.attachments.add(out, id, attachments);
    }

    /// The document that a row's value names, wherever it is.
    async fn linked(&self, out: &mut Spliced, id: &str, rev: Option<Rev>) -> Result<(), ops::Error> {
        let Ok(id) = DocId::parse(id) else {
            out.text.extend_from_slice(b"null");
            return Ok(());
        };
        let db = self.viewing.db();
        if db.partitioned && !id.is_design() && id.partition().is_err() {
            out.text.extend_from_slice(b"null");
            return Ok(());
        }
        let wanted = Wanted { revs: rev.map_or(Revs::Winner, Revs::Exact), tree: self.options.conflicts };
        let (doc, _) = self.ops.get_placed(db, &id, &wanted, self.viewing.consistency()).await?;
        let conflicts = doc.as_ref().and_then(|doc| doc.tree.as_ref()).map(|tree| tree.conflicts()).unwrap_or_default();
        let found = doc.and_then(|doc| doc.found.into_iter().next()).filter(|found| !found.deleted);
        let doc =
            found.map(|found| ViewDoc { rev: found.rev, json: found.json, attachments: found.attachments, conflicts });
        self.document(out, &id, doc.as_ref());
        Ok(())
    }
}

/// `{"_id": …}` in a value names another document; `_rev` one of its revisions.
fn linked(value: &str) -> Option<(String, Option<Rev>)> {
    if !value.starts_with('{') || !value.contains("\"_id\"") {
        return None;
    }
    #[derive(serde::Deserialize)]
    struct Link {
        #[serde(rename = "_id")]
        id: String,
        #[serde(rename = "_rev")]
        rev: Option<String>,
    }
    let link: Link = serde_json::from_str(value).ok()?;
    Some((link.id, link.rev.and_then(|rev| Rev::parse(&rev).ok())))
}

fn head(viewing: &Viewing, options: &Options) -> Vec<u8> {
    let mut out = b"{".to_vec();
    if options.query.level.is_none() {
        let offset = viewing.offset.map_or("null".to_owned(), |offset| offset.min(viewing.total).to_string());
        out.extend_from_slice(format!("\"total_rows\":{},\"offset\":{offset},", viewing.total).as_bytes());
    }
    if options.update_seq {
        out.extend_from_slice(b"\"update_seq\":");
        render::string(&mut out, &viewing.update_seq.to_string());
        out.push(b',');
    }
    out.extend_from_slice(b"\"rows\":[");
    out
}

fn fixed(text: &'static [u8]) -> Pieces {
    once(ready(Ok(Bytes::from_static(text)))).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_name_documents() {
        let id = |value| linked(value).map(|(id, rev)| (id, rev.map(|rev| rev.to_string())));
        assert_eq!(id(r#"{"_id":"a"}"#), Some(("a".to_owned(), None)));
        assert_eq!(id(r#"{"x":1,"_id":"a","_rev":"1-b"}"#), Some(("a".to_owned(), Some("1-b".to_owned()))));
        for value in ["null", "{}", r#"{"_id":5}"#, r#"[{"_id":"a"}]"#, r#"{"a":{"_id":"b"}}"#] {
            assert_eq!(id(value), None, "{value}");
        }
    }
}
