//! Committed entries, for people to read.

use common::command::Command;
use common::ids::{Index, RaftId, Term};
use common::state::Peer;
use openraft::EntryPayload;

use crate::raft::state_machine::read_applied;
use crate::raft::types::{Vote, payload_of, peers, wal_id};
use crate::{storage, wal};

/// The last entry folded into an engine.
pub(crate) fn applied(reader: &dyn storage::Read) -> Result<Option<wal::LogId>, storage::Error> {
    Ok(read_applied(reader)?.log_id.as_ref().map(wal_id))
}

/// A vote as the log keeps it: its term, for whom, and whether a majority gave the same.
pub(crate) fn vote(bytes: &[u8]) -> Option<(Term, RaftId, bool)> {
    let vote: Vote = postcard::from_bytes(bytes).ok()?;
    Some((Term(vote.leader_id.term), RaftId(vote.leader_id.node_id), vote.committed))
}

/// One committed entry, for people to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) index: Index,
    pub(crate) term: Term,
    pub(crate) content: Content,
}

/// What a committed entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// The first entry of a primary's term.
    Blank,
    /// Commands.
    Commands(Vec<Command>),
    /// The members from here on.
    Members { voters: Vec<Peer>, learners: Vec<Peer> },
}

impl Committed {
    pub(crate) fn of(entry: wal::Entry) -> Result<Self, String> {
        let content = match payload_of(entry.payload).map_err(|error| error.to_string())? {
            EntryPayload::Blank => Content::Blank,
            EntryPayload::Normal(packed) => Content::Commands(packed.unpack().map_err(|error| error.to_string())?),
            EntryPayload::Membership(membership) => Content::Members {
                voters: peers(&membership, membership.voter_ids()),
                learners: peers(&membership, membership.learner_ids()),
            },
        };
        Ok(Self { index: Index(entry.id.index), term: Term(entry.id.term), content })
    }
}
