//! What one observer knows of one node, from the answers it got and did not get.
//!
//! Pure: `now` comes in as the time since some start of the observer's own.

use std::time::Duration;

use crate::state::NodeState;

/// One node, as one observer sees it.
#[derive(Debug, Clone)]
pub struct Health {
    /// Without an answer for this long a node is suspect.
    patience: Duration,
    last_answer: Option<Duration>,
    /// Whether the last attempt failed outright (refused, reset): a dead process, not a slow one.
    broken: bool,
    state: Option<NodeState>,
}

impl Health {
    /// A node nothing is known of; it is suspect until it answers. `patience` is how long it may stay silent.
    pub fn new(patience: Duration) -> Self {
        Self { patience, last_answer: None, broken: false, state: None }
    }

    /// The node answered at `now`.
    pub fn answered(&mut self, now: Duration, state: NodeState) {
        self.last_answer = Some(now);
        self.broken = false;
        self.state = Some(state);
    }

    /// An attempt failed outright: the connection was refused or reset.
    pub fn failed(&mut self) {
        self.broken = true;
    }

    /// Whether the node should be taken for gone.
    pub fn is_suspect(&self, now: Duration) -> bool {
        self.broken || self.last_answer.is_none_or(|at| now.saturating_sub(at) > self.patience)
    }

    /// What it said last, and how long ago.
    pub fn last(&self, now: Duration) -> Option<(&NodeState, Duration)> {
        self.state.as_ref().zip(self.last_answer.map(|at| now.saturating_sub(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, NodeId};

    fn state() -> NodeState {
        let node = NodeId::parse("n1").expect("valid");
        NodeState { cluster: ClusterId::of("c"), node, replicas: Vec::new() }
    }

    #[test]
    fn silence_or_a_broken_connection_makes_a_node_suspect_and_an_answer_clears_it() {
        let ms = Duration::from_millis;
        let mut health = Health::new(ms(100));
        assert!(health.is_suspect(ms(0)), "never seen");
        health.answered(ms(10), state());
        assert!(!health.is_suspect(ms(110)));
        assert!(health.is_suspect(ms(111)), "silent for too long");
        health.answered(ms(120), state());
        health.failed();
        assert!(health.is_suspect(ms(121)), "refused");
        health.answered(ms(130), state());
        assert!(!health.is_suspect(ms(131)));
        assert_eq!(health.last(ms(140)), Some((&state(), ms(10))));
    }
}
