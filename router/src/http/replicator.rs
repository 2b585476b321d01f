//! Replications over HTTP: `_replicate`, `_scheduler/jobs`, `_scheduler/docs`, and their part of `_active_tasks`.

use axum::body::Body;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::call::Call;
use super::error::Error;
use super::{Answer, render};
use crate::replicator::{Asked, JobRow, Outcome, Report, State};

/// Rows shown unless more are asked for, as in CouchDB.
const LIMIT: u64 = 100;
/// The database of the documents.
const DATABASE: &str = "_replicator";

/// `POST /_replicate`
pub(super) async fn replicate(call: &Call, body: Body) -> Answer {
    let body = call.read_json(body).await?;
    let asked = Asked { body: &body, user: &call.user };
    Ok(match call.app.replicator.replicate(asked).await? {
        Outcome::Done(report) => whole(StatusCode::OK, &finished(&report)),
        Outcome::Running(id) => whole(StatusCode::ACCEPTED, &json!({ "ok": true, "_local_id": id })),
        Outcome::Cancelled(id) => whole(StatusCode::OK, &json!({ "ok": true, "_local_id": id })),
    })
}

fn finished(report: &Report) -> Value {
    let checkpoint = &report.checkpoint;
    let mut answer = json!({
        "ok": true,
        "session_id": checkpoint.session_id,
        "source_last_seq": checkpoint.source_last_seq,
        "replication_id_version": checkpoint.replication_id_version,
    });
    match report.changed {
        true => answer["history"] = json!(checkpoint.history),
        false => answer["no_changes"] = json!(true),
    }
    answer
}

/// `GET /_scheduler/jobs`
pub(super) async fn jobs(call: &Call) -> Answer {
    let jobs = call.app.replicator.jobs().await?;
    listing(call, "jobs", &jobs, |_| true)
}

/// `GET /_scheduler/jobs/{id}`
pub(super) async fn job(call: &Call, id: &str) -> Answer {
    let jobs = call.app.replicator.jobs().await?;
    let job = jobs.iter().find(|job| job.id == id).ok_or(Error::Nothing)?;
    Ok(whole(StatusCode::OK, job))
}

/// `GET /_scheduler/docs` and `GET /_scheduler/docs/_replicator`
pub(super) async fn docs(call: &Call) -> Answer {
    let params = call.params();
    let states: Option<Vec<&str>> = params.get("states").map(|states| states.split(',').map(str::trim).collect());
    let known = ["initializing", "error", "failed", "running", "pending", "crashing", "completed"];
    if let Some(wrong) = states.iter().flatten().find(|state| !known.contains(state)) {
        return Err(Error::Query(format!("Unknown replication state {wrong}")));
    }
    let docs = call.app.replicator.docs().await?;
    listing(call, "docs", &docs, |doc| states.as_ref().is_none_or(|states| states.contains(&doc.state)))
}

/// `GET /_scheduler/docs/_replicator/{id}`
pub(super) async fn doc(call: &Call, database: &str, id: &str) -> Answer {
    if database != DATABASE {
        return Err(Error::Nothing);
    }
    let docs = call.app.replicator.docs().await?;
    let doc = docs.iter().find(|doc| doc.doc_id == id).ok_or(Error::Nothing)?;
    Ok(whole(StatusCode::OK, doc))
}

/// A part of a list, and how long it is.
fn listing<T: Serialize>(call: &Call, name: &str, all: &[T], shown: impl Fn(&T) -> bool) -> Answer {
    let params = call.params();
    let limit = usize::try_from(params.number("limit")?.unwrap_or(LIMIT)).unwrap_or(usize::MAX);
    let skip = usize::try_from(params.number("skip")?.unwrap_or(0)).unwrap_or(usize::MAX);
    let rows: Vec<&T> = all.iter().filter(|row| shown(row)).collect();
    let total = rows.len();
    let rows: Vec<&T> = rows.into_iter().skip(skip).take(limit).collect();
    Ok(whole(StatusCode::OK, &json!({ "total_rows": total, "offset": skip.min(total), name: rows })))
}

/// Replications as `_active_tasks` shows them: those that run, on all routers.
pub(super) async fn tasks(call: &Call) -> Result<Vec<Value>, Error> {
    let jobs = call.app.replicator.jobs().await?;
    let now_s = call.app.ops.catalog.now_ms() / 1_000;
    Ok(jobs.iter().filter(|job| job.state == State::Running).map(|job| task(job, now_s)).collect())
}

fn task(job: &JobRow, now_s: u64) -> Value {
    let mut task = json!(job.info);
    for (name, value) in [
        ("type", json!("replication")),
        ("continuous", json!(job.continuous)),
        ("database", json!(job.database)),
        ("doc_id", json!(job.doc_id)),
        ("node", json!(job.node)),
        ("pid", json!(job.pid)),
        ("replication_id", json!(job.id)),
        ("source", json!(job.source)),
        ("target", json!(job.target)),
        ("user", json!(job.user)),
        ("started_on", json!(job.since_ms / 1_000)),
        ("updated_on", json!(now_s)),
    ] {
        task[name] = value;
    }
    task
}

fn whole<T: Serialize>(status: StatusCode, value: &T) -> http::Response<Body> {
    render::json(status, serde_json::to_vec(value).expect("texts, counts and lists become JSON"))
}
