//! Nodes of one process reach each other by calling each other: the embedded mode, and tests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use common::ids::NodeId;
use common::state::{Campaign, NodeState, Promote};
use futures::future::BoxFuture;

use crate::node::Node;
use crate::transport::{Frames, Lane, PeerError, PeerTransport};

/// Nodes of one process that reach each other without sockets: the embedded mode, and tests.
#[derive(Default)]
pub struct InProcess {
    nodes: Mutex<HashMap<NodeId, Weak<Node>>>,
}

impl InProcess {
    /// An empty registry. Nodes find each other once they were added.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Makes `node` reachable, in the place of an earlier one of the same name.
    pub fn add(&self, node: &Arc<Node>) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.insert(node.id().clone(), Arc::downgrade(node));
    }

    /// Makes the node called `name` unreachable.
    pub fn remove(&self, name: &NodeId) {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn find(&self, name: &NodeId) -> Result<Arc<Node>, PeerError> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes
            .get(name)
            .and_then(Weak::upgrade)
            .ok_or_else(|| PeerError::Unreachable { node: name.clone(), reason: "not in this process".to_owned() })
    }
}

impl PeerTransport for InProcess {
    fn replicate<'a>(&'a self, to: &'a NodeId, _lane: Lane, message: Bytes) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(async move { refused(to, self.find(to)?.on_replicate(message).await) })
    }

    fn vote<'a>(&'a self, to: &'a NodeId, message: Bytes) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(async move { refused(to, self.find(to)?.on_vote(message).await) })
    }

    fn snapshot<'a>(&'a self, to: &'a NodeId, frames: Frames) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(async move { refused(to, self.find(to)?.on_snapshot(frames).await) })
    }

    fn state<'a>(&'a self, to: &'a NodeId) -> BoxFuture<'a, Result<NodeState, PeerError>> {
        Box::pin(async move { Ok(self.find(to)?.state()) })
    }

    fn promote<'a>(&'a self, to: &'a NodeId, promote: Promote) -> BoxFuture<'a, Result<Campaign, PeerError>> {
        Box::pin(async move { Ok(self.find(to)?.campaign(promote).await) })
    }
}

fn refused<T, E: std::fmt::Display>(node: &NodeId, answer: Result<T, E>) -> Result<T, PeerError> {
    answer.map_err(|reason| PeerError::Refused { node: node.clone(), reason: reason.to_string() })
}
