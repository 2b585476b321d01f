//! `POST /{db}/_purge`, and how many purges are remembered.

use axum::body::Body;
use common::ids::DbName;
use http::StatusCode;

use super::call::Call;
use super::error::Error;
use super::revs::Asked;
use super::{Answer, render, vet};
use crate::ops::purge::Item;

/// `POST /{db}/_purge`: `{"id":["rev",…],…}`, answered by what was forgotten of each.
pub(super) async fn purge(call: &Call, db: DbName, body: Body) -> Answer {
    let Asked(asked) = Asked::parse(&call.read_json(body).await?)?;
    let item = |(at, (id, revs))| {
        let request = call.request_id_at(&db, &format!("_purge/{id}"), at);
        Item { id, request, revs }
    };
    let items: Vec<Item> = asked.into_iter().enumerate().map(item).collect();
    let ids: Vec<_> = items.iter().map(|item| item.id.clone()).collect();
    let purged = call.app.ops.purge(&db, items).await?;
    vet::written(call, &db);
    let mut text = b"{\"purge_seq\":null,\"purged\":{".to_vec();
    for (at, (id, revs)) in ids.iter().zip(&purged).enumerate() {
        if at > 0 {
            text.push(b',');
        }
        render::string(&mut text, id.as_str());
        text.push(b':');
        render::revs(&mut text, revs);
    }
    text.extend_from_slice(b"}}");
    Ok(render::json(StatusCode::CREATED, text))
}

/// `GET /{db}/_purged_infos_limit`
pub(super) async fn infos_limit(call: &Call, db: DbName) -> Answer {
    let db = call.app.ops.db(&db).await?;
    Ok(render::json(StatusCode::OK, db.purged_infos_limit.to_string().into_bytes()))
}

/// `PUT /{db}/_purged_infos_limit`
pub(super) async fn set_infos_limit(call: &Call, db: DbName, body: Body) -> Answer {
    let limit: Option<u32> = serde_json::from_slice(&call.read(body).await?).ok();
    let limit = limit.filter(|limit| *limit > 0);
    let limit = limit.ok_or_else(|| Error::bad("`purged_infos_limit` must be positive integer"))?;
    call.app.ops.catalog.set_purged_infos_limit(&db, limit).await?;
    Ok(render::ok(StatusCode::OK))
}
