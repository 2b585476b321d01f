//! What a replica says of itself.

use std::time::Duration;

use common::ids::{Index, Term};
use common::state::{LogPosition, Peer, Role};
use openraft::ServerState;
use tokio::time::Instant;

use crate::raft::group::Group;
use crate::raft::types::{Metrics, peers, position};

/// What a replica says of itself, in the words of `common`.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) role: Role,
    pub(crate) term: Term,
    pub(crate) primary: Option<Peer>,
    /// On the primary since a majority last answered, elsewhere since the primary was heard.
    pub(crate) heard: Option<Duration>,
    pub(crate) last: LogPosition,
    pub(crate) committed: Index,
    pub(crate) applied: Index,
    pub(crate) first: Index,
    pub(crate) behind: Duration,
    pub(crate) voters: Vec<Peer>,
    pub(crate) learners: Vec<Peer>,
    pub(crate) disk_full: bool,
}

impl Group {
    /// How this replica is now.
    pub(crate) fn status(&self) -> Status {
        let metrics = self.raft.metrics().borrow().clone();
        let applied = self.shared.applied().log_id;
        let last = self.wal.last().map(crate::raft::types::log_id);
        let membership = metrics.membership_config.membership();
        let voters = peers(membership, membership.voter_ids());
        let leading = self.pulse.leading().is_some();
        let now = Instant::now();
        let (behind, silence, commit) = {
            let mut hearing = self.hearing();
            (hearing.behind(now, applied), hearing.silence(now), hearing.commit())
        };
        let commit = commit.min(last).max(applied);
        let primary = metrics.current_leader.and_then(|id| peers(membership, std::iter::once(id)).pop());
        Status {
            role: self.role(&metrics, leading, voters.is_empty() && last.is_none()),
            term: Term(metrics.current_term),
            primary,
            heard: if leading { self.pulse.quorum_age() } else { silence },
            last: position(last.as_ref()),
            committed: position(commit.as_ref()).index,
            applied: position(applied.as_ref()).index,
            first: Index(self.wal.first_index().unwrap_or(0)),
            behind: if leading { Duration::ZERO } else { behind },
            voters,
            learners: peers(membership, membership.learner_ids()),
            disk_full: self.shared.is_disk_full(),
        }
    }

    fn role(&self, metrics: &Metrics, leading: bool, empty: bool) -> Role {
        match metrics.state {
            _ if empty => Role::Empty,
            ServerState::Leader if leading => Role::Primary,
            ServerState::Candidate => Role::Candidate,
            ServerState::Learner => Role::Learner,
            _ => Role::Replica,
        }
    }
}
