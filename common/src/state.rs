//! What a replica says of itself: the rows of `/v1/_replication/state`.

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, Index, NodeId, RaftId, ShardId, Term};

/// What a replica is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Leads: takes writes and linearizable reads.
    Primary,
    /// Follows and votes.
    Replica,
    /// Follows, does not vote yet.
    Learner,
    /// Stands for election.
    Candidate,
    /// Has an empty folder and belongs to no replica set yet.
    Empty,
    /// Left service because its disk failed or its files are damaged; waits to be rebuilt.
    Damaged,
}

/// Position of a log entry: the term it was proposed in, then its index. Orders replicas by how advanced they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogPosition {
    /// Term of the entry, never the replica's current term.
    pub term: Term,
    /// Index of the entry.
    pub index: Index,
}

/// One voter or learner of a replica set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// The incarnation of its replica.
    pub raft_id: RaftId,
}

/// One replica, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaState {
    /// The node that hosts it.
    pub node: NodeId,
    /// Its shard.
    pub shard: ShardId,
    /// Its incarnation.
    pub raft_id: RaftId,
    /// What it is now.
    pub role: Role,
    /// Its current term.
    pub term: Term,
    /// Whom it takes for the primary.
    pub primary: Option<NodeId>,
    /// Milliseconds since it last heard from that primary; on the primary itself, since a majority last answered it.
    /// `None` if never.
    pub heard_ms: Option<u64>,
    /// Its last log entry.
    pub last: LogPosition,
    /// Last index it knows to be committed.
    pub committed: Index,
    /// Last index folded into its engine.
    pub applied: Index,
    /// First index its log still has.
    pub first: Index,
    /// Milliseconds its applied state is behind what the primary last told it; 0 on the primary.
    pub lag_ms: u64,
    /// Whether it believes it can serve (not damaged, not starting, not stopping, disk not full).
    pub healthy: bool,
    /// In plain words, what is wrong when it is not healthy.
    pub reason: Option<String>,
    /// The voters of its replica set, as it knows them.
    pub voters: Vec<Peer>,
    /// The learners of its replica set.
    pub learners: Vec<Peer>,
    /// `fjall`, `sled` or `memory`.
    pub engine: String,
    /// Whether its node is being drained: it gives away the lead and stands for election only if nobody else can.
    #[serde(default)]
    pub draining: bool,
    /// To whom a primary is handing over: until that one leads it is quiet on purpose.
    #[serde(default)]
    pub heir: Option<NodeId>,
    /// What it takes on the disk.
    #[serde(default)]
    pub disk: DiskUse,
}

/// What a replica takes on its disk and what has come to it, in bytes, as it saw at most a second or two ago.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskUse {
    /// Segments of its log, those filled with zeros ahead included.
    pub log_bytes: u64,
    /// Its engine, as far as the engine can tell cheaply.
    pub engine_bytes: u64,
    /// Free for it on its file system.
    pub free_bytes: u64,
    /// Written to its log since it started.
    pub log_written_bytes: u64,
    /// Received of snapshots since it started, one that is still coming included.
    pub snapshot_received_bytes: u64,
}

impl ReplicaState {
    /// A healthy replica with an empty log, which knows nobody and has heard nothing.
    pub fn blank(node: NodeId, shard: ShardId, raft_id: RaftId, role: Role) -> Self {
        Self {
            node,
            shard,
            raft_id,
            role,
            term: Term::default(),
            primary: None,
            heard_ms: None,
            last: LogPosition::default(),
            committed: Index::default(),
            applied: Index::default(),
            first: Index::default(),
            lag_ms: 0,
            healthy: true,
            reason: None,
            voters: Vec::new(),
            learners: Vec::new(),
            engine: String::new(),
            draining: false,
            heir: None,
            disk: DiskUse::default(),
        }
    }
}

/// All replicas of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Its replicas, by shard.
    pub replicas: Vec<ReplicaState>,
}

/// Body of `POST /v1/_replication/promote`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promote {
    /// The shard.
    pub shard: ShardId,
    /// The term the asker saw; the replica campaigns only if it is still its term.
    pub term: Term,
    /// Whether a primary that lives is to hand over. Without it, a replica that hears one refuses to stand: whoever
    /// believes the primary to be gone is mistaken, or cut off from it.
    #[serde(default)]
    pub planned: bool,
}

/// Body of `POST /v1/_replication/drain` on a node, which answers with its [`NodeState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// Whether the node is to give away what it leads, or may lead again.
    pub drain: bool,
}

/// What became of a request to campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Campaign {
    /// The replica stands for election now; the outcome shows in `state`.
    Started,
    /// It leads already.
    AlreadyPrimary,
    /// Its term is another one.
    StaleTerm {
        /// The replica's term.
        term: Term,
    },
    /// It may not stand: learner, empty, damaged, or not hosted here.
    NotEligible,
}
