//! What other replicas send to this one.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::ids::RaftId;
use futures::StreamExt;
use openraft::Snapshot;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest};
use tokio::time::Instant;

use crate::raft::frames::Header;
use crate::raft::group::Group;
use crate::raft::snapshot::{ReceiveError, Receiver};
use crate::raft::types::{Entry, LogId, TypeConfig, Vote};
use crate::raft::wire::{self, Answer, Message};
use crate::transport::Frames;

/// Committed entries that a replica does not let wait for the next sign of life. More, of a megabyte each, would no longer
/// be in the log's cache, and would make the work after an
/// election longer.
const FOLDED_ENTRIES_MIN: u64 = 8;
/// Numbers the spool files of this process.
static SPOOLED: AtomicU64 = AtomicU64::new(0);

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It is none of ours.
    #[error(transparent)]
    Bad(#[from] wire::Bad),
    /// It is meant for another incarnation, or another shard or cluster.
    #[error("this is not the replica it is meant for")]
    Misdirected,
    /// Raft has stopped here.
    #[error("the replica has stopped: {0}")]
    Stopped(String),
    /// The snapshot did not arrive whole.
    #[error(transparent)]
    Snapshot(#[from] ReceiveError),
    /// Another snapshot is on its way already.
    #[error("another snapshot is being received")]
    Busy,
}

fn stopped(error: impl ToString) -> Refused {
    Refused::Stopped(error.to_string())
}

impl Group {
    /// Takes a message from the primary; `body` is what stood behind the envelope.
    pub(crate) async fn on_message(&self, body: &Bytes) -> Result<Bytes, Refused> {
        // What the primary knew, it knew before: taking it may have to wait for the disk.
        let now = Instant::now();
        let (message, payloads) = wire::message(body)?;
        let answer = match message {
            Message::Append { vote, prev, commit, entries } => {
                let entries = wire::entries(entries, payloads)?;
                let answer = self.append(vote, prev, entries, self.worth_folding(commit)).await?;
                if !matches!(answer, Answer::HigherVote(_)) {
                    self.hearing().alive(now);
                }
                answer
            }
            Message::Beat { vote, commit, quorum_age_ms } => {
                // Without entries and with nothing before them this never conflicts; it renews openraft's lease.
                let answer = self.append(vote, None, Vec::new(), commit).await?;
                if answer == Answer::Done {
                    let age = Duration::from_millis(quorum_age_ms);
                    let applied = self.shared.applied().log_id;
                    self.hearing().heard(now, commit, age, applied);
                }
                answer
            }
            Message::Confirm { vote } => match self.shared.vote() {
                Some(later) if later.leader_id > vote.leader_id => Answer::HigherVote(later),
                _ => Answer::Done,
            },
            Message::HandOver { to } => {
                let begins = self.is_primary() && self.lead_wanted.try_send(RaftId(to)).is_ok();
                if begins { Answer::Done } else { Answer::Conflict }
            }
        };
        Ok(wire::encode(&answer))
    }

    /// Word of a commit, when enough was committed. Otherwise the next sign of life brings it: folding many entries at
    /// once costs a replica little more than folding one, and nobody can tell how fresh it is before that sign anyway.
    fn worth_folding(&self, commit: Option<LogId>) -> Option<LogId> {
        let applied = self.shared.applied().log_id.map_or(0, |id| id.index);
        commit.filter(|commit| commit.index >= applied + FOLDED_ENTRIES_MIN)
    }

    async fn append(
        &self,
        vote: Vote,
        prev_log_id: Option<LogId>,
        entries: Vec<Entry>,
        leader_commit: Option<LogId>,
    ) -> Result<Answer, Refused> {
        let last = entries.last().map(|entry| entry.log_id).or(prev_log_id);
        let request = AppendEntriesRequest::<TypeConfig> { vote, prev_log_id, entries, leader_commit };
        match self.raft.append_entries(request).await.map_err(stopped)? {
            AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_) => self.synced(vote, last).await,
            AppendEntriesResponse::Conflict => Ok(Answer::Conflict),
            AppendEntriesResponse::HigherVote(vote) => Ok(Answer::HigherVote(vote)),
        }
    }

    /// Sync before replying: the primary counts us towards the quorum the moment we answer.
    async fn synced(&self, vote: Vote, last: Option<LogId>) -> Result<Answer, Refused> {
        if let Some(last) = last {
            self.shared.wait_synced(last).await.map_err(stopped)?;
        }
        // A later primary may have had its own entries put in the place of these while they were synced, but not
        // before its vote was taken here.
        match self.shared.vote() {
            Some(later) if later.leader_id > vote.leader_id => Ok(Answer::HigherVote(later)),
            _ => Ok(Answer::Done),
        }
    }

    /// Takes a request for a vote.
    pub(crate) async fn on_vote(&self, body: &Bytes) -> Result<Bytes, Refused> {
        let request: VoteRequest<u64> = wire::decode(body)?;
        let answer = self.raft.vote(request).await.map_err(stopped)?;
        Ok(wire::encode(&answer))
    }

    /// Takes a snapshot whose stream began with `header` (read by the caller, who has found this replica by it).
    pub(crate) async fn on_snapshot(&self, header: &Header, start: Bytes, mut rest: Frames) -> Result<Bytes, Refused> {
        if (header.cluster, header.shard, header.target) != (self.scope.cluster, self.scope.shard, self.scope.replica) {
            return Err(Refused::Misdirected);
        }
        if let Some(later) = self.shared.vote().filter(|vote| vote.leader_id > header.vote.leader_id) {
            return Ok(wire::encode(&SnapshotResponse::new(later)));
        }
        let _alone = self.receiving.try_lock().map_err(|_| Refused::Busy)?;
        let mut receiver =
            Receiver::new(&self.dir, SPOOLED.fetch_add(1, Ordering::Relaxed)).map_err(ReceiveError::Io)?;
        let counts = &self.shared.counts.received;
        let _under_way = counts.begin();
        receiver.push(&start)?;
        counts.bytes.add(start.len() as u64);
        while let Some(bytes) = rest.next().await {
            let bytes = bytes.map_err(ReceiveError::Io)?;
            receiver.push(&bytes)?;
            counts.bytes.add(bytes.len() as u64);
        }
        let (header, data) = receiver.finish()?;
        tracing::info!(shard = %header.shard, snapshot = %header.meta, "received a snapshot");
        let snapshot = Snapshot { meta: header.meta, snapshot: Box::new(data) };
        let answer = self.raft.install_full_snapshot(header.vote, snapshot).await.map_err(stopped)?;
        counts.done.inc();
        Ok(wire::encode(&answer))
    }

    pub(super) fn hearing(&self) -> std::sync::MutexGuard<'_, super::hearing::Hearing> {
        self.hearing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
