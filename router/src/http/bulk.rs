//! `POST /{db}/_bulk_docs`

use axum::body::Body;
use common::document;
use common::ids::{DbName, DocId};
use http::StatusCode;

use super::call::Call;
use super::error;
use super::{Answer, render};
use crate::ops::bulk::{Item, Row};
use crate::ops::write::Change;

pub(super) async fn write(call: &Call, db: DbName, body: Body) -> Answer {
    let bulk = document::parse_bulk(call.read_json(body).await?, call.limits())?;
    let new_edits = bulk.new_edits;
    let mut items = Vec::with_capacity(bulk.docs.len());
    for (at, parsed) in bulk.docs.into_iter().enumerate() {
        let id = match &parsed.id {
            Some(id) => DocId::parse(id)?,
            None => DocId::parse(&call.fresh_id(&db, at))?,
        };
        // Two edits of one document in one request are two edits, hence the place in the name.
        let request = call.request_id_at(&db, id.as_str(), at);
        items.push(Item { id, request, change: Change::of(parsed, new_edits)? });
    }
    let rows = call.app.ops.bulk(&db, &items).await?;
    Ok(render::json(StatusCode::CREATED, shown(&items, &rows, new_edits)))
}

/// A row a document, in order; revisions made elsewhere get a row only when they failed.
fn shown(items: &[Item], rows: &[Row], new_edits: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(2 + rows.len() * 80);
    let rows = items.iter().zip(rows).filter(|(_, row)| new_edits || row.is_err());
    render::array(&mut body, rows, |out, (item, row)| match row {
        Ok(rev) => render::written(out, item.id.as_str(), Some(rev)),
        Err(reason) => {
            let (error, reason) = error::of_row(reason);
            out.extend_from_slice(b"{\"id\":");
            render::string(out, item.id.as_str());
            out.extend_from_slice(b",\"error\":");
            render::string(out, error);
            out.extend_from_slice(b",\"reason\":");
            render::string(out, &reason);
            out.push(b'}');
        }
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
            },
        };
        let items = [item("a"), item("b")];
        let rows = [Err(ops::Error::Conflict), Ok(Rev::parse("1-x").expect("valid"))];
        let conflict = r#"{"id":"a","error":"conflict","reason":"Document update conflict."}"#;
        let text = |new_edits| String::from_utf8(shown(&items, &rows, new_edits)).expect("text");
        assert_eq!(text(true), format!(r#"[{conflict},{{"ok":true,"id":"b","rev":"1-x"}}]"#));
        assert_eq!(text(false), format!("[{conflict}]"));
    }
}
