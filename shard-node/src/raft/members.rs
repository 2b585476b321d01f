//! Changes of a group's members, and how far each of them is. What should change is decided in `replica::housekeeping`.

use std::collections::{BTreeMap, BTreeSet};

use common::ids::RaftId;
use common::state::Peer;
use openraft::error::RaftError;

use crate::raft::group::Group;
use crate::raft::types::{LogId, Member, Metrics};

impl Group {
    /// Up to which entry the log of `replica` equals this primary's, and this log's end.
    pub(crate) fn matched(&self, replica: RaftId) -> (Option<u64>, u64) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let matched = metrics.replication.as_ref().and_then(|matched| matched.get(&replica.0).copied().flatten());
        (matched.map(|id: LogId| id.index), metrics.last_log_index.unwrap_or(0))
    }

    /// Founds the replica set with these members.
    pub(crate) async fn initialize(&self, members: &[Peer]) -> Result<(), String> {
        let members: BTreeMap<u64, Member> =
            members.iter().map(|peer| (peer.raft_id.0, Member::of(&peer.node))).collect();
        self.raft.initialize(members).await.map_err(|error| error.to_string())
    }

    /// Adds a learner; done once the others know of it.
    pub(crate) async fn add_learner(&self, peer: &Peer) -> Result<(), String> {
        let added = self.raft.add_learner(peer.raft_id.0, Member::of(&peer.node), false).await;
        added.map(drop).map_err(|error| error.to_string())
    }

    /// Makes `voters` the voters, through a joint membership; all others leave.
    pub(crate) async fn change_voters(&self, voters: BTreeSet<RaftId>) -> Result<(), String> {
        let voters: BTreeSet<u64> = voters.into_iter().map(|id| id.0).collect();
        let changed = self.raft.change_membership(voters, false).await;
        changed.map(drop).map_err(|error: RaftError<_, _>| error.to_string())
    }

    /// Forgets a learner.
    pub(crate) async fn remove_learner(&self, learner: RaftId) -> Result<(), String> {
        let changes = openraft::ChangeMembers::RemoveNodes([learner.0].into());
        let changed = self.raft.change_membership(changes, false).await;
        changed.map(drop).map_err(|error: RaftError<_, _>| error.to_string())
    }

    /// Waits until the log of `replica` has all but `missing` entries of this primary's.
    pub(crate) async fn caught_up(&self, replica: RaftId, missing: u64) {
        let mut metrics = self.raft.metrics();
        let close = |metrics: &Metrics| {
            let matched = metrics.replication.as_ref().and_then(|matched| matched.get(&replica.0).copied().flatten());
            matched.is_some_and(|matched| matched.index + missing >= metrics.last_log_index.unwrap_or(0))
        };
        if metrics.wait_for(close).await.is_err() {
            // The core has stopped; whoever waits has a time limit.
            futures::future::pending::<()>().await;
        }
    }
}
