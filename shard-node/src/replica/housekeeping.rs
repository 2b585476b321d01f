//! What the replica set of a shard needs besides a primary: to be founded, to own its slots, to get a new incarnation
//! in the place of a lost one.
//!
//! Pure: takes what a node knows of the shard and proposes at most one step. Each step is safe whoever takes it and
//! however stale the view is: founding needs every configured replica to be empty and one certain node to do it, all
//! other steps are the primary's and go through the log.

use std::collections::BTreeSet;

use common::ids::{NodeId, RaftId};
use common::state::{Peer, ReplicaState, Role};

/// A step to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Found the replica set with these members.
    Found(Vec<Peer>),
    /// Take over the slots of the first shard map.
    AdoptSlots,
    /// Let a new incarnation follow the log.
    AddLearner(Peer),
    /// Forget a learner whose folder was lost before it caught up.
    RemoveLearner(RaftId),
    /// Make these the voters: a new incarnation has caught up and takes the place of the old one of its node.
    ChangeVoters(BTreeSet<RaftId>),
}

/// What a node knows of one shard.
pub(crate) struct Known<'a> {
    /// Its own replica.
    pub(crate) own: &'a ReplicaState,
    /// The configured nodes of the shard.
    pub(crate) configured: &'a [NodeId],
    /// What the replicas on the other nodes said lately; those that do not answer are missing.
    pub(crate) others: &'a [ReplicaState],
    /// Whether the shard has slots; only asked on the primary.
    pub(crate) has_slots: bool,
    /// On the primary: entries the replica of this id does not have yet, if it follows.
    pub(crate) missing: &'a dyn Fn(RaftId) -> Option<u64>,
}

/// A learner this close behind is made a voter: the rest arrives while the membership changes.
const CLOSE_ENTRIES: u64 = 64;

/// The next step, if any.
pub(crate) fn decide(known: &Known<'_>) -> Option<Step> {
    match known.own.role {
        Role::Empty => found(known),
        Role::Primary if !known.has_slots => Some(Step::AdoptSlots),
        Role::Primary => swap(known),
        _ => None,
    }
}

/// The one node that may found this shard; another one for each shard, since the founder is the first to lead.
fn founder<'a>(known: &Known<'a>) -> Option<&'a NodeId> {
    let mut nodes: Vec<&NodeId> = known.configured.iter().collect();
    nodes.sort_unstable();
    let turn = usize::try_from(known.own.shard.0).ok()?.checked_rem(nodes.len())?;
    nodes.get(turn).copied()
}

fn found(known: &Known<'_>) -> Option<Step> {
    if founder(known)? != &known.own.node {
        return None;
    }
    let member = |node: &NodeId| {
        let state = known.others.iter().chain([known.own]).find(|state| state.node == *node)?;
        // A replica that takes the place of a damaged one is empty too, but not healthy: it waits for the others.
        let fresh = state.role == Role::Empty && state.healthy;
        fresh.then(|| Peer { node: node.clone(), raft_id: state.raft_id })
    };
    known.configured.iter().map(member).collect::<Option<Vec<Peer>>>().map(Step::Found)
}

fn swap(known: &Known<'_>) -> Option<Step> {
    let voters = &known.own.voters;
    let lives = |peer: &Peer| known.others.iter().chain([known.own]).any(|state| state.raft_id == peer.raft_id);
    let answers = |node: &NodeId| known.others.iter().any(|state| state.node == *node);
    // Two voters on one node: an earlier primary died halfway through a swap.
    if let Some(lost) =
        voters.iter().find(|peer| !lives(peer) && voters.iter().any(|other| other.node == peer.node && lives(other)))
    {
        return Some(Step::ChangeVoters(voters.iter().filter(|peer| *peer != lost).map(|peer| peer.raft_id).collect()));
    }
    if let Some(lost) = known.own.learners.iter().find(|peer| !lives(peer) && answers(&peer.node)) {
        return Some(Step::RemoveLearner(lost.raft_id));
    }
    // A learner that is close enough becomes a voter, in the place of its node's lost incarnations.
    for learner in &known.own.learners {
        if lives(learner) && (known.missing)(learner.raft_id).is_some_and(|missing| missing <= CLOSE_ENTRIES) {
            let stay = voters.iter().filter(|peer| peer.node != learner.node).map(|peer| peer.raft_id);
            return Some(Step::ChangeVoters(stay.chain([learner.raft_id]).collect()));
        }
    }
    // An empty replica of a configured node that nobody knows yet begins to follow; one at a time.
    let unknown = |state: &&ReplicaState| {
        let member = voters.iter().chain(&known.own.learners).any(|peer| peer.raft_id == state.raft_id);
        state.role == Role::Empty && !member && known.configured.contains(&state.node)
    };
    let busy = known.own.learners.iter().any(lives);
    let new = known.others.iter().filter(unknown).min_by_key(|state| &state.node).filter(|_| !busy)?;
    Some(Step::AddLearner(Peer { node: new.node.clone(), raft_id: new.raft_id }))
}

#[cfg(test)]
mod tests {
    use common::ids::{ShardId, Term};

    use super::*;

    fn node(n: u64) -> NodeId {
        NodeId::parse(&format!("n{n}")).expect("valid")
    }

    fn peer(n: u64, raft_id: u64) -> Peer {
        Peer { node: node(n), raft_id: RaftId(raft_id) }
    }

    fn state(n: u64, raft_id: u64, role: Role, voters: &[Peer]) -> ReplicaState {
        ReplicaState {
            term: Term(1),
            voters: voters.to_vec(),
            ..ReplicaState::blank(node(n), ShardId(0), RaftId(raft_id), role)
        }
    }

    fn step(own: &ReplicaState, others: &[ReplicaState], has_slots: bool, missing: Option<u64>) -> Option<Step> {
        let configured = [node(1), node(2), node(3)];
        decide(&Known { own, configured: &configured, others, has_slots, missing: &|_| missing })
    }

    fn empty(n: u64) -> ReplicaState {
        state(n, n, Role::Empty, &[])
    }

    #[test]
    fn one_node_founds_once_all_are_there_and_empty() {
        let all = vec![peer(1, 1), peer(2, 2), peer(3, 3)];
        assert_eq!(step(&empty(1), &[empty(2), empty(3)], false, None), Some(Step::Found(all.clone())));
        assert_eq!(step(&empty(2), &[empty(1), empty(3)], false, None), None, "it is not its turn");
        assert_eq!(step(&empty(1), &[empty(2)], false, None), None, "one does not answer");
        let old = state(3, 3, Role::Replica, &all);
        assert_eq!(step(&empty(1), &[empty(2), old], false, None), None, "one has data");
        let mut rebuilt = empty(3);
        rebuilt.healthy = false;
        assert_eq!(step(&empty(1), &[empty(2), rebuilt], false, None), None, "one takes the place of a damaged one");
    }

    #[test]
    fn a_lost_folder_is_swapped_in_two_steps() {
        let voters = [peer(1, 1), peer(2, 2), peer(3, 3)];
        let mut primary = state(1, 1, Role::Primary, &voters);
        let second = state(2, 2, Role::Replica, &voters);
        let wiped = state(3, 33, Role::Empty, &[]);
        assert_eq!(step(&primary, &[], false, None), Some(Step::AdoptSlots));
        assert_eq!(step(&primary, std::slice::from_ref(&second), true, None), None);
        assert_eq!(step(&primary, &[second.clone(), wiped.clone()], true, None), Some(Step::AddLearner(peer(3, 33))));
        primary.learners = vec![peer(3, 33)];
        let follows = state(3, 33, Role::Learner, &voters);
        assert_eq!(step(&primary, &[second.clone(), wiped], true, None), None, "it has not begun to follow");
        assert_eq!(step(&primary, &[second.clone(), follows.clone()], true, Some(1000)), None, "it is far behind");
        let swapped = Step::ChangeVoters([RaftId(1), RaftId(2), RaftId(33)].into());
        assert_eq!(step(&primary, &[second.clone(), follows], true, Some(10)), Some(swapped));
        let again = state(3, 34, Role::Empty, &[]);
        let forget = Some(Step::RemoveLearner(RaftId(33)));
        assert_eq!(step(&primary, &[second, again], true, Some(10)), forget, "the learner was wiped in its turn");
    }

    #[test]
    fn a_swap_that_stopped_halfway_is_finished() {
        let voters = [peer(1, 1), peer(2, 2), peer(3, 3), peer(3, 33)];
        let primary = state(1, 1, Role::Primary, &voters);
        let others = [state(2, 2, Role::Replica, &voters), state(3, 33, Role::Replica, &voters)];
        let finished = Step::ChangeVoters([RaftId(1), RaftId(2), RaftId(33)].into());
        assert_eq!(step(&primary, &others, true, None), Some(finished));
    }
}
