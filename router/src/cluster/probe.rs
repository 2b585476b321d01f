//! The health monitor: asks every node how it is, and keeps what it says in `members`.
//!
//! One loop a node, on connections of its own. Looks more often while a shard has no known primary, so that writers
//! learn of a new one soon.

use std::sync::Arc;
use std::time::Duration;

use common::ids::NodeId;
use common::refusal::Refusal;

use super::members::Members;

/// How often to look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Between two looks at a node (`health_check_interval_ms`).
    pub(super) interval: Duration,
    /// Silence that makes a node suspect.
    pub(super) patience: Duration,
}

impl Pace {
    /// From the configured interval. A node is asked once an interval and may take another one to answer.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, patience: 2 * interval }
    }

    /// While a shard has no known primary.
    fn hurried(self) -> Duration {
        (self.interval / 4).max(Duration::from_millis(5))
    }
}

/// Watches one node for ever.
pub(super) async fn watch(members: Arc<Members>, node: NodeId, pace: Pace) {
    loop {
        look(&members, &node, pace.patience).await;
        tokio::time::sleep(pace.hurried()).await;
        if !members.is_orphaned() {
            let rest = pace.interval.saturating_sub(pace.hurried());
            // A timeout here is the normal end of the pause.
            let _ = tokio::time::timeout(rest, members.look.notified()).await;
        }
    }
}

/// One look at a node. No answer in time says nothing yet: its health ages by itself.
pub(super) async fn look(members: &Members, node: &NodeId, patience: Duration) {
    let Some(transport) = members.transport(node) else { return };
    match tokio::time::timeout(patience, transport.state()).await {
        Ok(Ok(state)) => members.answered(node, state),
        Ok(Err(Refusal::Unreachable(_))) => members.failed(node),
        Ok(Err(refusal)) => tracing::debug!(%node, %refusal, "the node does not say how it is"),
        Err(_) => tracing::debug!(%node, "the node does not answer"),
    }
}
