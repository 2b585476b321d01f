//! `POST /{db}/_find`: documents that a selector matches, streamed.

use axum::body::Body;
use bytes::Bytes;
use common::attachment::stubs;
use common::document;
use common::ids::DbName;
use common::mango::{Projection, Reader, request};
use common::partition::Partition;
use common::query::{Consistency, FoundRow};
use futures::StreamExt;
use futures::future::ready;
use futures::stream::once;
use tokio::time::Instant;

use super::super::call::Call;
use super::super::read::tell_lag;
use super::super::{Answer, render};
use super::object;
use crate::ops;
use crate::ops::find::Finding;

/// Text gathered before it is sent on. Until as much is there an error is still answered as such.
const CHUNK_BYTES: usize = 32 << 10;
/// From so many documents looked at for each one found, clients are told that an index would help; as in CouchDB.
const WASTE_MAX: u64 = 10;

const UNINDEXED: &str = "No matching index found, create an index to optimize query time.";
const WASTEFUL: &str = "The number of documents examined is high in proportion to the number of results returned. \
                        Consider adding a more specific index to improve this.";

/// `POST /{db}/_find`
pub(in crate::http) async fn find(call: &Call, db: DbName, partition: Option<&Partition>, body: Body) -> Answer {
    let started = Instant::now();
    let body = call.read_json(body).await?;
    call.app.ops.db(&db).await?;
    let request = request::Find::of(object(&body)?, partition.map(Partition::as_str))?;
    let consistency = match call.consistency(&call.params())? {
        // As `?r=` does for documents.
        _ if request.r > 1 => Consistency::Linearizable,
        consistency => consistency,
    };
    let finding = call.app.ops.find(&db, &request, consistency).await?;
    let documents = Reader::new(request.projection.roots());
    let mut sending = Sending { finding, request, documents, started, begun: false };
    let (first, more) = sending.chunk().await?;
    let lag_ms = sending.finding.lag_ms;
    let first = once(ready(Ok(first)));
    let rest = futures::stream::try_unfold(more.then_some(sending), |state| async move {
        let Some(mut sending) = state else { return Ok(None) };
        match sending.chunk().await {
            Ok((chunk, more)) => Ok(Some((chunk, more.then_some(sending)))),
            Err(error) => {
                tracing::warn!(%error, "a query was cut");
                Err(error)
            }
        }
    });
    let mut response = render::json_stream(Body::from_stream(first.chain(rest)));
    tell_lag(response.headers_mut(), consistency, lag_ms);
    Ok(response)
}

/// An answer under way.
struct Sending {
    finding: Finding,
    request: request::Find,
    documents: Reader,
    started: Instant,
    /// Whether a document was written.
    begun: bool,
}

impl Sending {
    /// The next piece of text, and whether more follows.
    async fn chunk(&mut self) -> Result<(Bytes, bool), ops::Error> {
        let mut out = Vec::with_capacity(CHUNK_BYTES);
        if !self.begun {
            out.extend_from_slice(b"{\"docs\":[");
        }
        while out.len() < CHUNK_BYTES {
            let Some(row) = self.finding.next().await? else {
                self.end(&mut out);
                return Ok((out.into(), false));
            };
            out.extend_from_slice(if self.begun { b",\r\n" } else { b"\r\n" });
            self.begun = true;
            self.row(&mut out, &row);
        }
        Ok((out.into(), true))
    }

    fn row(&self, out: &mut Vec<u8>, row: &FoundRow) {
        let id = row.place.id.as_str();
        let (mut extra, mut conflicts) = (Vec::new(), Vec::new());
        if !self.request.projection.is_all() {
            let mut document = self.documents.open(id, &row.rev, &row.json);
            document.add_revs("_conflicts", &row.conflicts);
            Projection::write(&self.request.projection, &document, out);
            return;
        }
        if !row.conflicts.is_empty() {
            render::revs(&mut conflicts, &row.conflicts);
        }
        let conflicts = String::from_utf8_lossy(&conflicts);
        let stubs = stubs(&row.attachments);
        extra.extend(Some(("_conflicts", &*conflicts)).filter(|(_, list)| !list.is_empty()));
        extra.extend(stubs.as_deref().map(|stubs| ("_attachments", stubs)));
        document::render(out, id, &row.rev, false, &extra, &row.json);
    }

    /// What stands behind the documents.
    fn end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n],\r\n\"bookmark\": ");
        render::string(out, &self.finding.bookmark());
        let stats = self.finding.stats;
        if self.request.execution_stats {
            let (docs, quorum) = if self.request.r > 1 { (0, stats.docs_examined) } else { (stats.docs_examined, 0) };
            let ms = self.started.elapsed().as_secs_f64() * 1_000.0;
            let text = format!(
                ",\r\n\"execution_stats\": {{\"total_keys_examined\":{},\"total_docs_examined\":{docs},\
                 \"total_quorum_docs_examined\":{quorum},\"results_returned\":{},\"execution_time_ms\":{ms:.3}}}",
                stats.keys_examined, stats.returned,
            );
            out.extend_from_slice(text.as_bytes());
        }
        let warnings = self.warnings();
        if !warnings.is_empty() {
            out.extend_from_slice(b",\r\n\"warning\": ");
            render::string(out, &warnings.join("\n"));
        }
        out.extend_from_slice(b"}\r\n");
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(asked) = self.request.use_index.as_ref().filter(|_| self.finding.passed_over) {
            let an = if asked.name.is_some() { "it is not a valid" } else { "it does not contain a valid" };
            warnings.push(format!("{} was not used because {an} index for this query.", asked.shown()));
        }
        if self.finding.is_by_id() {
            warnings.push(UNINDEXED.to_owned());
        }
        let stats = self.finding.stats;
        if stats.docs_examined > WASTE_MAX * stats.returned.max(1) {
            warnings.push(WASTEFUL.to_owned());
        }
        warnings
    }
}
