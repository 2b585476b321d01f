//! `GET` and `POST /{db}/_all_docs`, `_design_docs` and `_local_docs`, and several of them at once (`…/queries`): rows
//! by id, streamed.

mod keys;
mod options;
mod queries;

use axum::body::Body;
use bytes::Bytes;
use common::document;
use common::ids::DbName;
use common::partition::Partition;
use common::query::{Consistency, RangeRow};
use futures::StreamExt;
use futures::future::ready;
use futures::stream::once;
use http::Method;

use super::attachments::splice::{Origin, Pieces, Spliced};
use super::call::Call;
use super::read::tell_lag;
use super::{Answer, render};
use crate::ops::all_docs::{Listed, Listing};
use crate::ops::{self, Ops};
use options::{Asked, Options};
pub(super) use queries::list as queries;

/// Text gathered before it is sent on. Smaller costs a system call for few rows, larger holds back the first ones.
const CHUNK_BYTES: usize = 32 << 10;

/// Which documents are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// All but local ones.
    All,
    /// Design documents.
    Design,
    /// Local documents.
    Local,
}

/// A listing as text, piece by piece: an object without a line feed behind it. An error on the way cuts the
/// connection: it must not look like the end.
struct Text {
    pieces: Pieces,
    lag_ms: u64,
}

/// `GET` and `POST /{db}/_all_docs`, `_design_docs`, `_local_docs`
pub(super) async fn list(call: &Call, db: DbName, kind: Kind, body: Body) -> Answer {
    list_within(call, db, kind, None, body).await
}

/// The same, and `GET` and `POST /{db}/_partition/{partition}/_all_docs`
pub(super) async fn list_within(
    call: &Call,
    db: DbName,
    kind: Kind,
    partition: Option<&Partition>,
    body: Body,
) -> Answer {
    let body = match call.parts.method {
        Method::POST => Some(call.read_json(body).await?),
        _ => None,
    };
    let mut params = call.params();
    if let Some(body) = body.as_ref().filter(|body| !body.is_empty()) {
        params.add_body(body)?;
    }
    let consistency = call.consistency(&params)?;
    let mut options = Options::of(&params)?;
    if let (Some(partition), Asked::Range(listing)) = (partition, &options.asked) {
        options.asked = Asked::Range(options::within(listing.clone(), partition));
    }
    let Text { pieces, lag_ms } = text(&call.app.ops, &db, kind, options, consistency).await?;
    let end = once(ready(Ok(Bytes::from_static(b"\n"))));
    let mut response = render::json_stream(Body::from_stream(pieces.chain(end)));
    tell_lag(response.headers_mut(), consistency, lag_ms);
    Ok(response)
}

/// Begins a listing. Every shard has answered once before this returns.
async fn text(
    ops: &Ops,
    db: &DbName,
    kind: Kind,
    options: Options,
    consistency: Consistency,
) -> Result<Text, ops::Error> {
    match options.asked.clone() {
        Asked::Range(listing) => {
            let (listed, total) = begin(ops, db, kind, listing, consistency).await?;
            let from = Origin { ops: ops.clone(), db: ops.db_for(db, consistency).await?, consistency };
            Ok(sent(options, listed, total, from))
        }
        Asked::Keys(keys) => keys::list(ops, db, kind, &options, keys, consistency).await,
    }
}

/// Begins to list the documents of a kind in a range; how many of that kind there are, where that is known.
async fn begin(
    ops: &Ops,
    db: &DbName,
    kind: Kind,
    listing: Listing,
    consistency: Consistency,
) -> Result<(Listed, Option<u64>), ops::Error> {
    match kind {
        Kind::All => {
            let listed = ops.list(db, listing, consistency).await?;
            let total = listed.total;
            Ok((listed, Some(total)))
        }
        Kind::Local => {
            let mut listed = ops.list(db, Listing { locals: true, ..listing }, consistency).await?;
            listed.offset = None;
            Ok((listed, None))
        }
        Kind::Design => {
            let all = options::design(Listing::all());
            let first = ops.list(db, Listing { limit: Some(1), ..all.clone() }, consistency).await?.offset;
            let total = designs(ops, db, consistency).await?;
            let mut listed = ops.list(db, options::design(listing), consistency).await?;
            listed.offset = listed.offset.zip(first).map(|(offset, first)| offset.saturating_sub(first).min(total));
            Ok((listed, Some(total)))
        }
    }
}

/// Counts the design documents: few, and nobody keeps a counter for them.
async fn designs(ops: &Ops, db: &DbName, consistency: Consistency) -> Result<u64, ops::Error> {
    let mut listed = ops.list(db, options::design(Listing::all()), consistency).await?;
    let mut total = 0;
    while listed.next().await?.is_some() {
        total += 1;
    }
    Ok(total)
}

/// The listing's text, row by row.
fn sent(options: Options, listed: Listed, total: Option<u64>, from: Origin) -> Text {
    let lag_ms = listed.lag_ms;
    let update_seq = options.update_seq.then(|| listed.update_seq.to_string());
    let head = head(total, listed.offset, update_seq.as_deref());
    let state = Some(Sending { options, listed, head: Some(head) });
    let pieces = futures::stream::try_unfold(state, |state| async move {
        let Some(mut sending) = state else { return Ok(None) };
        match sending.chunk().await {
            Ok((chunk, more)) => Ok(Some((chunk, more.then_some(sending)))),
            Err(error) => {
                tracing::warn!(%error, "a listing was cut");
                Err(error)
            }
        }
    });
    Text { pieces: from.pieces(pieces).boxed(), lag_ms }
}

struct Sending {
    options: Options,
    listed: Listed,
    /// What stands before the first row, until it is sent.
    head: Option<Vec<u8>>,
}

impl Sending {
    /// The next piece of text, and whether more follows.
    async fn chunk(&mut self) -> Result<(Spliced, bool), ops::Error> {
        let first = self.head.take();
        let mut separator = if first.is_some() { "" } else { "," };
        let mut out = Spliced::from(first.unwrap_or_default());
        out.text.reserve(CHUNK_BYTES);
        while out.text.len() < CHUNK_BYTES {
            // What is at hand goes out before the shards are asked for more, once it is worth it.
            if out.text.len() > CHUNK_BYTES / 8 && !self.listed.is_ready() {
                break;
            }
            let Some(row) = self.listed.next().await? else {
                if separator.is_empty() {
                    out.text.extend_from_slice(b"\r\n");
                }
                out.text.extend_from_slice(b"\r\n]}");
                return Ok((out, false));
            };
            out.text.extend_from_slice(separator.as_bytes());
            separator = ",";
            out.text.extend_from_slice(b"\r\n");
            write_row(&mut out, &row, &self.options);
        }
        Ok((out, true))
    }
}

fn head(total: Option<u64>, offset: Option<u64>, update_seq: Option<&str>) -> Vec<u8> {
    let number = |number: Option<u64>| number.map_or("null".to_owned(), |number| number.to_string());
    let mut out = format!("{{\"total_rows\":{},\"offset\":{}", number(total), number(offset)).into_bytes();
    if let Some(update_seq) = update_seq {
        out.extend_from_slice(b",\"update_seq\":");
        render::string(&mut out, update_seq);
    }
    out.extend_from_slice(b",\"rows\":[");
    out
}

/// `{"id":…,"key":…,"value":{"rev":…},"doc":…}`
fn write_row(all: &mut Spliced, row: &RangeRow, options: &Options) {
    let id = row.id.as_str();
    let out = &mut all.text;
    out.extend_from_slice(b"{\"id\":");
    render::string(out, id);
    out.extend_from_slice(b",\"key\":");
    render::string(out, id);
    out.extend_from_slice(b",\"value\":{\"rev\":");
    render::rev(out, &row.rev);
    out.push(b'}');
    if options.include_docs {
        out.extend_from_slice(b",\"doc\":");
        match &row.json {
            Some(json) if options.conflicts && !row.conflicts.is_empty() => {
                let mut conflicts = Vec::new();
                render::revs(&mut conflicts, &row.conflicts);
                let conflicts = String::from_utf8_lossy(&conflicts);
                document::render(out, id, &row.rev, false, &[("_conflicts", &conflicts)], json);
            }
            Some(json) => document::render(out, id, &row.rev, false, &[], json),
            None => out.extend_from_slice(b"null"),
        }
        options.attachments.add(all, &row.id, &row.attachments);
    }
    all.text.push(b'}');
}

/// The options of the query alone, for the other file's tests.
#[cfg(test)]
fn options_of(query: &str) -> Result<Options, super::error::Error> {
    Options::of(&super::params::Params::of_query(Some(query)))
}
