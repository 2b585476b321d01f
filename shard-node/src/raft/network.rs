//! Openraft's network on [`PeerTransport`].
//!
//! Clients are cheap handles: the connections belong to the transport. Whatever goes wrong is reported as
//! "unreachable", so that openraft pauses before it tries again instead of spinning.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::ids::NodeId;
use futures::StreamExt;
use openraft::error::{RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{AnyError, OptionalSend, RaftNetwork, RaftNetworkFactory, Snapshot};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::raft::frames;
use crate::raft::shared::Shared;
use crate::raft::snapshot::SnapshotData;
use crate::raft::types::{LogId, Member, TypeConfig, Vote};
use crate::raft::wire::{self, Answer, Scope};
use crate::store;
use crate::transport::{Frames, Lane, PeerError, PeerTransport};

/// Frames of a snapshot read ahead of the network.
const FRAMES_AHEAD: usize = 4;
/// A receiver that takes no frame for this long is gone (stopped, or its disk hangs); replication starts over.
const FRAME_PATIENCE: Duration = Duration::from_secs(20);
/// Longest time to install a snapshot that was received: some 100 GB on a slow disk.
const INSTALL_PATIENCE: Duration = Duration::from_secs(1_200);

/// Makes clients to the other replicas.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) shared: Arc<Shared>,
    /// The place of this replica.
    pub(crate) scope: Scope,
    pub(crate) peers: Arc<dyn PeerTransport>,
    /// Pause after a failure.
    pub(crate) pause: Duration,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, member: &Member) -> Client {
        let (to, peers, shared) = (self.scope.of(target), self.peers.clone(), self.shared.clone());
        Client { to, node: member.node(), peers, shared, pause: self.pause, matched: None }
    }
}

/// Talks to one replica.
pub(crate) struct Client {
    to: Scope,
    /// `None` if the membership holds a name that is no node's; it can never be reached.
    node: Option<NodeId>,
    peers: Arc<dyn PeerTransport>,
    shared: Arc<Shared>,
    pause: Duration,
    matched: Option<Matched>,
}

/// What the other replica is known to have on disk.
struct Matched {
    vote: Vote,
    last: LogId,
    at: Instant,
}

type RpcError = RPCError<u64, Member, RaftError<u64>>;

impl Client {
    /// Whether `request` brings no more than word of what is committed, to a replica that has just shown that it has
    /// the entry before. The next entries carry the word, or else the next sign of life, so that it needs no message
    /// of its own: under load that is every other message.
    fn is_idle_word(&self, request: &AppendEntriesRequest<TypeConfig>) -> bool {
        let fresh = |known: &Matched| {
            known.vote == request.vote && Some(known.last) == request.prev_log_id && known.at.elapsed() < self.pause
        };
        request.entries.is_empty() && self.matched.as_ref().is_some_and(fresh)
    }

    fn node(&self) -> Result<&NodeId, Unreachable> {
        self.node.as_ref().ok_or_else(|| AnyError::error("the membership names no node").into())
    }
}

fn unreachable(error: &(impl std::error::Error + 'static)) -> Unreachable {
    Unreachable::new(error)
}

impl RaftNetwork<TypeConfig> for Client {
    async fn append_entries(
        &mut self,
        mut request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        // Openraft counts this replica's own copy as soon as it is appended (`log_store`). Until it is on disk, nobody
        // may hear that the entry is committed.
        request.leader_commit = request.leader_commit.min(self.shared.synced());
        if self.is_idle_word(&request) {
            return Ok(AppendEntriesResponse::Success);
        }
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        let (vote, sent) = (request.vote, Instant::now());
        self.matched = None;
        let message = wire::seal_append(&self.to, request);
        let answer = self.peers.replicate(self.node()?, Lane::Log, message).await;
        let answer = answer.map_err(|error| unreachable(&error))?;
        match wire::decode(&answer).map_err(|error| unreachable(&error))? {
            Answer::Done => {
                self.matched = last.map(|last| Matched { vote, last, at: sent });
                Ok(AppendEntriesResponse::Success)
            }
            Answer::Conflict => Ok(AppendEntriesResponse::Conflict),
            Answer::HigherVote(vote) => Ok(AppendEntriesResponse::HigherVote(vote)),
        }
    }

    async fn vote(&mut self, request: VoteRequest<u64>, _option: RPCOption) -> Result<VoteResponse<u64>, RpcError> {
        let answer = self.peers.vote(self.node()?, wire::seal(&self.to, &request)).await;
        let answer = answer.map_err(|error| unreachable(&error))?;
        wire::decode(&answer).map_err(|error| unreachable(&error).into())
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<TypeConfig>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, openraft::error::Fatal<u64>>> {
        let header = self.to.header(vote, snapshot.meta);
        let taken = watch::Sender::new(false);
        let watched = taken.subscribe();
        let _under_way = self.shared.counts.sent.begin();
        let frames = stream(header, *snapshot.snapshot, taken);
        let shared = self.shared.clone();
        let counted = move |frame: &std::io::Result<Bytes>| {
            shared.counts.sent.bytes.add(frame.as_ref().map_or(0, |frame| frame.len() as u64));
        };
        let frames = frames.inspect(counted).boxed();
        let node = self.node()?;
        tracing::info!(shard = %self.to.shard, %node, "sending a snapshot");
        let answer: Result<Bytes, PeerError> = tokio::select! {
            answer = self.peers.snapshot(node, frames) => answer,
            closed = cancel => return Err(closed.into()),
            () = stalled(watched) => Err(PeerError::Broken { node: node.clone(), reason: "it stopped taking it".to_owned() }),
        };
        let answer = answer.map_err(|error| unreachable(&error))?;
        self.shared.counts.sent.done.inc();
        wire::decode(&answer).map_err(|error| unreachable(&error).into())
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.pause))
    }
}

/// The frames of a snapshot. A thread that may block reads them, at most [`FRAMES_AHEAD`] ahead; it ends when the
/// receiver is gone. `taken` changes with every frame, and is `true` once the last one was taken.
fn stream(header: frames::Header, data: SnapshotData, taken: watch::Sender<bool>) -> Frames {
    let (ahead, frames) = tokio::sync::mpsc::channel(FRAMES_AHEAD);
    let producer = tokio::task::spawn_blocking(move || {
        let SnapshotData::View(view) = data else { return };
        for frame in frames::frames(header, store::snapshot::pairs(view.as_ref())) {
            if ahead.blocking_send(frame.map_err(std::io::Error::other)).is_err() {
                return;
            }
        }
    });
    // The handle lives as long as the stream; the thread ends with the channel.
    let frames = futures::stream::unfold((frames, producer, taken), |(mut frames, producer, taken)| async move {
        let frame = frames.recv().await;
        taken.send_replace(frame.is_none());
        Some((frame?, (frames, producer, taken)))
    });
    frames.boxed()
}

/// Done when the receiver takes no more frames without having taken all, or installs them for too long.
async fn stalled(mut taken: watch::Receiver<bool>) {
    while !*taken.borrow_and_update() {
        match tokio::time::timeout(FRAME_PATIENCE, taken.changed()).await {
            Ok(Ok(())) => {}
            // The stream is gone, read to its end or not.
            Ok(Err(_)) => break,
            Err(_) => return,
        }
    }
    tokio::time::sleep(INSTALL_PATIENCE).await;
}
