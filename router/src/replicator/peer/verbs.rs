//! What a replication asks of its ends, as CouchDB's replication protocol has it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Ask, Error, Peer, Reply, TooLarge, segment};
use crate::ops::validation::KINDS;
use crate::replicator::history::Checkpoint;
use crate::replicator::spec::{Filter, Spec};

/// How long a source keeps a question for news before it answers that there is none.
const LONG_POLL: Duration = Duration::from_secs(25);

/// A page of a feed.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Batch {
    /// The rows.
    #[serde(rename = "results")]
    pub rows: Vec<Row>,
    /// The place behind the last row.
    pub last_seq: Value,
    /// How many rows are left.
    #[serde(default)]
    pub pending: Option<u64>,
}

/// A document that has changed.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    /// Its id.
    pub id: String,
    /// Its leaves.
    pub changes: Vec<Leaf>,
}

/// A leaf.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Leaf {
    /// Its revision.
    pub rev: String,
}

/// Which page of a feed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Changes<'a> {
    /// Of what.
    pub spec: &'a Spec,
    /// Behind this place.
    pub since: &'a Value,
    /// Whether to wait for news.
    pub wait: bool,
}

/// A revision of a document as it is sent: its text is not looked into.
pub(crate) type Doc = Box<RawValue>;

/// What became of documents that were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// They were taken, but for these: id, and why not.
    Taken(Vec<(String, String)>),
    /// Not as they are: too large together, or one of them spoils the request. The reason.
    Refused(String),
}

#[derive(Deserialize)]
struct Diff {
    missing: Vec<String>,
}

#[derive(Deserialize)]
struct BulkGot {
    results: Vec<BulkDocs>,
}

#[derive(Deserialize)]
struct BulkDocs {
    id: Value,
    docs: Vec<BulkDoc>,
}

/// One revision, or why it is not there.
#[derive(Deserialize)]
struct BulkDoc {
    ok: Option<Doc>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct OpenRev {
    ok: Option<Doc>,
}

#[derive(Deserialize)]
struct Rejected {
    #[serde(default)]
    id: String,
    error: Option<String>,
    #[serde(default)]
    reason: Value,
}

/// Documents read.
pub(crate) struct Fetched {
    /// Those that are there.
    pub docs: Vec<Doc>,
    /// Whether the source knows `_bulk_get`.
    pub in_bulk: bool,
}

impl Peer {
    /// Whether the database is there.
    pub(crate) async fn exists(&self) -> Result<bool, Error> {
        let reply = self.whole(&Ask::new(Method::GET, "")).await?;
        match reply.status.as_u16() {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(self.refused("", &reply)),
        }
    }

    /// Makes the database; fine if it is there.
    pub(crate) async fn create(&self, params: &[(String, String)]) -> Result<(), Error> {
        match self.ask(&Ask::new(Method::PUT, ""), params).await? {
            Ok(reply) if reply.is(&[201, 202, 412]) => Ok(()),
            Ok(reply) => Err(self.refused("", &reply)),
            Err(TooLarge) => Err(self.unreadable("its answer is too large")),
        }
    }

    /// A page of the feed.
    pub(crate) async fn changes(&self, asked: Changes<'_>) -> Result<Batch, Error> {
        let Changes { spec, since, wait } = asked;
        let style = if spec.winning_revs_only { "main_only" } else { "all_docs" };
        let since = since.as_str().map_or_else(|| since.to_string(), str::to_owned);
        let mut ask = Ask::new(Method::GET, "/_changes");
        ask = ask.with("style", style).with("since", since).with("limit", spec.batch.to_string());
        if wait {
            ask.wait = LONG_POLL;
            ask = ask.with("feed", "longpoll").with("timeout", LONG_POLL.as_millis().to_string());
        }
        let body = match &spec.filter {
            Filter::None => None,
            Filter::DocIds(ids) => {
                ask = ask.with("filter", "_doc_ids");
                Some(json!({ "doc_ids": ids }).to_string())
            }
            Filter::Selector(selector) => {
                ask = ask.with("filter", "_selector");
                Some(format!("{{\"selector\":{selector}}}"))
            }
            Filter::Function(name) => {
                ask = ask.with("filter", name);
                None
            }
        };
        if let Some(body) = body {
            ask = Ask { method: Method::POST, ..ask.json(body) };
        }
        let reply =
            self.ask(&ask, &spec.query_params).await?.map_err(|TooLarge| self.unreadable("a page is too large"))?;
        if reply.is(&[200]) { self.read(&reply) } else { Err(self.refused("_changes", &reply)) }
    }

    /// Which of these leaves are not there, by document.
    pub(crate) async fn missing(&self, rows: &[Row]) -> Result<Vec<(String, Vec<String>)>, Error> {
        let mut leaves: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for row in rows {
            leaves.entry(&row.id).or_default().extend(row.changes.iter().map(|leaf| leaf.rev.as_str()));
        }
        let body = serde_json::to_vec(&leaves).expect("texts become JSON");
        let reply = self.whole(&Ask::new(Method::POST, "/_revs_diff").json(body).bringing()).await?;
        if !reply.is(&[200]) {
            return Err(self.refused("_revs_diff", &reply));
        }
        let missing: BTreeMap<String, Diff> = self.read(&reply)?;
        Ok(missing.into_iter().map(|(id, diff)| (id, diff.missing)).filter(|(_, revs)| !revs.is_empty()).collect())
    }

    /// Reads revisions with their ancestors and attachments. What a revision has become meanwhile comes in its stead; what
    /// is gone for good (purged) is left out.
    pub(crate) async fn read_bulk(&self, wanted: &[(String, String)]) -> Result<Result<Fetched, TooLarge>, Error> {
        let docs: Vec<Value> = wanted.iter().map(|(id, rev)| json!({ "id": id, "rev": rev })).collect();
        let ask = Ask::new(Method::POST, "/_bulk_get").json(json!({ "docs": docs }).to_string()).bringing();
        let ask = ask.with("revs", "true").with("latest", "true").with("attachments", "true");
        let reply = match self.ask(&ask, &[]).await? {
            Err(TooLarge) => return Ok(Err(TooLarge)),
            // Servers of before it was there take its path for a document's.
            Ok(reply) if reply.is(&[405, 501]) || (reply.is(&[404]) && reply.is_gone()) => {
                return Ok(Ok(Fetched { docs: Vec::new(), in_bulk: false }));
            }
            Ok(reply) if reply.is(&[200]) => reply,
            Ok(reply) => return Err(self.refused("_bulk_get", &reply)),
        };
        let got: BulkGot = self.read(&reply)?;
        let mut docs = Vec::with_capacity(wanted.len());
        for group in got.results {
            for doc in group.docs {
                match (doc.ok, doc.error) {
                    (Some(doc), _) => docs.push(doc),
                    (None, error) => self.must_be_gone(&group.id, error.as_ref())?,
                }
            }
        }
        Ok(Ok(Fetched { docs: distinct(docs), in_bulk: true }))
    }

    /// The same of one document, from a server that does not know `_bulk_get`.
    pub(crate) async fn read_one(&self, id: &str, revs: &[&str]) -> Result<Result<Vec<Doc>, TooLarge>, Error> {
        let ask =
            Ask::new(Method::GET, format!("/{}", segment(id))).with("open_revs", json!(revs).to_string()).bringing();
        let ask = ask.with("revs", "true").with("latest", "true").with("attachments", "true");
        let reply = match self.ask(&ask, &[]).await? {
            Err(TooLarge) => return Ok(Err(TooLarge)),
            Ok(reply) if reply.is(&[200]) => reply,
            Ok(reply) if reply.is(&[404]) && reply.is_gone() => return Ok(Ok(Vec::new())),
            Ok(reply) => return Err(self.refused(id, &reply)),
        };
        let found: Vec<OpenRev> = self.read(&reply)?;
        Ok(Ok(distinct(found.into_iter().filter_map(|found| found.ok).collect())))
    }

    /// Writes revisions made elsewhere. Done again it changes nothing.
    pub(crate) async fn write(&self, docs: &[Doc]) -> Result<Written, Error> {
        let mut body = Vec::with_capacity(docs.iter().map(|doc| doc.get().len() + 1).sum::<usize>() + 40);
        body.extend_from_slice(b"{\"new_edits\":false,\"docs\":[");
        for (at, doc) in docs.iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            body.extend_from_slice(doc.get().as_bytes());
        }
        body.extend_from_slice(b"]}");
        let reply = self.whole(&Ask::new(Method::POST, "/_bulk_docs").json(body).bringing()).await?;
        match reply.status.as_u16() {
            201 | 202 => {}
            // One document is wrong, or all together are too much. Anything else is about whoever asks, or the server.
            400 | 409 | 412 | 413 | 422 => return Ok(Written::Refused(format!("{} {}", reply.status, reply.reason()))),
            _ => return Err(self.refused("_bulk_docs", &reply)),
        }
        let rows: Vec<Rejected> = self.read(&reply)?;
        let rejected = rows.into_iter().filter_map(|row| Some((row.error?, row.id, row.reason)));
        let mut refused = Vec::new();
        for (error, id, reason) in rejected {
            let why = format!("{error}: {}", reason.as_str().map_or_else(|| reason.to_string(), str::to_owned));
            // Of these the document's own merits are the reason; anything else may go otherwise the next time.
            match error.as_str() {
                // A function that was stopped takes those behind it with it: each is tried by itself.
                "function_failed" if docs.len() > 1 => return Ok(Written::Refused(why)),
                "function_failed" => refused.push((id, why)),
                kind if KINDS.contains(&kind) => refused.push((id, why)),
                "forbidden"
                | "unauthorized"
                | "bad_request"
                | "doc_validation"
                | "illegal_docid"
                | "too_large"
                | "document_too_large"
                | "attachment_too_large"
                | "request_entity_too_large"
                | "missing_stub"
                | "not_implemented"
                // What a validation function threw that is neither.
                | "unknown_error"
                | "unnamed_error"
                // Design documents that the target does not take.
                | "compilation_error"
                | "invalid_design_doc"
                | "invalid_partition" => refused.push((id, why)),
                _ => return Err(Error::Unavailable(format!("{}: {id}: {why}", self.shown))),
            }
        }
        Ok(Written::Taken(refused))
    }

    /// Has everything that was acknowledged made durable. Servers that always do so may not know the question.
    pub(crate) async fn commit(&self) -> Result<(), Error> {
        let reply = self.whole(&Ask::new(Method::POST, "/_ensure_full_commit").json("{}")).await?;
        if reply.is(&[200, 201, 202, 404, 405, 501]) {
            Ok(())
        } else {
            Err(self.refused("_ensure_full_commit", &reply))
        }
    }

    /// The checkpoint of a replication, and its revision.
    pub(crate) async fn checkpoint(&self, id: &str) -> Result<(Checkpoint, Option<String>), Error> {
        #[derive(Deserialize)]
        struct Stored {
            #[serde(rename = "_rev")]
            rev: String,
        }
        let reply = self.whole(&Ask::new(Method::GET, local(id))).await?;
        match reply.status.as_u16() {
            200 => {}
            404 => return Ok((Checkpoint::default(), None)),
            _ => return Err(self.refused("_local", &reply)),
        }
        let Stored { rev } = self.read(&reply)?;
        // Something else under this name is as good as nothing.
        Ok((serde_json::from_slice(&reply.body).unwrap_or_default(), Some(rev)))
    }

    /// Writes the checkpoint over `rev`; its new revision, or `None` if somebody else has written it.
    pub(crate) async fn note(
        &self,
        id: &str,
        checkpoint: &Checkpoint,
        rev: Option<&str>,
    ) -> Result<Option<String>, Error> {
        #[derive(Deserialize)]
        struct Noted {
            rev: String,
        }
        let mut body = serde_json::to_value(checkpoint).expect("a checkpoint becomes JSON");
        body["_id"] = json!(format!("_local/{id}"));
        if let Some(rev) = rev {
            body["_rev"] = json!(rev);
        }
        let reply = self.whole(&Ask::new(Method::PUT, local(id)).json(body.to_string())).await?;
        match reply.status.as_u16() {
            200..=202 => self.read::<Noted>(&reply).map(|noted| Some(noted.rev)),
            409 => Ok(None),
            _ => Err(self.refused("_local", &reply)),
        }
    }

    async fn whole(&self, ask: &Ask) -> Result<Reply, Error> {
        self.ask(ask, &[]).await?.map_err(|TooLarge| self.unreadable("its answer is too large"))
    }

    fn read<T: serde::de::DeserializeOwned>(&self, reply: &Reply) -> Result<T, Error> {
        serde_json::from_slice(&reply.body).map_err(|error| self.unreadable(&error.to_string()))
    }

    fn unreadable(&self, why: &str) -> Error {
        Error::Malformed(self.shown.clone(), why.to_owned())
    }

    /// Whether a revision that was not sent is gone; anything else may be there the next time.
    fn must_be_gone(&self, id: &Value, error: Option<&Value>) -> Result<(), Error> {
        let told = error.and_then(|error| error["error"].as_str()).unwrap_or_default();
        if told == "not_found" {
            return Ok(());
        }
        Err(Error::Unavailable(format!("{}: {id} was not sent: {}", self.shown, error.unwrap_or(&Value::Null))))
    }
}

fn local(id: &str) -> String {
    format!("/_local/{}", segment(id))
}

/// Two revisions asked for may have become the same one.
fn distinct(mut docs: Vec<Doc>) -> Vec<Doc> {
    let mut seen = HashSet::new();
    docs.retain(|doc| seen.insert(Bytes::copy_from_slice(doc.get().as_bytes())));
    docs
}
