//! `_find`, `_explain` and `_index`: queries by selector.

mod find;

use axum::body::Body;
use bytes::Bytes;
use common::ids::DbName;
use common::mango::index::ALL_DOCS_JSON;
use common::mango::{Error as Refused, Value, ddoc, request};
use http::StatusCode;

use super::call::Call;
use super::error::Error;
use super::{Answer, render};
pub(super) use find::find;

/// `POST /{db}/_explain`
pub(super) async fn explain(call: &Call, db: DbName, body: Body) -> Answer {
    let body = call.read_json(body).await?;
    call.app.ops.db(&db).await?;
    let request = request::Find::of(object(&body)?, None)?;
    let text = call.app.ops.explain(&db, &request).await?;
    Ok(render::json(StatusCode::OK, text.into_bytes()))
}

/// What is not there yet.
pub(super) const INDEXES: &str = "Indexes are not served yet.";

/// `POST /{db}/_index`
pub(super) async fn create(call: &Call, db: DbName, body: Body) -> Answer {
    let body = call.read_json(body).await?;
    call.app.ops.db(&db).await?;
    ddoc::check(&request::Create::of(object(&body)?)?)?;
    Err(Error::NotImplemented(INDEXES))
}

/// `GET /{db}/_index`
pub(super) async fn list(call: &Call, db: DbName) -> Answer {
    let params = call.params();
    let number = |name| params.number(name).map_err(|_| Error::from(Refused::ListRange));
    let (limit, skip) = (number("limit")?, number("skip")?.unwrap_or(0));
    if limit == Some(0) {
        return Err(Refused::ListRange.into());
    }
    call.app.ops.db(&db).await?;
    let all = [ALL_DOCS_JSON];
    let mut text = format!("{{\"total_rows\":{},\"indexes\":", all.len()).into_bytes();
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let shown = all.iter().skip(skip).take(limit);
    render::array(&mut text, shown, |out, index| out.extend_from_slice(index.as_bytes()));
    text.push(b'}');
    Ok(render::json(StatusCode::OK, text))
}

/// The object that a body is.
fn object(body: &Bytes) -> Result<Value<'_>, Error> {
    match Value::parse(body) {
        Ok(object @ Value::Object(_)) => Ok(object),
        Ok(_) => Err(Error::bad("Request body must be a JSON object")),
        Err(_) => Err(Error::bad("invalid UTF-8 JSON")),
    }
}
