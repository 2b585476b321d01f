//! Why a replica did not do what it was asked; named by what the asker can do about it.

use serde::{Deserialize, Serialize};

use crate::ids::{NodeId, ShardId};

/// A replica's refusal of a whole batch.
///
/// Every variant but [`Refusal::UnknownOutcome`] promises that the batch has had and will have no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Another replica leads, or none does just now; ask that one, or try again soon.
    #[error("not the primary of shard {shard}")]
    NotPrimary {
        /// The shard.
        shard: ShardId,
        /// Who leads, as far as this replica knows.
        primary: Option<NodeId>,
    },
    /// This node hosts no replica of the shard.
    #[error("no replica of shard {shard} here")]
    NotHosted {
        /// The shard.
        shard: ShardId,
    },
    /// No majority answers; nothing was proposed.
    #[error("shard {shard} has no quorum")]
    NoQuorum {
        /// The shard.
        shard: ShardId,
    },
    /// Proposed, not known to be committed: it may take effect or not. Retry under the same request id.
    #[error("the outcome on shard {shard} is not known")]
    UnknownOutcome {
        /// The shard.
        shard: ShardId,
    },
    /// Too much is waiting; try again after a moment.
    #[error("too many requests wait for shard {shard}")]
    Overloaded {
        /// The shard.
        shard: ShardId,
    },
    /// The disk is full; reads go on.
    #[error("the disk under shard {shard} is full")]
    DiskFull {
        /// The shard.
        shard: ShardId,
    },
    /// The replica left service (damaged, starting, stopping); others may serve.
    #[error("the replica of shard {shard} is out of service: {reason}")]
    OutOfService {
        /// The shard.
        shard: ShardId,
        /// Why, in plain words.
        reason: String,
    },
    /// Too far behind for an eventual read, or unable to tell how far. If nobody else is there it may be asked as a
    /// last resort ([`crate::wire::ReadRequest::last_resort`]).
    #[error("the replica of shard {shard} is too far behind")]
    TooFarBehind {
        /// The shard.
        shard: ShardId,
    },
    /// The batch could not be decoded, or is larger than a replica takes.
    #[error("bad batch: {0}")]
    BadBatch(String),
    /// The node could not be reached (connection refused before anything was sent); made by the asker.
    #[error("node {0} cannot be reached")]
    Unreachable(NodeId),
    /// A function of a design document, which was to be asked, is none or failed.
    #[error("{0}")]
    Function(String),
}
