//! Messages between the replicas of one shard, as bytes.
//!
//! In front of each stands whom it is meant for: cluster, shard and incarnation. A replica whose folder was made anew
//! refuses what was meant for the one before, so it never votes or acknowledges with a memory it no longer has.
//! Payloads of entries travel behind the message as they are in the log.

use bytes::Bytes;
use common::ids::{ClusterId, ShardId};
use openraft::raft::AppendEntriesRequest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::raft::frames::Header;
use crate::raft::types::{Entry, LogId, SnapshotMeta, TypeConfig, Vote, payload_bytes, payload_of};

/// First byte of every message. A reader refuses what it does not know.
const VERSION: u8 = 1;

/// A replica's own place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Its cluster.
    pub(crate) cluster: ClusterId,
    /// Its shard.
    pub(crate) shard: ShardId,
    /// Its incarnation.
    pub(crate) replica: u64,
}

impl Scope {
    /// The header of a snapshot for this very replica.
    pub(crate) fn header(&self, vote: Vote, meta: SnapshotMeta) -> Header {
        Header { cluster: self.cluster, shard: self.shard, target: self.replica, vote, meta }
    }

    /// The same place of another replica.
    pub(crate) fn of(&self, replica: u64) -> Self {
        Self { replica, ..*self }
    }
}

/// Whom a message is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) cluster: ClusterId,
    pub(crate) shard: ShardId,
    pub(crate) target: u64,
}

/// To a replica, from the primary.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Log entries (or none). Their payloads follow in order.
    Append { vote: Vote, prev: Option<LogId>, commit: Option<LogId>, entries: Vec<EntryHead> },
    /// A sign of life.
    Beat {
        vote: Vote,
        /// Committed, as the primary knows it.
        commit: Option<LogId>,
        /// How long ago a majority last answered the primary: what the replica applies may be that much older.
        quorum_age_ms: u64,
    },
    /// Before a read: do you know of no later primary than this one?
    Confirm { vote: Vote },
    /// To the primary: hand over to this replica.
    HandOver { to: u64 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EntryHead {
    log_id: LogId,
    bytes: u32,
}

/// To the primary.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// All entries are on disk here; or the sign of life was taken; or no later primary is known.
    Done,
    /// The entry before the first one sent is not here; or there is no lead here to hand over.
    Conflict,
    /// A later vote was given.
    HigherVote(Vote),
}

/// Bytes that are no message of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("replication message cannot be read: {0}")]
pub(crate) struct Bad(String);

impl Bad {
    fn new(reason: impl ToString) -> Self {
        Self(reason.to_string())
    }
}

fn begin(to: &Scope) -> Vec<u8> {
    let envelope = Envelope { cluster: to.cluster, shard: to.shard, target: to.replica };
    postcard::to_extend(&envelope, vec![VERSION]).expect("envelopes always serialise into memory")
}

/// `body` for the replica at `to`.
pub(crate) fn seal<T: Serialize>(to: &Scope, body: &T) -> Bytes {
    postcard::to_extend(body, begin(to)).expect("messages always serialise into memory").into()
}

/// Entries for the replica at `to`.
pub(crate) fn seal_append(to: &Scope, request: AppendEntriesRequest<TypeConfig>) -> Bytes {
    let payloads: Vec<Bytes> = request.entries.iter().map(|entry| payload_bytes(&entry.payload)).collect();
    let head = |(entry, payload): (&Entry, &Bytes)| EntryHead {
        log_id: entry.log_id,
        bytes: u32::try_from(payload.len()).expect("entries are bounded far below 4 GiB"),
    };
    let entries = request.entries.iter().zip(&payloads).map(head).collect();
    let message =
        Message::Append { vote: request.vote, prev: request.prev_log_id, commit: request.leader_commit, entries };
    let mut bytes = postcard::to_extend(&message, begin(to)).expect("messages always serialise into memory");
    bytes.reserve_exact(payloads.iter().map(Bytes::len).sum());
    payloads.iter().for_each(|payload| bytes.extend_from_slice(payload));
    bytes.into()
}

/// Whom a message is meant for, and what is behind that.
pub(crate) fn open(bytes: &Bytes) -> Result<(Envelope, Bytes), Bad> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            let (envelope, rest) = postcard::take_from_bytes(rest).map_err(Bad::new)?;
            Ok((envelope, bytes.slice_ref(rest)))
        }
        Some((other, _)) => Err(Bad(format!("version {other} is not known here"))),
        None => Err(Bad::new("it is empty")),
    }
}

/// The body of a message that [`open`] opened, and the payloads behind it.
pub(crate) fn message(body: &Bytes) -> Result<(Message, Bytes), Bad> {
    let (message, rest) = postcard::take_from_bytes(body).map_err(Bad::new)?;
    Ok((message, body.slice_ref(rest)))
}

/// The entries of a [`Message::Append`] from their heads and the payloads behind it. Payloads are not copied.
pub(crate) fn entries(heads: Vec<EntryHead>, mut payloads: Bytes) -> Result<Vec<Entry>, Bad> {
    let entry = |head: EntryHead| {
        let bytes = head.bytes as usize;
        if bytes > payloads.len() {
            return Err(Bad::new("a payload is cut short"));
        }
        let payload = payload_of(payloads.split_to(bytes)).map_err(Bad::new)?;
        Ok(Entry { log_id: head.log_id, payload })
    };
    heads.into_iter().map(entry).collect()
}

/// Any other body or answer.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Bad> {
    postcard::from_bytes(bytes).map_err(Bad::new)
}

/// Encodes an answer.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    postcard::to_stdvec(value).expect("answers always serialise into memory").into()
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;

    use super::*;
    use crate::raft::types::{Packed, log_id};
    use crate::wal;

    #[test]
    fn entries_travel_with_their_payloads_and_cut_messages_are_refused() {
        let to = Scope { cluster: ClusterId::of("c"), shard: ShardId(1), replica: 9 };
        let id = |index| log_id(wal::LogId { term: 1, leader: 2, index });
        let packed = Packed::join(0, [].into_iter());
        let sent = vec![
            Entry { log_id: id(1), payload: EntryPayload::Blank },
            Entry { log_id: id(2), payload: EntryPayload::Normal(packed.clone()) },
        ];
        let request =
            AppendEntriesRequest { vote: Vote::new(1, 2), prev_log_id: None, entries: sent, leader_commit: None };
        let bytes = seal_append(&to, request);
        let read = |bytes: &Bytes| {
            let (envelope, body) = open(bytes)?;
            let (Message::Append { entries: heads, .. }, rest) = message(&body)? else { panic!("an append") };
            Ok::<_, Bad>((envelope, entries(heads, rest)?))
        };
        let (envelope, entries) = read(&bytes).expect("readable");
        assert_eq!(envelope, Envelope { cluster: to.cluster, shard: to.shard, target: 9 });
        assert_eq!(entries.len(), 2);
        assert!(matches!(&entries[1].payload, EntryPayload::Normal(back) if *back == packed));
        for len in 0..bytes.len() {
            assert!(read(&bytes.slice(..len)).is_err(), "cut at {len}");
        }
    }
}
