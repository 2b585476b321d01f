//! Who is where: the nodes, their health, and each shard's primary as far as this router has learned.
//!
//! Knowledge comes from probes (a node says that it leads, and in which term), from answers (it took a write) and
//! from hints (a replica names the primary). Hints have no term, so they fill gaps but never overrule a probe; a
//! primary of an older term than one already seen is not believed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::config::ShardEntry;
use common::failover::View;
use common::health::Health;
use common::ids::{NodeId, ShardId, Term};
use common::metrics::Counter;
use common::query::Consistency;
use common::refusal::Refusal;
use common::state::{NodeState, Role};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::NodeRow;
use crate::shard::retry::Kind;
use crate::shard::transport::Transport;

/// All nodes and shards of the cluster.
pub(super) struct Members {
    started: Instant,
    nodes: BTreeMap<NodeId, Member>,
    shards: BTreeMap<ShardId, Place>,
    /// Wakes the probes early: a shard has lost its primary, or somebody campaigns.
    pub(super) look: Notify,
}

/// One node.
pub(super) struct Member {
    pub(super) transport: Arc<dyn Transport>,
    health: Mutex<Health>,
}

/// One shard.
pub(super) struct Place {
    pub(super) shard: ShardId,
    /// The nodes with a replica of it, as configured; never empty.
    pub(super) replicas: Vec<NodeId>,
    leading: watch::Sender<Leading>,
    turn: AtomicUsize,
    /// Replicas that stood for election because this router asked them to.
    pub(super) promotions: Counter,
}

/// Who leads a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Leading {
    primary: Option<NodeId>,
    /// The highest term in which a primary was seen; kept when the primary is lost.
    term: Term,
}

impl Members {
    /// Knows the nodes that `transports` lead to; nothing else yet. Nodes are suspect after `patience` of silence.
    pub(super) fn new(transports: Vec<Arc<dyn Transport>>, shards: &[ShardEntry], patience: Duration) -> Self {
        let member = |transport: Arc<dyn Transport>| {
            let health = Mutex::new(Health::new(patience));
            (transport.node().clone(), Member { transport, health })
        };
        let place = |entry: &ShardEntry| {
            let leading = watch::Sender::new(Leading::default());
            let (replicas, turn) = (entry.replicas.clone(), AtomicUsize::new(0));
            (entry.id, Place { shard: entry.id, replicas, leading, turn, promotions: Counter::default() })
        };
        Self {
            started: Instant::now(),
            nodes: transports.into_iter().map(member).collect(),
            shards: shards.iter().map(place).collect(),
            look: Notify::new(),
        }
    }

    /// The shards, sorted.
    pub(super) fn shards(&self) -> impl Iterator<Item = &Place> {
        self.shards.values()
    }

    /// The nodes, sorted.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&NodeId, &Member)> {
        self.nodes.iter()
    }

    /// One shard.
    pub(super) fn place(&self, shard: ShardId) -> Result<&Place, Refusal> {
        self.shards.get(&shard).ok_or(Refusal::NotHosted { shard })
    }

    /// The way to a node.
    pub(super) fn transport(&self, node: &NodeId) -> Option<&Arc<dyn Transport>> {
        self.nodes.get(node).map(|member| &member.transport)
    }

    /// Whether a node should be taken for gone.
    pub(super) fn is_suspect(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_none_or(|member| member.lock().is_suspect(self.started.elapsed()))
    }

    /// What is known of a node.
    pub(super) fn row(&self, node: &NodeId) -> NodeRow {
        let now = self.started.elapsed();
        let health = self.nodes.get(node).map(Member::lock);
        let reachable = health.as_ref().is_some_and(|health| !health.is_suspect(now));
        let state = health.and_then(|health| health.last(now).map(|(state, _)| state.clone()));
        NodeRow { node: node.clone(), reachable, state }
    }

    /// A shard's replicas as this router sees them.
    pub(super) fn views(&self, place: &Place) -> Vec<View> {
        let now = self.started.elapsed();
        let view = |node: &NodeId| {
            let health = self.nodes.get(node)?.lock();
            let (state, age) = health.last(now)?;
            let state = state.replicas.iter().find(|replica| replica.shard == place.shard)?.clone();
            Some(View { state, reachable: !health.is_suspect(now), age })
        };
        place.replicas.iter().filter_map(view).collect()
    }

    /// A node told how it is.
    pub(super) fn answered(&self, node: &NodeId, state: NodeState) {
        let Some(member) = self.nodes.get(node) else { return };
        for replica in &state.replicas {
            let Some(place) = self.shards.get(&replica.shard) else { continue };
            match replica.role {
                Role::Primary => place.leads(node, replica.term),
                _ => place.deposed(node, replica.term),
            }
        }
        member.lock().answered(self.started.elapsed(), state);
    }

    /// A node refused or broke a connection: whatever it led, it does not lead now.
    pub(super) fn failed(&self, node: &NodeId) {
        let Some(member) = self.nodes.get(node) else { return };
        member.lock().failed();
        for place in self.shards.values() {
            place.lost(node);
        }
    }

    /// Whom to ask next. For the primary's work: the primary if known, else replicas in turn, those that answer
    /// first, `avoid` last. For eventual reads: replicas that answer, in turn.
    pub(super) fn choose(&self, place: &Place, kind: Kind, avoid: Option<&NodeId>) -> NodeId {
        if kind != Kind::Read(Consistency::Eventual)
            && let Some(primary) = place.primary()
        {
            return primary;
        }
        let turn = place.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..place.replicas.len()).map(|n| &place.replicas[(turn + n) % place.replicas.len()]);
        let best = in_turn.min_by_key(|node| (self.is_suspect(node), Some(*node) == avoid));
        best.expect("a shard has replicas").clone()
    }

    /// The nodes with a replica of a shard that answer; all of them if none does.
    pub(super) fn reachable(&self, place: &Place) -> Vec<NodeId> {
        let there: Vec<NodeId> = place.replicas.iter().filter(|node| !self.is_suspect(node)).cloned().collect();
        if there.is_empty() { place.replicas.clone() } else { there }
    }

    /// Whether a node cannot answer for a shard: it is suspect, or says itself that its majority is gone for longer
    /// than `lease`.
    pub(super) fn is_cut_off(&self, node: &NodeId, shard: ShardId, lease: Duration) -> bool {
        let now = self.started.elapsed();
        let Some(member) = self.nodes.get(node) else { return true };
        let health = member.lock();
        let lonely = health.last(now).is_some_and(|(state, age)| {
            let heard = state.replicas.iter().find(|replica| replica.shard == shard).and_then(|r| r.heard_ms);
            heard.is_some_and(|heard| Duration::from_millis(heard) + age > lease)
        });
        lonely || health.is_suspect(now)
    }

    /// Whether some shard has no known primary.
    pub(super) fn is_orphaned(&self) -> bool {
        self.shards.values().any(|place| place.leading.borrow().primary.is_none())
    }
}

impl Member {
    fn lock(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The primary, if known.
    pub(super) fn primary(&self) -> Option<NodeId> {
        self.leading.borrow().primary.clone()
    }

    /// Comes back when a primary other than `node` is known; at once if one is.
    pub(super) async fn moved_from(&self, node: &NodeId) {
        let mut leading = self.leading.subscribe();
        let moved = |leading: &Leading| leading.primary.as_ref().is_some_and(|primary| primary != node);
        // The sender lives in `self`, so the channel cannot close under us.
        let _ = leading.wait_for(moved).await;
    }

    /// Comes back when something new is learned and there is a primary. What is known already does not count: it
    /// has just been tried.
    pub(super) async fn news(&self) {
        let mut leading = self.leading.subscribe();
        while leading.changed().await.is_ok() && leading.borrow_and_update().primary.is_none() {}
    }

    /// What the refusal of `asked` tells about who leads.
    pub(super) fn learn(&self, asked: &NodeId, refusal: &Refusal) {
        match refusal {
            Refusal::NotPrimary { primary, .. } => {
                let hint = primary.clone().filter(|hint| hint != asked && self.replicas.contains(hint));
                self.change(|leading| match &leading.primary {
                    Some(known) if known == asked => leading.primary = hint,
                    None => leading.primary = hint,
                    Some(_) => {}
                });
            }
            Refusal::Unreachable(_) | Refusal::NotHosted { .. } | Refusal::OutOfService { .. } => self.lost(asked),
            _ => {}
        }
    }

    /// `node` did what only a primary does.
    pub(super) fn confirmed(&self, node: &NodeId) {
        self.change(|leading| {
            if leading.primary.is_none() {
                leading.primary = Some(node.clone());
            }
        });
    }

    /// `node` says that it leads in `term`.
    fn leads(&self, node: &NodeId, term: Term) {
        self.change(|leading| {
            if term > leading.term || (term == leading.term && leading.primary.as_ref() != Some(node)) {
                *leading = Leading { primary: Some(node.clone()), term };
            }
        });
    }

    /// `node` says that it does not lead in `term`.
    fn deposed(&self, node: &NodeId, term: Term) {
        self.change(|leading| {
            if leading.primary.as_ref() == Some(node) && term >= leading.term {
                leading.primary = None;
            }
        });
    }

    /// `node` does not answer.
    fn lost(&self, node: &NodeId) {
        self.change(|leading| {
            if leading.primary.as_ref() == Some(node) {
                leading.primary = None;
            }
        });
    }

    /// Changes what is known, and wakes those that wait only if it did change.
    fn change(&self, change: impl FnOnce(&mut Leading)) {
        self.leading.send_if_modified(|leading| {
            let before = leading.clone();
            change(leading);
            *leading != before
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        NodeId::parse(name).expect("valid")
    }

    fn place() -> Place {
        let replicas = ["n1", "n2", "n3"].map(node).to_vec();
        Place {
            shard: ShardId(0),
            replicas,
            leading: watch::Sender::new(Leading::default()),
            turn: AtomicUsize::new(0),
            promotions: Counter::default(),
        }
    }

    fn refused(hint: Option<&str>) -> Refusal {
        Refusal::NotPrimary { shard: ShardId(0), primary: hint.map(node) }
    }

    #[test]
    fn a_later_term_wins_and_an_older_one_is_not_believed() {
        let place = place();
        place.leads(&node("n1"), Term(4));
        place.leads(&node("n2"), Term(5));
        assert_eq!(place.primary(), Some(node("n2")));
        place.leads(&node("n1"), Term(4));
        assert_eq!(place.primary(), Some(node("n2")), "a primary that slept through an election");
        place.lost(&node("n2"));
        place.leads(&node("n1"), Term(4));
        assert_eq!(place.primary(), None);
    }

    #[test]
    fn hints_fill_gaps_but_never_overrule_what_was_seen() {
        let place = place();
        place.learn(&node("n1"), &refused(Some("n2")));
        assert_eq!(place.primary(), Some(node("n2")));
        place.leads(&node("n3"), Term(2));
        place.learn(&node("n1"), &refused(Some("n2")));
        assert_eq!(place.primary(), Some(node("n3")));
        place.learn(&node("n3"), &refused(Some("n9")));
        assert_eq!(place.primary(), None, "a hint to somebody without a replica is none");
    }

    #[test]
    fn a_primary_that_cannot_be_reached_is_forgotten() {
        let place = place();
        place.leads(&node("n3"), Term(2));
        place.learn(&node("n1"), &Refusal::Unreachable(node("n1")));
        assert_eq!(place.primary(), Some(node("n3")));
        place.learn(&node("n3"), &Refusal::Unreachable(node("n3")));
        assert_eq!(place.primary(), None);
        place.leads(&node("n3"), Term(2));
        assert_eq!(place.primary(), Some(node("n3")), "it is back, and nobody else was elected");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_somebody_else_leads() {
        let place = Arc::new(place());
        place.leads(&node("n1"), Term(1));
        let waiting = tokio::spawn({
            let place = place.clone();
            async move { place.moved_from(&node("n1")).await }
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(!waiting.is_finished());
        place.leads(&node("n2"), Term(2));
        waiting.await.expect("woken");
    }
}
