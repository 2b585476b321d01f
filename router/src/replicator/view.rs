//! Replications as they are shown: jobs, documents, tasks.

use std::collections::BTreeMap;

use common::ids::{DbUid, DocId};
use common::query::Consistency;
use common::refusal::Refusal;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use super::record::{Record, State};
use super::stats::{Progress, Stats};
use super::{Notes, Replicator, Spec};

/// The database of the documents.
const DATABASE: &str = "_replicator";

/// A replication that is under way.
#[derive(Clone)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) record: Record,
    pub(super) progress: Progress,
}

/// A row of `_scheduler/jobs`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobRow {
    /// The database of the document that wants it.
    pub database: Option<&'static str>,
    /// The replication's id.
    pub id: String,
    /// A name for its run.
    pub pid: String,
    /// Its ends, without passwords.
    pub source: String,
    /// Its ends, without passwords.
    pub target: String,
    /// In whose name it runs.
    pub user: Option<String>,
    /// The document that wants it.
    pub doc_id: Option<String>,
    /// What happened, newest first.
    pub history: Vec<EventRow>,
    /// The router that runs it.
    pub node: Option<String>,
    /// When it was added.
    pub start_time: String,
    /// What was done.
    #[schema(value_type = Object)]
    pub info: Stats,
    /// How it goes.
    #[serde(skip)]
    pub state: State,
    /// Whether it goes on for ever.
    #[serde(skip)]
    pub continuous: bool,
    /// Milliseconds since 1970: since when it has been in its state.
    #[serde(skip)]
    pub since_ms: u64,
    /// The same: when it was added.
    #[serde(skip)]
    pub added_ms: u64,
    /// Failures one after another, and the last one's reason.
    #[serde(skip)]
    pub errors: (u32, Option<String>),
}

/// Something that happened.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventRow {
    timestamp: String,
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A row of `_scheduler/docs`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DocRow {
    /// Where the document is.
    pub database: &'static str,
    /// The document.
    pub doc_id: String,
    /// The replication's id, while it is under way.
    pub id: Option<String>,
    /// The router that runs it.
    pub node: Option<String>,
    /// Its ends, without passwords.
    pub source: Option<String>,
    /// Its ends, without passwords.
    pub target: Option<String>,
    /// `initializing`, `pending`, `running`, `crashing`, `completed` or `failed`.
    pub state: &'static str,
    /// What was done, or what went wrong.
    #[schema(value_type = Object)]
    pub info: serde_json::Value,
    /// Failures one after another.
    pub error_count: u32,
    /// When its state changed last.
    pub last_updated: Option<String>,
    /// When it was added.
    pub start_time: Option<String>,
    /// Never: requests do not go through others.
    pub source_proxy: Option<String>,
    /// Never.
    pub target_proxy: Option<String>,
}

/// A time as CouchDB writes it.
pub(super) fn time(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}

impl JobRow {
    fn of(listed: &Listed) -> Self {
        let Listed { id, record, progress } = listed;
        let events = record.history.iter().map(|event| EventRow {
            timestamp: time(event.at_ms),
            r#type: event.what.clone(),
            reason: event.reason.clone(),
        });
        Self {
            database: record.doc.as_ref().map(|_| DATABASE),
            id: id.clone(),
            pid: record.holder.map_or_else(|| "none".to_owned(), |holder| holder.as_simple().to_string()),
            source: record.source.clone(),
            target: record.target.clone(),
            user: record.user.clone(),
            doc_id: record.doc.clone(),
            history: events.collect(),
            node: record.holder.map(|holder| holder.as_simple().to_string()),
            start_time: time(record.added_ms),
            info: progress.look(),
            state: record.state,
            continuous: record.continuous,
            since_ms: record.since_ms,
            added_ms: record.added_ms,
            errors: (record.errors, record.failure().map(str::to_owned)),
        }
    }
}

impl Replicator {
    /// What is under way on all routers, and what requests to this one wait for; sorted by id.
    pub async fn jobs(&self) -> Result<Vec<JobRow>, Refusal> {
        let mut listed: BTreeMap<String, Listed> = BTreeMap::new();
        for (name, json) in self.all(DbUid::JOBS).await? {
            let (Some(id), Ok(record)) = (name.strip_prefix("job:"), serde_json::from_slice::<Record>(&json)) else {
                continue;
            };
            let here = self.inner.running().get(id).map(|worker| worker.progress.clone());
            let progress = here.unwrap_or_else(|| Progress::from(record.stats.clone()));
            listed.insert(id.to_owned(), Listed { id: id.to_owned(), record, progress });
        }
        let once: Vec<Listed> = self.inner.once().values().map(|run| run.listed.clone()).collect();
        for mut run in once {
            run.record.holder = Some(self.inner.me);
            listed.insert(run.id.clone(), run);
        }
        Ok(listed.values().map(JobRow::of).collect())
    }

    /// The documents of `_replicator` and what became of them, sorted by id.
    pub async fn docs(&self) -> Result<Vec<DocRow>, Refusal> {
        let jobs = self.jobs().await?;
        let job_of: BTreeMap<&str, &JobRow> =
            jobs.iter().filter_map(|job| Some((job.doc_id.as_deref()?, job))).collect();
        let docs = self.all(DbUid::REPLICATOR).await?;
        let docs = docs.iter().filter(|(id, _)| !id.starts_with("_design/"));
        Ok(docs.map(|(id, json)| row(id, json, job_of.get(id.as_str()).copied())).collect())
    }

    /// Everything in one of the catalog's databases, as acknowledged.
    async fn all(&self, db: DbUid) -> Result<Vec<(String, bytes::Bytes)>, Refusal> {
        let system = self.inner.system(db);
        let (mut all, mut after): (Vec<_>, Option<DocId>) = (Vec::new(), None);
        loop {
            let (page, _) = system.page(after.as_ref(), Consistency::Linearizable).await?;
            after = page.rows.last().map(|row| row.id.clone());
            let rows = page.rows.into_iter().filter_map(|row| Some((row.id.as_str().to_owned(), row.json?)));
            all.extend(rows);
            if !page.more || after.is_none() {
                return Ok(all);
            }
        }
    }
}

fn row(id: &str, json: &[u8], job: Option<&JobRow>) -> DocRow {
    let notes = Notes::of(json);
    let spec = Spec::parse(json);
    let (source, target) = match (&job, &spec) {
        (Some(job), _) => (Some(job.source.clone()), Some(job.target.clone())),
        (None, Ok(spec)) => (Some(spec.source.to_string()), Some(spec.target.to_string())),
        (None, Err(_)) => (None, None),
    };
    let error = |reason: Option<String>| serde_json::json!({ "error": reason });
    let (state, info, errors) = match (notes.state.as_deref(), job, spec) {
        (Some("completed"), ..) => ("completed", notes.stats.unwrap_or_default(), 0),
        (Some("failed"), ..) => ("failed", error(notes.reason), 1),
        (_, Some(job), _) if job.state == State::Crashing => ("crashing", error(job.errors.1.clone()), job.errors.0),
        (_, Some(job), _) => (job.state.name(), serde_json::json!(job.info), job.errors.0),
        (_, None, Err(why)) => ("failed", error(Some(why)), 1),
        (_, None, Ok(_)) => ("initializing", serde_json::Value::Null, 0),
    };
    DocRow {
        database: DATABASE,
        doc_id: id.to_owned(),
        id: job.map(|job| job.id.clone()),
        node: job.and_then(|job| job.node.clone()),
        source,
        target,
        state,
        info,
        error_count: errors,
        last_updated: job.map(|job| time(job.since_ms)).or(notes.time.clone()),
        start_time: job.map(|job| job.start_time.clone()).or(notes.time),
        source_proxy: None,
        target_proxy: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_couchdb_does() {
        assert_eq!(time(1_493_442_097_999), "2017-04-29T05:01:37Z");
    }

    #[test]
    fn a_document_shows_what_became_of_it_and_no_password() {
        let shown = |json: &str| serde_json::to_string(&row("d", json.as_bytes(), None)).expect("JSON");
        let fresh = shown(r#"{"source":"http://u:secret@h/a","target":"b"}"#);
        assert!(fresh.contains(r#""state":"initializing""#) && !fresh.contains("secret"), "{fresh}");
        let failed = shown(r#"{"source":1}"#);
        assert!(failed.contains(r#""state":"failed""#) && failed.contains("a name, a URL"), "{failed}");
        let done =
            r#"{"source":"a","target":"b","_replication_state":"completed","_replication_stats":{"docs_read":3}}"#;
        assert!(shown(done).contains(r#""state":"completed","info":{"docs_read":3}"#), "{}", shown(done));
    }
}
