//! `POST /{db}/_bulk_docs`: each document by itself, or, with `"atomic": true`, all together or none.

use axum::body::Body;
use common::document::{self, Bulk};
use common::ids::{DbName, DocId};
use http::StatusCode;

use super::attachments::given;
use super::call::Call;
use super::error::{self, Error};
use super::{Answer, render, vet};
use crate::ops::atomic::{BYTES_MAX, EDITS_MAX, Outcomes};
use crate::ops::bulk::{Item, Row};
use crate::ops::write::Change;

pub(super) async fn write(call: &Call, db: DbName, body: Body) -> Answer {
    let bulk = document::parse_bulk(call.read_json(body).await?, call.limits())?;
    if bulk.atomic {
        return atomic(call, db, bulk).await;
    }
    let new_edits = bulk.new_edits;
    let mut items = Vec::with_capacity(bulk.docs.len());
    let mut refused = Vec::new();
    for (at, parsed) in bulk.docs.into_iter().enumerate() {
        let id = match &parsed.id {
            Some(id) => DocId::parse(id)?,
            None => DocId::parse(&call.fresh_id(&db, at))?,
        };
        // Two edits of one document in one request are two edits, hence the place in the name.
        let request = call.request_id_at(&db, id.as_str(), at);
        match vet::document(call, &db, &id, parsed, new_edits).await {
            Ok(mut parsed) => {
                let attachments = given::taken(call, &db, &id, &mut parsed, None).await?;
                items.push(Item { id, request, change: Change::of(parsed, attachments, new_edits)? });
            }
            Err(error) => refused.push((at, id, error.into_row()?)),
        }
    }
    let rows = call.app.ops.bulk(&db, &call.author(), &items).await?;
    vet::written(call, &db);
    Ok(render::json(StatusCode::CREATED, shown(&items, &rows, refused, new_edits)))
}

/// All documents or none: 409, or 403 if somebody may not write one of them, with a row for each that says why.
async fn atomic(call: &Call, db: DbName, bulk: Bulk) -> Answer {
    if !bulk.new_edits {
        return Err(Error::bad("`atomic` takes no revisions made elsewhere (`new_edits: false`)."));
    }
    let bytes: usize = bulk.docs.iter().map(|parsed| parsed.body.json.len()).sum();
    if bulk.docs.len() > EDITS_MAX || bytes > BYTES_MAX {
        return Err(Error::BatchTooLarge);
    }
    let (mut edits, mut refused) = (Vec::with_capacity(bulk.docs.len()), Vec::new());
    for (at, parsed) in bulk.docs.into_iter().enumerate() {
        let id = match &parsed.id {
            Some(id) => DocId::parse(id)?,
            None => return Err(Error::bad("`atomic` needs the `_id` of each document.")),
        };
        if parsed.attachments.is_some() {
            return Err(Error::NotImplemented("`atomic` takes no documents with attachments yet."));
        }
        match vet::document(call, &db, &id, parsed, true).await {
            Ok(parsed) => edits.push((id, Change::of(parsed, Vec::new(), true)?)),
            Err(error) => refused.push((at, id, error.into_row()?)),
        }
    }
    if !refused.is_empty() {
        let ids = edits.into_iter().map(|(id, _)| id).collect();
        return Ok(render::json(StatusCode::FORBIDDEN, not_written(ids, refused)));
    }
    let request = call.request_id(&db, "_bulk_docs");
    let outcomes = call.app.ops.atomic(&db, request, &call.author(), &edits).await?;
    let mut body = Vec::with_capacity(2 + edits.len() * 80);
    Ok(match outcomes {
        Outcomes::Written(revs) => {
            let rows = edits.iter().zip(&revs);
            render::array(&mut body, rows, |out, ((id, _), rev)| render::written(out, id.as_str(), Some(rev)));
            render::json(StatusCode::CREATED, body)
        }
        Outcomes::Refused(reasons) => {
            let status = reasons.iter().flatten().map(error::status_of_batch).max().unwrap_or(StatusCode::CONFLICT);
            let (mut ids, mut refused) = (Vec::new(), Vec::new());
            for (at, ((id, _), reason)) in edits.into_iter().zip(reasons).enumerate() {
                match reason {
                    Some(reason) => refused.push((at, id, error::of_row(&reason))),
                    None => ids.push(id),
                }
            }
            render::json(status, not_written(ids, refused))
        }
    })
}

/// A row a document, in order, of a batch of which nothing was written: `ids` are those that nothing stood in the way of.
fn not_written(ids: Vec<DocId>, refused: Vec<Refused>) -> Vec<u8> {
    let mut body = Vec::with_capacity(2 + (ids.len() + refused.len()) * 120);
    let count = ids.len() + refused.len();
    let (mut ids, mut refused) = (ids.into_iter(), refused.into_iter().peekable());
    let rows = (0..count).filter_map(|at| match refused.next_if(|(place, ..)| *place == at) {
        Some((_, id, reason)) => Some((id, reason)),
        None => ids.next().map(|id| (id, ("not_written", ANOTHER.to_owned()))),
    });
    render::array(&mut body, rows, |out, (id, (error, reason))| refusal(out, id.as_str(), error, &reason));
    body
}

const ANOTHER: &str = "Another document of the batch could not be written.";

fn refusal(out: &mut Vec<u8>, id: &str, error: &str, reason: &str) {
    out.extend_from_slice(b"{\"id\":");
    render::string(out, id);
    out.extend_from_slice(b",\"error\":");
    render::string(out, error);
    out.extend_from_slice(b",\"reason\":");
    render::string(out, reason);
    out.push(b'}');
}

/// A document that was not let in: its place in the request, its id, error and reason.
type Refused = (usize, DocId, (&'static str, String));

/// A row a document, in order; revisions made elsewhere get a row only when they failed.
fn shown(items: &[Item], rows: &[Row], refused: Vec<Refused>, new_edits: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(2 + rows.len() * 80);
    let count = items.len() + refused.len();
    let mut refused = refused.into_iter().peekable();
    let mut written = items.iter().zip(rows);
    let rows = (0..count).filter_map(|at| {
        if let Some((_, id, reason)) = refused.next_if(|(place, ..)| *place == at) {
            return Some((id, Err(reason)));
        }
        written.next().map(|(item, row)| (item.id.clone(), row.as_ref().map_err(error::of_row)))
    });
    let rows = rows.filter(|(_, row)| new_edits || row.is_err());
    render::array(&mut body, rows, |out, (id, row)| match row {
        Ok(rev) => render::written(out, id.as_str(), Some(rev)),
        Err((error, reason)) => refusal(out, id.as_str(), error, &reason),
    });
    body
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use common::command::{Body, EditKind};
    use common::ids::RequestId;
    use common::rev::Rev;

    use super::*;
    use crate::ops;

    #[test]
    fn rows_stand_in_order_and_grafts_are_silent_when_they_succeed() {
        let item = |id: &str| Item {
            id: DocId::parse(id).expect("valid"),
            request: RequestId(uuid::Uuid::nil()),
            change: Change::Edit {
                parent: None,
                kind: EditKind::Update,
                body: Body { json: Bytes::from_static(b"{}"), digest: [0; 16] },
                attachments: Vec::new(),
            },
        };
        let items = [item("a"), item("b")];
        let rows = [Err(ops::Error::Conflict), Ok(Rev::parse("1-x").expect("valid"))];
        let conflict = r#"{"id":"a","error":"conflict","reason":"Document update conflict."}"#;
        let text = |new_edits| String::from_utf8(shown(&items, &rows, Vec::new(), new_edits)).expect("text");
        assert_eq!(text(true), format!(r#"[{conflict},{{"ok":true,"id":"b","rev":"1-x"}}]"#));
        assert_eq!(text(false), format!("[{conflict}]"));
        let no = |at, id| (at, DocId::parse(id).expect("valid"), ("forbidden", "no".to_owned()));
        let refused = vec![no(0, "x"), no(2, "y")];
        let text = String::from_utf8(shown(&items, &rows, refused, true)).expect("text");
        let refusal = |id| format!(r#"{{"id":"{id}","error":"forbidden","reason":"no"}}"#);
        let wanted = format!(r#"[{},{conflict},{},{{"ok":true,"id":"b","rev":"1-x"}}]"#, refusal("x"), refusal("y"));
        assert_eq!(text, wanted);
    }
}
