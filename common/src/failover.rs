//! Chooses whom to ask to campaign when a shard has no primary, and whom a primary hands over to when its node is drained.
//!
//! Only proposes: the term in the log decides. Proposes nothing while a majority may still hear a primary; this takes
//! the place of a pre-vote, and keeps a flapping node from raising terms. Several observers that see the same views
//! choose the same replica. No clock and no I/O; a driver waits and calls, and calls again while the answer stands,
//! since voters refuse until their lease on the dead primary has run out.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::{NodeId, RaftId};
use crate::state::{LogPosition, Promote, ReplicaState, Role};

/// One replica of a shard, as the observer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// What it said last.
    pub state: ReplicaState,
    /// Whether it answers now; what an unreachable replica said last is not evidence of anything.
    pub reachable: bool,
    /// How long ago it said so; added to what it says of its own times.
    pub age: Duration,
}

/// When to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long a voter refuses candidates after it heard from a primary. Asking earlier only raises terms.
    pub lease: Duration,
}

/// Whom to ask to campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    /// The node to ask.
    pub node: NodeId,
    /// What to ask it.
    pub promote: Promote,
}

/// Decides for one shard. `views` are its replicas as one observer sees them, in any order.
pub fn decide(views: &[View], rules: &Rules) -> Option<Promotion> {
    let voters = voters(views)?;
    let majority = voters.len() / 2 + 1;
    let present: Vec<&View> =
        views.iter().filter(|view| view.reachable && voters.contains_key(&view.state.raft_id)).collect();
    let orphaned: Vec<&View> = present.iter().copied().filter(|view| !hears_primary(view, rules)).collect();
    if orphaned.len() < majority {
        return None;
    }
    let stands = |view: &&View| view.state.healthy && matches!(view.state.role, Role::Replica | Role::Candidate);
    let able: Vec<&View> = orphaned.into_iter().filter(stands).collect();
    // A draining node leads only if nobody else can: an entry that it alone has left may have been acknowledged.
    let votes = |last| present.iter().filter(|voter| voter.state.last <= last).count();
    let willing = able.iter().copied().filter(|view| !view.state.draining && votes(view.state.last) >= majority);
    let best = heir_of(&present, &able);
    let best = best.or_else(|| willing.max_by_key(|view| rank(view)));
    let best = best.or_else(|| able.iter().copied().max_by_key(|view| rank(view)))?;
    let promote = Promote { shard: best.state.shard, term: best.state.term, planned: false };
    Some(Promotion { node: best.state.node.clone(), promote })
}

/// The replica a quiet primary hands over to, if its log is as long as any: everybody else then asks the same one.
fn heir_of<'a>(present: &[&View], able: &[&'a View]) -> Option<&'a View> {
    let newest = present.iter().max_by_key(|view| view.state.last)?.state.last;
    let primaries = present.iter().filter(|view| view.state.role == Role::Primary);
    let heir = primaries.max_by_key(|view| view.state.term)?.state.heir.as_ref()?;
    able.iter().copied().find(|view| view.state.node == *heir && view.state.last == newest)
}

/// Whom a primary whose node is drained should hand over to: the most advanced of the other voters that can serve, is
/// not being drained itself and is at most `behind_max` entries behind. `None` while there is no such replica.
pub fn heir(own: &ReplicaState, views: &[View], behind_max: u64) -> Option<NodeId> {
    let votes = |view: &&View| own.voters.iter().any(|peer| peer.raft_id == view.state.raft_id);
    let serves = |view: &&View| {
        let behind = own.last.index.0.saturating_sub(view.state.last.index.0);
        let state = &view.state;
        view.reachable && state.healthy && state.role == Role::Replica && !state.draining && behind <= behind_max
    };
    let others = views.iter().filter(|view| view.state.raft_id != own.raft_id);
    others.filter(votes).filter(serves).max_by_key(|view| rank(view)).map(|view| view.state.node.clone())
}

/// The most advanced log wins, then the smallest node id: the longest log alone could miss acknowledged writes.
fn rank(view: &View) -> (LogPosition, std::cmp::Reverse<&NodeId>) {
    (view.state.last, std::cmp::Reverse(&view.state.node))
}

/// The voters by the newest membership that any replica knows (the one of the longest log that has any).
fn voters(views: &[View]) -> Option<BTreeMap<RaftId, &NodeId>> {
    let known = views.iter().filter(|view| !view.state.voters.is_empty());
    let newest = known.max_by_key(|view| (view.reachable, view.state.last))?;
    Some(newest.state.voters.iter().map(|peer| (peer.raft_id, &peer.node)).collect())
}

/// Whether this replica has a primary as far as it can tell: it heard one, or is one with a majority, lately.
fn hears_primary(view: &View, rules: &Rules) -> bool {
    view.state.heard_ms.is_some_and(|ms| Duration::from_millis(ms) + view.age <= rules.lease)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Index, ShardId, Term};
    use crate::state::Peer;

    const RULES: Rules = Rules { lease: Duration::from_millis(300) };

    fn node(n: u64) -> NodeId {
        NodeId::parse(&format!("n{n}")).expect("valid")
    }

    /// Replica `n` of three with the last entry at `index` of `term`, which heard a primary `heard` ms ago.
    fn view(n: u64, term: u64, index: u64, heard: Option<u64>) -> View {
        let voters = (1..=3).map(|n| Peer { node: node(n), raft_id: RaftId(n) }).collect();
        let state = ReplicaState {
            term: Term(7),
            heard_ms: heard,
            last: LogPosition { term: Term(term), index: Index(index) },
            committed: Index(index),
            applied: Index(index),
            voters,
            ..ReplicaState::blank(node(n), ShardId(0), RaftId(n), Role::Replica)
        };
        View { state, reachable: true, age: Duration::ZERO }
    }

    fn gone(mut view: View) -> View {
        view.reachable = false;
        view
    }

    fn chosen(views: &[View]) -> Option<String> {
        decide(views, &RULES).map(|promotion| promotion.node.to_string())
    }

    #[test]
    fn the_most_advanced_replica_is_asked_once_the_lease_has_run_out() {
        let views = [gone(view(1, 3, 90, Some(0))), view(2, 3, 80, Some(301)), view(3, 3, 81, Some(301))];
        assert_eq!(chosen(&views).as_deref(), Some("n3"));
    }

    #[test]
    fn a_later_term_beats_a_longer_log() {
        let views = [gone(view(1, 1, 1, None)), view(2, 3, 80, None), view(3, 2, 900, None)];
        assert_eq!(chosen(&views).as_deref(), Some("n2"));
    }

    #[test]
    fn nothing_happens_while_a_majority_may_hear_a_primary() {
        let views = [view(1, 3, 90, Some(10)), view(2, 3, 90, Some(299)), view(3, 3, 95, Some(5000))];
        assert_eq!(chosen(&views), None);
    }

    #[test]
    fn nothing_happens_without_a_majority_in_reach() {
        let views = [gone(view(1, 3, 90, None)), gone(view(2, 3, 90, None)), view(3, 3, 95, Some(5000))];
        assert_eq!(chosen(&views), None);
    }

    #[test]
    fn ties_go_to_the_smallest_node_id_so_that_observers_agree() {
        let views = [view(3, 3, 90, None), view(2, 3, 90, None), gone(view(1, 3, 90, None))];
        assert_eq!(chosen(&views).as_deref(), Some("n2"));
    }

    #[test]
    fn a_primary_that_lost_its_majority_does_not_stand_in_the_way() {
        let mut cut_off = view(1, 3, 95, Some(400));
        cut_off.state.role = Role::Primary;
        let views = [cut_off, view(2, 3, 90, Some(400)), view(3, 3, 91, Some(400))];
        assert_eq!(chosen(&views).as_deref(), Some("n3"));
    }

    #[test]
    fn learners_damaged_and_wiped_replicas_never_stand() {
        let mut damaged = view(2, 9, 99, None);
        damaged.state.healthy = false;
        let mut wiped = view(3, 0, 0, None);
        wiped.state.raft_id = RaftId(33);
        wiped.state.voters.clear();
        assert_eq!(chosen(&[view(1, 3, 90, None), damaged, wiped.clone()]).as_deref(), Some("n1"));
        assert_eq!(chosen(&[gone(view(1, 3, 90, None)), view(2, 3, 90, None), wiped]), None);
    }

    #[test]
    fn while_a_primary_hands_over_nobody_else_is_asked() {
        let mut primary = view(1, 3, 90, None);
        primary.state.role = Role::Primary;
        assert_eq!(chosen(&[primary.clone(), view(2, 3, 90, None), view(3, 3, 90, None)]).as_deref(), Some("n2"));
        primary.state.heir = Some(node(3));
        assert_eq!(chosen(&[primary.clone(), view(2, 3, 90, None), view(3, 3, 90, None)]).as_deref(), Some("n3"));
        let late = [primary.clone(), view(2, 3, 90, None), view(3, 3, 89, None)];
        assert_eq!(chosen(&late).as_deref(), Some("n2"), "it lacks an entry that may be acknowledged");
        let dead = [gone(primary), view(2, 3, 90, None), view(3, 3, 90, None)];
        assert_eq!(chosen(&dead).as_deref(), Some("n2"), "nobody hands over any more");
    }

    fn draining(mut view: View) -> View {
        view.state.draining = true;
        view
    }

    #[test]
    fn a_draining_node_stands_only_if_nobody_else_can_win() {
        let views = [gone(view(1, 3, 90, None)), draining(view(2, 3, 80, None)), view(3, 3, 80, None)];
        assert_eq!(chosen(&views).as_deref(), Some("n3"));
        let views = [view(1, 3, 70, None), draining(view(2, 3, 80, None)), view(3, 3, 70, None)];
        assert_eq!(chosen(&views).as_deref(), Some("n1"), "two of three would vote for it");
        let views = [gone(view(1, 3, 90, None)), draining(view(2, 3, 80, None)), view(3, 3, 70, None)];
        assert_eq!(chosen(&views).as_deref(), Some("n2"), "it alone has entry 80, which may be acknowledged");
        let views = [1, 2, 3].map(|n| draining(view(n, 3, 90, None)));
        assert_eq!(chosen(&views).as_deref(), Some("n1"), "all are drained");
    }

    #[test]
    fn a_drained_primary_hands_over_to_the_best_other_replica() {
        let mut own = view(1, 3, 90, Some(0)).state;
        own.role = Role::Primary;
        let to = |views: &[View]| heir(&own, views, 64).map(|node| node.to_string());
        assert_eq!(to(&[view(2, 3, 88, Some(0)), view(3, 3, 90, Some(0))]).as_deref(), Some("n3"));
        assert_eq!(to(&[view(2, 3, 90, Some(0)), view(3, 3, 90, Some(0))]).as_deref(), Some("n2"), "a tie");
        assert_eq!(to(&[view(2, 3, 88, Some(0)), gone(view(3, 3, 90, Some(0)))]).as_deref(), Some("n2"));
        assert_eq!(to(&[view(2, 3, 88, Some(0)), draining(view(3, 3, 90, Some(0)))]).as_deref(), Some("n2"));
        assert_eq!(to(&[view(2, 3, 25, Some(0))]), None, "too far behind: writes would wait for it");
        let mut ill = view(2, 3, 90, Some(0));
        ill.state.healthy = false;
        let mut learner = view(3, 3, 90, Some(0));
        learner.state.role = Role::Learner;
        assert_eq!(to(&[ill, learner]), None);
        let mut stranger = view(2, 3, 90, Some(0));
        stranger.state.raft_id = RaftId(22);
        assert_eq!(to(&[stranger]), None, "it is no voter");
    }

    #[test]
    fn what_a_replica_said_a_while_ago_ages() {
        let mut views = [gone(view(1, 3, 90, None)), view(2, 3, 80, Some(250)), view(3, 3, 81, Some(250))];
        assert_eq!(chosen(&views), None);
        for view in &mut views {
            view.age = Duration::from_millis(60);
        }
        assert_eq!(chosen(&views).as_deref(), Some("n3"));
    }
}
