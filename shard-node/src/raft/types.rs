//! Openraft's types for Quorate, and the bytes of a log entry's payload.
//!
//! An entry's payload keeps one form from the write queue to the disk and over the network: a tag byte, then postcard.
//! It is encoded once, by the primary, and decoded once on each replica, when it is applied.

use bytes::Bytes;
use common::command::{Command, Outcome};
use common::ids::{Index, NodeId, RaftId, Term};
use common::state::{LogPosition, Peer};
use openraft::EntryPayload;
use serde::{Deserialize, Serialize};

use crate::raft::snapshot::SnapshotData;
use crate::wal;

// The tags are part of the log's format: never reuse one.
const BLANK: u8 = 0;
const COMMANDS: u8 = 1;
const MEMBERSHIP: u8 = 2;

openraft::declare_raft_types!(
    /// What Quorate replicates: packed commands, answered by their outcomes.
    pub(crate) TypeConfig:
        D = Packed,
        R = Vec<Outcome>,
        NodeId = u64,
        Node = Member,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = SnapshotData,
        Responder = openraft::impls::OneshotResponder<TypeConfig>,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(crate) type Raft = openraft::Raft<TypeConfig>;
pub(crate) type Entry = openraft::Entry<TypeConfig>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, Member>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, Member>;
pub(crate) type StorageError = openraft::StorageError<u64>;
pub(crate) type Metrics = openraft::RaftMetrics<u64, Member>;

/// What the membership says of a replica besides its Raft id: the node that hosts it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// The node's name.
    pub(crate) node: String,
}

impl Member {
    pub(crate) fn of(node: &NodeId) -> Self {
        Self { node: node.as_str().to_owned() }
    }

    pub(crate) fn node(&self) -> Option<NodeId> {
        NodeId::parse(&self.node).ok()
    }
}

/// Members of `ids` that `membership` knows, by id.
pub(crate) fn peers(membership: &Membership, ids: impl Iterator<Item = u64>) -> Vec<Peer> {
    let peer = |id| Some(Peer { node: membership.get_node(&id)?.node()?, raft_id: RaftId(id) });
    let mut peers: Vec<Peer> = ids.filter_map(peer).collect();
    peers.sort_unstable();
    peers.dedup();
    peers
}

/// Many commands in one log entry, as bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Packed(Bytes);

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({} bytes)", self.0.len())
    }
}

impl Packed {
    /// Puts `count` commands into one entry; `parts` are what [`encode_command`] made of them.
    pub(crate) fn join<'a>(count: usize, parts: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let bytes: usize = parts.clone().map(<[u8]>::len).sum();
        // 1 for the tag, 10 for the longest varint.
        let mut out = Vec::with_capacity(bytes + 11);
        out.push(COMMANDS);
        let mut out = postcard::to_extend(&count, out).expect("a number always serialises into memory");
        parts.for_each(|part| out.extend_from_slice(part));
        Self(out.into())
    }

    /// The commands.
    pub(crate) fn unpack(&self) -> Result<Vec<Command>, postcard::Error> {
        postcard::from_bytes(self.0.get(1..).unwrap_or_default())
    }

    /// Size in the log.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Adds a command to those in `out`: one behind the other, as [`Packed::join`] takes them.
pub(crate) fn encode_command(command: &Command, out: &mut Vec<u8>) {
    let encoded = postcard::to_extend(command, std::mem::take(out));
    *out = encoded.expect("commands always serialise into memory");
}

#[cfg(test)]
pub(crate) fn encode_commands(commands: &[Command]) -> Vec<u8> {
    let mut out = Vec::new();
    commands.iter().for_each(|command| encode_command(command, &mut out));
    out
}

/// A payload's bytes, as the log keeps them and the network carries them.
pub(crate) fn payload_bytes(payload: &EntryPayload<TypeConfig>) -> Bytes {
    match payload {
        EntryPayload::Blank => Bytes::from_static(&[BLANK]),
        EntryPayload::Normal(packed) => packed.0.clone(),
        EntryPayload::Membership(membership) => {
            let bytes = postcard::to_extend(membership, vec![MEMBERSHIP]);
            bytes.expect("a membership always serialises into memory").into()
        }
    }
}

/// The payload that [`payload_bytes`] made `bytes` of. Commands are not looked into.
pub(crate) fn payload_of(bytes: Bytes) -> Result<EntryPayload<TypeConfig>, BadPayload> {
    match bytes.split_first() {
        Some((&BLANK, [])) => Ok(EntryPayload::Blank),
        Some((&COMMANDS, _)) => Ok(EntryPayload::Normal(Packed(bytes))),
        Some((&MEMBERSHIP, rest)) => Ok(EntryPayload::Membership(postcard::from_bytes(rest).map_err(|_| BadPayload)?)),
        _ => Err(BadPayload),
    }
}

/// A payload of a kind this version does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a log entry holds a payload this version does not know")]
pub(crate) struct BadPayload;

pub(crate) fn log_id(id: wal::LogId) -> LogId {
    LogId { leader_id: openraft::CommittedLeaderId::new(id.term, id.leader), index: id.index }
}

pub(crate) fn wal_id(id: &LogId) -> wal::LogId {
    wal::LogId { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
}

/// Where `id` stands, as replicas are compared.
pub(crate) fn position(id: Option<&LogId>) -> LogPosition {
    id.map_or(LogPosition::default(), |id| LogPosition { term: Term(id.leader_id.term), index: Index(id.index) })
}

#[cfg(test)]
mod tests {
    use common::command::Op;
    use common::ids::{DbUid, RequestId};

    use super::*;

    fn command(n: u128) -> Command {
        let db = DbUid(uuid(n));
        Command { request: RequestId(uuid(n)), retry: false, op: Op::DropDb { db } }
    }

    fn uuid(n: u128) -> uuid::Uuid {
        uuid::Uuid::from_u128(n)
    }

    #[test]
    fn batches_encoded_apart_come_back_as_one() {
        let batches = [vec![command(1), command(2)], vec![], vec![command(3)]];
        let parts: Vec<Vec<u8>> = batches.iter().map(|batch| encode_commands(batch)).collect();
        let packed = Packed::join(3, parts.iter().map(Vec::as_slice));
        assert_eq!(packed.unpack(), Ok(batches.concat()));
    }

    #[test]
    fn payloads_keep_their_bytes() {
        let packed = Packed::join(1, [encode_commands(&[command(7)])].iter().map(Vec::as_slice));
        let membership = Membership::new(vec![[1].into()], None);
        for payload in [EntryPayload::Blank, EntryPayload::Normal(packed), EntryPayload::Membership(membership)] {
            assert!(payload_of(payload_bytes(&payload)).is_ok_and(|back| back == payload));
        }
        assert!(payload_of(Bytes::from_static(&[9])).is_err());
        assert!(payload_of(Bytes::new()).is_err());
    }
}
