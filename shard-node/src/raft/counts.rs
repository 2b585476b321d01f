//! What a replica counts for those who watch it.

use common::metrics::{Counter, ENTRY_COMMANDS, Gauge, Held, Histogram, READ_ROUND};

use crate::raft::types::Vote;

/// See the module.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) stood: Counter,
    pub(crate) won: Counter,
    pub(crate) entry_commands: Histogram,
    pub(crate) read_round: Histogram,
    pub(crate) sent: Transfers,
    pub(crate) received: Transfers,
}

/// Snapshots in one direction.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    pub(crate) under_way: Gauge,
    pub(crate) bytes: Counter,
    pub(crate) done: Counter,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            stood: Counter::default(),
            won: Counter::default(),
            entry_commands: Histogram::of(&ENTRY_COMMANDS),
            read_round: Histogram::of(&READ_ROUND),
            sent: Transfers::default(),
            received: Transfers::default(),
        }
    }
}

impl Counts {
    /// `replica` gives `vote` after `before`: a vote for itself is a candidacy, and a committed one an election won.
    pub(crate) fn voted(&self, replica: u64, before: Option<Vote>, vote: Vote) {
        if vote.leader_id.node_id != replica || before == Some(vote) {
            return;
        }
        match vote.committed {
            true => self.won.inc(),
            false => self.stood.inc(),
        }
    }
}

impl Transfers {
    /// A snapshot begins to move; it is under way until the answer is dropped.
    pub(crate) fn begin(&self) -> Held {
        self.under_way.hold()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidacies_and_victories_are_told_from_votes_for_others() {
        let counts = Counts::default();
        let (mine, others) = (Vote::new(2, 7), Vote::new(1, 3));
        let won = Vote::new_committed(2, 7);
        counts.voted(7, None, others);
        counts.voted(7, Some(others), mine);
        counts.voted(7, Some(mine), won);
        counts.voted(7, Some(won), won);
        assert_eq!((counts.stood.get(), counts.won.get()), (1, 1));
    }
}
