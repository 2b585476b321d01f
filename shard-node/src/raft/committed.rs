//! Committed entries, for people to read.

use common::command::Command;
use common::ids::{Index, Term};
use common::state::Peer;
use openraft::EntryPayload;

use crate::raft::types::{payload_of, peers};
use crate::wal;

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
    pub(super) fn of(entry: wal::Entry) -> Result<Self, String> {
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
