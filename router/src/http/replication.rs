//! The cluster for its admins: what every replica says of itself, planned hand-over, draining, the log as it is
//! written.

use std::collections::BTreeMap;

use axum::body::Body;
use common::ids::{Index, NodeId, RaftId, ShardId, Term};
use common::state::{Campaign, Peer, ReplicaState, Role};
use futures::TryStreamExt;
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::call::Call;
use super::error::Error;
use super::{Answer, render};
use crate::cluster::NodeRow;

/// All replicas of the cluster.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplicationState)]
pub(super) struct State {
    cluster: String,
    nodes: Vec<Node>,
    shards: Vec<Shard>,
    replicas: Vec<Row>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplicationNode)]
struct Node {
    #[schema(value_type = String)]
    node: NodeId,
    reachable: bool,
    /// Whether it gives away what it leads.
    draining: bool,
    /// Free on the fullest of its file systems; null while nothing is known of it.
    disk_free_bytes: Option<u64>,
}

/// One shard, as the cluster file places it: a replica that never answered has no row.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplicationShard)]
struct Shard {
    #[schema(value_type = u32)]
    shard: ShardId,
    #[schema(value_type = Vec<String>)]
    replicas: Vec<NodeId>,
}

/// A voter or learner of a replica set.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ReplicationMember)]
struct Member {
    #[schema(value_type = String)]
    node: NodeId,
    incarnation: String,
}

/// One replica.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Replica)]
struct Row {
    #[schema(value_type = u32)]
    shard: ShardId,
    #[schema(value_type = String)]
    node: NodeId,
    #[schema(value_type = String)]
    role: Role,
    #[schema(value_type = u64)]
    term: Term,
    #[schema(value_type = Option<String>)]
    primary: Option<NodeId>,
    #[schema(value_type = u64)]
    last_term: Term,
    #[schema(value_type = u64)]
    last_index: Index,
    #[schema(value_type = u64)]
    committed: Index,
    #[schema(value_type = u64)]
    applied: Index,
    /// Entries committed anywhere in the replica set and not applied here.
    lag_entries: u64,
    lag_ms: u64,
    heard_ms: Option<u64>,
    health: &'static str,
    reason: Option<String>,
    engine: String,
    /// Which life of the replica this is: another one after its folder was lost.
    incarnation: String,
    voters: Vec<Member>,
    learners: Vec<Member>,
    #[schema(value_type = u64)]
    first_index: Index,
    draining: bool,
    #[serde(flatten)]
    disk: Disk,
}

/// What a replica takes on the disk, and what has come to it since it started.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ReplicaDisk)]
struct Disk {
    log_bytes: u64,
    engine_bytes: u64,
    disk_free_bytes: u64,
    log_written_bytes: u64,
    snapshot_received_bytes: u64,
}

/// `GET /v1/_replication/state`
pub(super) async fn state(call: &Call) -> Answer {
    let rows = call.app.ops.cluster.states().await;
    let config = &call.app.config;
    let state = State {
        cluster: config.name.clone(),
        replicas: replicas(&rows, config.replication.max_replication_lag_ms),
        shards: config.shard.iter().map(|entry| Shard { shard: entry.id, replicas: entry.replicas.clone() }).collect(),
        nodes: rows.into_iter().map(node).collect(),
    };
    let body = serde_json::to_vec(&state).map_err(|_| Error::Internal("the state cannot be shown"))?;
    Ok(render::json(StatusCode::OK, body))
}

fn node(row: NodeRow) -> Node {
    let replicas = || row.state.iter().flat_map(|state| &state.replicas);
    // Zero stands for a replica that was not measured, as a damaged one is not.
    let free = replicas().map(|replica| replica.disk.free_bytes).filter(|bytes| *bytes > 0);
    let (disk_free_bytes, draining) = (free.min(), replicas().any(|replica| replica.draining));
    Node { reachable: row.reachable, draining, disk_free_bytes, node: row.node }
}

/// Incarnations are random numbers of 64 bits, of which a reader of JSON may keep only 53: so they are text.
fn incarnation(id: RaftId) -> String {
    format!("{:016x}", id.0)
}

fn members(peers: &[Peer]) -> Vec<Member> {
    let member = |peer: &Peer| Member { node: peer.node.clone(), incarnation: incarnation(peer.raft_id) };
    peers.iter().map(member).collect()
}

/// A row a replica, by shard and node.
fn replicas(rows: &[NodeRow], lag_ms_max: u64) -> Vec<Row> {
    let known = || rows.iter().filter_map(|row| Some((row.reachable, row.state.as_ref()?)));
    let all = || known().flat_map(|(reachable, node)| node.replicas.iter().map(move |replica| (reachable, replica)));
    let mut committed: BTreeMap<ShardId, u64> = BTreeMap::new();
    for (_, replica) in all() {
        let highest = committed.entry(replica.shard).or_default();
        *highest = (*highest).max(replica.committed.0);
    }
    let mut rows: Vec<Row> = all()
        .map(|(reachable, replica)| Row {
            shard: replica.shard,
            node: replica.node.clone(),
            role: replica.role,
            term: replica.term,
            primary: replica.primary.clone(),
            last_term: replica.last.term,
            last_index: replica.last.index,
            committed: replica.committed,
            applied: replica.applied,
            lag_entries: committed[&replica.shard].saturating_sub(replica.applied.0),
            lag_ms: replica.lag_ms,
            heard_ms: replica.heard_ms,
            health: health(reachable, replica, lag_ms_max),
            reason: replica.reason.clone(),
            engine: replica.engine.clone(),
            incarnation: incarnation(replica.raft_id),
            voters: members(&replica.voters),
            learners: members(&replica.learners),
            first_index: replica.first,
            draining: replica.draining,
            disk: Disk {
                log_bytes: replica.disk.log_bytes,
                engine_bytes: replica.disk.engine_bytes,
                disk_free_bytes: replica.disk.free_bytes,
                log_written_bytes: replica.disk.log_written_bytes,
                snapshot_received_bytes: replica.disk.snapshot_received_bytes,
            },
        })
        .collect();
    rows.sort_by(|a, b| (a.shard, &a.node).cmp(&(b.shard, &b.node)));
    rows
}

fn health(reachable: bool, replica: &ReplicaState, lag_ms_max: u64) -> &'static str {
    match () {
        () if !reachable => "unreachable",
        () if !replica.healthy => "unhealthy",
        () if replica.lag_ms > lag_ms_max => "lagging",
        () => "ok",
    }
}

/// Body of `POST /v1/_replication/promote`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Promote {
    #[schema(value_type = u32)]
    shard: ShardId,
    /// Whom to ask; the most advanced other replica, if left out.
    #[schema(value_type = Option<String>)]
    node: Option<NodeId>,
    /// The term the asker saw; refused if the shard has moved on.
    #[schema(value_type = Option<u64>)]
    term: Option<Term>,
}

/// `POST /v1/_replication/promote`: asks a replica to campaign, never makes it primary.
pub(super) async fn promote(call: &Call, body: Body) -> Answer {
    let asked: Promote = serde_json::from_slice(&call.read_json(body).await?)
        .map_err(|error| Error::bad(format!("a promotion is {{\"shard\":0,\"node\":\"n1\",\"term\":1}}: {error}")))?;
    let cluster = &call.app.ops.cluster;
    if !cluster.map().shards().contains(&asked.shard) {
        return Err(Error::bad(format!("there is no shard {}", asked.shard)));
    }
    if let Some(term) = asked.term {
        let rows = replicas(&cluster.states().await, u64::MAX);
        let now = rows.iter().filter(|row| row.shard == asked.shard).map(|row| row.term).max().unwrap_or_default();
        if now != term {
            return Err(Error::Stale(format!("the term is {now} now")));
        }
    }
    let (node, campaign) = cluster.promote(asked.shard, asked.node).await?;
    match campaign {
        Campaign::Started | Campaign::AlreadyPrimary => {
            let campaign = serde_json::json!(campaign);
            let body = format!("{{\"ok\":true,\"node\":\"{node}\",\"campaign\":{campaign}}}");
            Ok(render::json(StatusCode::OK, body.into_bytes()))
        }
        Campaign::StaleTerm { term } => Err(Error::Stale(format!("the term of {node} is {term} now"))),
        Campaign::NotEligible => Err(Error::Stale(format!("{node} cannot stand for election"))),
    }
}

/// Body of `POST /v1/_replication/drain`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Drain {
    #[schema(value_type = String)]
    node: NodeId,
    /// `false` lets the node lead again.
    #[serde(default = "yes")]
    drain: bool,
}

fn yes() -> bool {
    true
}

/// `POST /v1/_replication/drain`: has a node give away what it leads, or lead again. Answers at once, with the shards
/// that the node still leads.
pub(super) async fn drain(call: &Call, body: Body) -> Answer {
    let asked: Drain = serde_json::from_slice(&call.read_json(body).await?)
        .map_err(|error| Error::bad(format!("a draining is {{\"node\":\"n1\",\"drain\":true}}: {error}")))?;
    let answer = call.app.ops.cluster.drain(&asked.node, asked.drain).await;
    let state = answer.ok_or_else(|| Error::bad(format!("there is no node {}", asked.node)))??;
    let leads = state.replicas.iter().filter(|replica| replica.role == Role::Primary);
    let leads: Vec<ShardId> = leads.map(|replica| replica.shard).collect();
    let body = serde_json::json!({ "ok": true, "node": asked.node, "draining": asked.drain, "leads": leads });
    Ok(render::json(StatusCode::OK, body.to_string().into_bytes()))
}

/// `GET /v1/_replication/wal?shard=&from=&follow=`: committed entries, one a line.
pub(super) async fn wal(call: &Call) -> Answer {
    let params = call.params();
    let shard = params.number("shard")?.ok_or_else(|| Error::Query("`shard` is missing".to_owned()))?;
    let shard = ShardId(u32::try_from(shard).unwrap_or(u32::MAX));
    let cluster = &call.app.ops.cluster;
    if !cluster.map().shards().contains(&shard) {
        return Err(Error::bad(format!("there is no shard {shard}")));
    }
    let from = Index(params.number("from")?.unwrap_or(0));
    let follow = params.flag("follow", false)?;
    let entries = cluster.wal(shard, from, follow).await?;
    let entries = entries.inspect_err(|refusal| tracing::warn!(%refusal, "a stream of log entries was cut"));
    let kind = HeaderValue::from_static("application/x-ndjson");
    Ok(render::typed(StatusCode::OK, kind, Body::from_stream(entries)))
}

#[cfg(test)]
mod tests {
    use common::ids::ClusterId;
    use common::state::NodeState;

    use super::*;

    fn replica(node: &str, applied: u64, lag_ms: u64, healthy: bool) -> ReplicaState {
        ReplicaState {
            term: Term(3),
            committed: Index(applied),
            applied: Index(applied),
            lag_ms,
            healthy,
            ..ReplicaState::blank(NodeId::parse(node).expect("valid"), ShardId(0), RaftId(1), Role::Replica)
        }
    }

    fn row(replica: ReplicaState, reachable: bool) -> NodeRow {
        let (cluster, node) = (ClusterId::of("c"), replica.node.clone());
        NodeRow { node: node.clone(), reachable, state: Some(NodeState { cluster, node, replicas: vec![replica] }) }
    }

    #[test]
    fn a_replica_is_as_far_behind_as_the_most_advanced_one_is_ahead() {
        let rows = [
            row(replica("n3", 5, 0, false), true),
            row(replica("n1", 9, 0, true), true),
            row(replica("n2", 7, 11, true), true),
            row(replica("n4", 9, 0, true), false),
        ];
        let shown: Vec<_> = replicas(&rows, 10)
            .into_iter()
            .map(|row| (row.node.as_str().to_owned(), row.lag_entries, row.health))
            .collect();
        let wanted = [("n1", 0, "ok"), ("n2", 2, "lagging"), ("n3", 4, "unhealthy"), ("n4", 0, "unreachable")];
        assert_eq!(shown, wanted.map(|(node, lag, health)| (node.to_owned(), lag, health)));
    }
}
