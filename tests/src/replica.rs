//! Asks one node directly, as a router would: its state, and what its replica of a shard holds.

use std::time::Duration;

use bytes::Bytes;
use common::attachment::{Attachment, chunks_of};
use common::ids::{DbUid, DocId, Index, NodeId, ShardId};
use common::query::{Answer, Consistency, DbCounters, Query, Range, RangeRow};
use common::refusal::Refusal;
use common::state::{Campaign, NodeState, Promote};
use common::wire::{self, ReadAnswer, ReadRequest};
use http::Method;
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use crate::Result;
use crate::client::Client;

/// Rows asked for at a time.
const PAGE: u32 = 1_000;
/// A node that lives answers its state at once; a stopped one never does.
const PATIENCE: Duration = Duration::from_secs(1);
/// A replica that has just started knows no age of what it holds until a primary has spoken to it twice.
const AGE_PATIENCE: Duration = Duration::from_secs(10);

/// A node's internal port.
#[derive(Debug, Clone)]
pub struct NodeClient {
    name: String,
    http: Client,
}

/// What a replica holds of one database, for comparing replicas: equal contents have equal values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Documents, deleted ones left out.
    pub docs: u64,
    /// Hash over every id, revision, body, conflict and attachment, in order of the ids.
    pub hash: u64,
    /// The database's counters.
    pub counters: DbCounters,
}

impl NodeClient {
    /// A client of the node called `name` at `address`.
    pub fn new(name: &str, address: &str, secret: &str) -> Self {
        Self { name: name.to_owned(), http: Client::new(address).bearer(secret) }
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The plain client, for routes not covered here.
    pub fn http(&self) -> &Client {
        &self.http
    }

    /// What the node says of itself.
    pub async fn state(&self) -> Result<NodeState> {
        let asked = self.http.clone().patience(PATIENCE);
        let reply = asked.get("/v1/_replication/state").await?.expect(200)?;
        if reply.body.first() == Some(&b'{') {
            Ok(serde_json::from_slice(&reply.body)?)
        } else {
            Ok(wire::decode(&reply.body)?)
        }
    }

    /// Asks its replica to campaign.
    pub async fn promote(&self, promote: &Promote) -> Result<Campaign> {
        let reply = self.http.post("/v1/_replication/promote", serde_json::to_vec(promote)?).await?;
        Ok(serde_json::from_slice(&reply.body)
            .map_err(|error| format!("{}: {error}: {}", reply.status, reply.text()))?)
    }

    /// Asks one question, answered from what this very replica holds.
    pub async fn ask(&self, shard: ShardId, query: Query) -> Result<Answer> {
        let request = ReadRequest { consistency: Consistency::Eventual, last_resort: true, queries: vec![query] };
        let body = Bytes::from(wire::encode(&request));
        let until = Instant::now() + AGE_PATIENCE;
        loop {
            let path = format!("/v1/shards/{shard}/read");
            let reply = self.http.send(Method::POST, &path, &[], body.clone()).await?;
            let answer: ReadAnswer = wire::decode(&reply.body).map_err(|error| format!("{}: {error}", reply.status))?;
            match answer {
                Err(Refusal::TooFarBehind { .. }) if Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                answer => return answer?.answers.pop().ok_or_else(|| "no answer".into()),
            }
        }
    }

    /// All documents of a database on this replica, in order of their ids.
    pub async fn rows(&self, shard: ShardId, db: DbUid) -> Result<Vec<RangeRow>> {
        let mut rows: Vec<RangeRow> = Vec::new();
        loop {
            let low = rows.last().map(|row| row.id.as_str().into());
            let range = Range {
                db,
                low_exclusive: low.is_some(),
                low,
                high: None,
                high_exclusive: false,
                descending: false,
                limit: PAGE,
                bodies: true,
                conflicts: true,
                count_before: false,
            };
            match self.ask(shard, Query::Range(range)).await? {
                Answer::Range(page) => {
                    let more = page.more && !page.rows.is_empty();
                    rows.extend(page.rows);
                    if !more {
                        return Ok(rows);
                    }
                }
                other => return Err(format!("not a range: {other:?}").into()),
            }
        }
    }

    /// What this replica holds of a database.
    pub async fn content(&self, shard: ShardId, db: DbUid) -> Result<Content> {
        let rows = self.rows(shard, db).await?;
        let mut hash = Xxh3::new();
        for row in &rows {
            let text = format!("{}\n{}\n{:?}\n", row.id, row.rev, row.conflicts);
            hash.update(text.as_bytes());
            hash.update(row.json.as_deref().unwrap_or_default());
            for attachment in &row.attachments {
                hash.update(format!("{attachment:?}\n").as_bytes());
                self.hash_bytes(&mut hash, shard, db, attachment).await?;
            }
        }
        let Answer::Info(counters) = self.ask(shard, Query::Info { db }).await? else {
            return Err("no counters".into());
        };
        Ok(Content { docs: rows.len() as u64, hash: hash.digest(), counters })
    }

    /// Hashes what this replica has of an attachment.
    async fn hash_bytes(&self, hash: &mut Xxh3, shard: ShardId, db: DbUid, attachment: &Attachment) -> Result<()> {
        let content = &attachment.content;
        for number in 0..u32::try_from(chunks_of(content.stored_bytes))? {
            match self.ask(shard, Query::Chunk { db, blob: content.blob, number }).await? {
                Answer::Chunk(Some(bytes)) => hash.update(&bytes),
                other => return Err(format!("chunk {number} of {}: {other:?}", attachment.name).into()),
            }
        }
        Ok(())
    }

    /// The uid of a database, from this node's copy of the catalog (it must host shard 0).
    pub async fn db_uid(&self, db: &str) -> Result<DbUid> {
        for row in self.rows(ShardId(0), DbUid::DBS).await? {
            let body: serde_json::Value = serde_json::from_slice(row.json.as_deref().unwrap_or_default())?;
            let named = row.id == DocId::parse(db)? || body["name"] == db;
            if let (true, Some(uid)) = (named, body["uid"].as_str()) {
                return Ok(DbUid(uuid::Uuid::parse_str(uid)?));
            }
        }
        Err(format!("the catalog on {} has no database {db}", self.name).into())
    }
}

/// The one replica that leads `shard`, as the nodes describe themselves: of two that claim it, the one of the newer
/// term. `None` while nobody does.
pub fn primary_of(shard: ShardId, states: &[NodeState]) -> Option<NodeId> {
    let replicas = states.iter().flat_map(|state| &state.replicas).filter(|replica| replica.shard == shard);
    let claims = replicas.filter(|replica| replica.role == common::state::Role::Primary);
    claims.max_by_key(|replica| replica.term).map(|replica| replica.node.clone())
}

/// The highest index applied by any replica of `shard`.
pub fn applied_max(shard: ShardId, states: &[NodeState]) -> Index {
    let replicas = states.iter().flat_map(|state| &state.replicas).filter(|replica| replica.shard == shard);
    replicas.map(|replica| replica.applied).max().unwrap_or_default()
}
