//! Confirms reads in rounds: all that wait share one proof that no later primary exists.

use std::sync::Arc;
use std::time::Duration;

use common::ids::ShardId;
use common::refusal::Refusal;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::raft::group::Group;
use crate::raft::pulse::Unconfirmed;

/// Reads that may wait at once. A round is short; a longer queue means that the primary is stuck.
const WAITING_MAX: usize = 16_384;
/// After this long without a majority a read is refused. A failover is usually over before.
const PATIENCE: Duration = Duration::from_millis(1_000);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

type Reply = oneshot::Sender<Result<(), Refusal>>;

/// A handle to the queue.
pub(crate) struct Reads {
    shard: ShardId,
    sender: mpsc::Sender<Reply>,
}

impl Reads {
    /// The queue, and its loop to be run.
    pub(crate) fn new(shard: ShardId, group: Arc<Group>) -> (Self, Loop) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self { shard, sender }, Loop { shard, group, receiver })
    }

    /// Done when what is read from now on is linearizable.
    pub(crate) async fn confirm(&self) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        self.sender.try_send(reply).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::Overloaded { shard: self.shard },
            mpsc::error::TrySendError::Closed(_) => self.stopping(),
        })?;
        answer.await.unwrap_or_else(|_| Err(self.stopping()))
    }

    fn stopping(&self) -> Refusal {
        Refusal::OutOfService { shard: self.shard, reason: "it is stopping".to_owned() }
    }
}

/// The loop that owns the queue.
pub(crate) struct Loop {
    shard: ShardId,
    group: Arc<Group>,
    receiver: mpsc::Receiver<Reply>,
}

impl Loop {
    /// Runs until the queue is dropped.
    pub(crate) async fn run(mut self) {
        let mut waiting = Vec::new();
        // Only those who came before a round begins may use its proof.
        while self.receiver.recv_many(&mut waiting, WAITING_MAX).await > 0 {
            self.group.counts().read_round.see(waiting.len() as u64);
            let outcome = self.round().await;
            for reply in waiting.drain(..) {
                // Whoever asked may be gone.
                let _ = reply.send(outcome.clone());
            }
        }
    }

    async fn round(&self) -> Result<(), Refusal> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.group.confirm().await {
                Ok(()) => return Ok(()),
                Err(Unconfirmed::NotPrimary) => {
                    let primary = self.group.other_primary();
                    return Err(Refusal::NotPrimary { shard: self.shard, primary });
                }
                Err(Unconfirmed::NoQuorum) if Instant::now() >= deadline => {
                    return Err(Refusal::NoQuorum { shard: self.shard });
                }
                Err(Unconfirmed::NoQuorum) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}
