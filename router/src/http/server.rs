//! Endpoints of the server as a whole.

use axum::response::Response;
use common::ids::DbName;
use common::metrics::Format;
use common::query::Consistency;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::call::Call;
use super::error::Error;
use super::read::tell_lag;
use super::{Answer, render};
use crate::cluster::Unready;

/// The version of CouchDB whose API this is: clients decide by it what they may use.
const COUCHDB_VERSION: &str = "3.5.0";
/// Most ids handed out at once, as in CouchDB.
const UUIDS_MAX: u64 = 1_000;

/// `GET /`
pub(super) async fn welcome(call: &Call) -> Answer {
    let uuid = call.app.ops.catalog.cluster_uuid().await?;
    let body = format!(
        "{{\"couchdb\":\"Welcome\",\"version\":\"{COUCHDB_VERSION}\",\"uuid\":\"{}\",\"features\":[\"partitioned\"],\
         \"vendor\":{{\"name\":\"Quorate\",\"version\":\"{}\"}}}}",
        uuid.as_simple(),
        env!("CARGO_PKG_VERSION"),
    );
    Ok(render::json(StatusCode::OK, body.into_bytes()))
}

/// `GET /_up`: this router lives.
pub(super) fn up() -> Answer {
    Ok(render::json(StatusCode::OK, br#"{"status":"ok","seeds":{}}"#.to_vec()))
}

/// `GET /_ready`: this router knows the catalog and reaches a primary of every shard.
pub(super) fn ready(call: &Call) -> Answer {
    let ops = &call.app.ops;
    let catalog = if ops.catalog.is_known() { Ok(()) } else { Err(Unready::Catalog) };
    ops.cluster.ready().and(catalog).map_err(Error::Unready)?;
    Ok(render::json(StatusCode::OK, br#"{"status":"ready"}"#.to_vec()))
}

/// `GET /_all_dbs`
pub(super) async fn all_dbs(call: &Call) -> Answer {
    let consistency = call.consistency(&call.params())?;
    let (names, lag_ms) = chosen(call, consistency).await?;
    let mut body = Vec::new();
    render::array(&mut body, names, |out, name| render::string(out, name.as_str()));
    let mut response = render::json(StatusCode::OK, body);
    tell_lag(response.headers_mut(), consistency, lag_ms);
    Ok(response)
}

/// The databases that the options choose, and how old the list may be in milliseconds.
pub(super) async fn chosen(call: &Call, consistency: Consistency) -> Result<(Vec<DbName>, u64), Error> {
    let params = call.params();
    let descending = params.flag("descending", false)?;
    let limit = params.number("limit")?.unwrap_or(u64::MAX);
    let skip = params.number("skip")?.unwrap_or(0);
    let inclusive_end = params.flag("inclusive_end", true)?;
    let start: Option<String> = params.json_of(&["start_key", "startkey"])?;
    let end: Option<String> = params.json_of(&["end_key", "endkey"])?;
    let (mut names, lag_ms) = call.app.ops.catalog.all(consistency).await?;
    if descending {
        names.reverse();
    }
    let inside = |name: &DbName| {
        let (low, high) = if descending { (&end, &start) } else { (&start, &end) };
        let name = name.as_str();
        let excluded = !inclusive_end && end.as_deref() == Some(name);
        low.as_deref().is_none_or(|low| name >= low) && high.as_deref().is_none_or(|high| name <= high) && !excluded
    };
    let names = names.into_iter().filter(inside);
    let names = names.skip(usize::try_from(skip).unwrap_or(usize::MAX));
    let names = names.take(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok((names.collect(), lag_ms))
}

/// `GET /_uuids`
pub(super) fn uuids(call: &Call) -> Answer {
    let count = call.params().number("count")?.unwrap_or(1);
    if count > UUIDS_MAX {
        return Err(Error::bad("count parameter too large"));
    }
    let uuids = (0..count).map(|_| format!("{:032x}", rand::random::<u128>()));
    let mut body = b"{\"uuids\":".to_vec();
    render::array(&mut body, uuids, |out, uuid| render::string(out, &uuid));
    body.push(b'}');
    let mut response = render::json(StatusCode::OK, body);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("must-revalidate, no-cache"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(header::EXPIRES, HeaderValue::from_static("Mon, 01 Jan 1990 00:00:00 GMT"));
    Ok(response)
}

/// `GET /_metrics`
pub(super) fn metrics(call: &Call) -> Answer {
    let format = Format::accepted(call.header(header::ACCEPT));
    let text = call.app.metrics.sheet(&call.app.ops.cluster).text(format);
    Ok(render::typed(StatusCode::OK, HeaderValue::from_static(format.content_type()), text.into()))
}

/// `GET /_membership`
pub(super) async fn membership(call: &Call) -> Answer {
    let nodes = call.app.ops.cluster.states().await;
    let names: Vec<&str> = nodes.iter().map(|row| row.node.as_str()).collect();
    Ok(whole(&json!({"all_nodes": names, "cluster_nodes": names})))
}

/// `GET /_active_tasks`: the indexes this router makes now, and the replications of all routers.
pub(super) async fn active_tasks(call: &Call) -> Answer {
    let mut text = Vec::new();
    let mut tasks = Vec::new();
    for building in call.app.ops.indexes_building().await? {
        let total = call.app.ops.info(&building.db.name, Consistency::Linearizable).await?.counters;
        let total = total.docs + total.deleted;
        for ddoc in &building.ddocs {
            tasks.push(json!({
                "type": "indexer",
                "database": building.db.name.as_str(),
                "design_document": ddoc,
                "changes_done": building.passed,
                "total_changes": total,
                "progress": (100 * building.passed.min(total)).checked_div(total).unwrap_or(100),
            }));
        }
    }
    tasks.extend(super::replicator::tasks(call).await?);
    render::array(&mut text, tasks, |out, task| out.extend_from_slice(task.to_string().as_bytes()));
    Ok(render::json(StatusCode::OK, text))
}

fn whole(value: &serde_json::Value) -> Response {
    render::json(StatusCode::OK, value.to_string().into_bytes())
}
