//! How a node reaches the other nodes: one trait, over HTTP or within one process.
//!
//! Messages between replicas are bytes here: what they mean is the business of `raft`. Nothing here retries; whoever
//! calls knows whether a message may be sent twice.

use bytes::Bytes;
use common::ids::NodeId;
use common::state::{Campaign, NodeState, Promote};
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// A snapshot on its way, frame by frame.
pub type Frames = BoxStream<'static, std::io::Result<Bytes>>;

/// Which connection a message takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Log entries; large ones may take a while.
    Log,
    /// Small messages that must never queue behind log entries: signs of life, confirmations for reads, votes.
    Pulse,
}

/// Why another node gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Nothing listens there, or we do not know where it is; nothing was delivered.
    #[error("node {node} cannot be reached: {reason}")]
    Unreachable {
        /// The node.
        node: NodeId,
        /// What the system said.
        reason: String,
    },
    /// The connection broke or the answer could not be read; the message may have been delivered.
    #[error("no answer from node {node}: {reason}")]
    Broken {
        /// The node.
        node: NodeId,
        /// What the system said.
        reason: String,
    },
    /// The node answered that it will not: another cluster, another incarnation, damaged data.
    #[error("node {node} refused: {reason}")]
    Refused {
        /// The node.
        node: NodeId,
        /// What it said.
        reason: String,
    },
}

/// Reaches other nodes by name.
pub trait PeerTransport: Send + Sync + 'static {
    /// Delivers a replication message to a replica there and returns its answer.
    fn replicate<'a>(&'a self, to: &'a NodeId, lane: Lane, message: Bytes) -> BoxFuture<'a, Result<Bytes, PeerError>>;

    /// Delivers a request for a vote.
    fn vote<'a>(&'a self, to: &'a NodeId, message: Bytes) -> BoxFuture<'a, Result<Bytes, PeerError>>;

    /// Delivers a snapshot; the answer comes once it is installed.
    fn snapshot<'a>(&'a self, to: &'a NodeId, frames: Frames) -> BoxFuture<'a, Result<Bytes, PeerError>>;

    /// Asks a node for its state.
    fn state<'a>(&'a self, to: &'a NodeId) -> BoxFuture<'a, Result<NodeState, PeerError>>;

    /// Asks a replica there to stand for election; or, on the primary, to hand over to `Promote`'s asker.
    fn promote<'a>(&'a self, to: &'a NodeId, promote: Promote) -> BoxFuture<'a, Result<Campaign, PeerError>>;
}
