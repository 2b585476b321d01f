//! The write queue of one replica: packs what waits into log entries and gives everybody their outcomes.
//!
//! Natural batching: with few entries in flight what arrives leaves at once, under load it leaves together. The queue
//! is bounded in bytes. What was never proposed is refused without an effect; what was proposed and is not known to be
//! committed has an unknown outcome, never a failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::command::{Command, Outcome};
use common::config::{Config, Quorum};
use common::ids::ShardId;
use common::refusal::Refusal;
use common::wire::WriteAnswer;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};

use crate::raft::group::{Group, Proposed};
use crate::raft::types::{Packed, encode_command};

/// Entries on their way at once. Raft syncs one after the other; more would only make each of them smaller.
const IN_FLIGHT_MAX: usize = 4;
/// Bytes in one entry at most, its last command excepted. Larger ones take longer than a lease on a slow disk.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Commands in one entry at most.
const ENTRY_COMMANDS_MAX: usize = 1024;
/// How often writes in flight look whether the primary still has its majority.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// A handle to the queue.
pub(crate) struct Writes {
    shard: ShardId,
    sender: mpsc::UnboundedSender<Waiting>,
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
    patience: Duration,
}

/// Commands that leave together.
struct Waiting {
    commands: usize,
    encoded: Vec<u8>,
    reply: oneshot::Sender<WriteAnswer>,
    bytes: Arc<AtomicUsize>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.encoded.len(), Ordering::Relaxed);
    }
}

impl Writes {
    /// The queue, and its loop to be run.
    pub(crate) fn new(shard: ShardId, config: &Config, group: Arc<Group>) -> (Self, Loop) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let patience = Duration::from_millis(config.limits.request_timeout_ms);
        let queue = Self { shard, sender, bytes: Arc::default(), bytes_max: config.limits.queue_bytes_max, patience };
        let failover = Duration::from_millis(config.replication.failover_timeout_ms);
        let all = config.replication.write_quorum == Quorum::All;
        (queue, Loop { shard, group, receiver, failover, all, carried: None, abandon: watch::Sender::new(()) })
    }

    /// Bytes that wait now.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Writes `commands`, in this order. A batch that is too large for one entry takes several.
    pub(crate) async fn write(&self, commands: &[Command]) -> WriteAnswer {
        let mut replies = Vec::new();
        for (count, encoded) in entries(commands) {
            let (reply, answer) = oneshot::channel();
            replies.push(answer);
            let waiting = self.bytes.fetch_add(encoded.len(), Ordering::Relaxed);
            let full = waiting > 0 && waiting + encoded.len() > self.bytes_max;
            let entry = Waiting { commands: count, encoded, reply, bytes: self.bytes.clone() };
            if full {
                let _ = answer_one(entry, Err(Refusal::Overloaded { shard: self.shard }));
            } else if let Err(mpsc::error::SendError(entry)) = self.sender.send(entry) {
                let stopping = Refusal::OutOfService { shard: self.shard, reason: "it is stopping".to_owned() };
                let _ = answer_one(entry, Err(stopping));
            }
        }
        let unknown = || Refusal::UnknownOutcome { shard: self.shard };
        let answers = futures::future::join_all(replies);
        let Ok(answers) = tokio::time::timeout(self.patience, answers).await else { return Err(unknown()) };
        let answers: Vec<WriteAnswer> =
            answers.into_iter().map(|answer| answer.unwrap_or_else(|_| Err(unknown()))).collect();
        let parts = answers.len();
        if answers.iter().all(Result::is_err) && parts > 1 {
            // Clean only if every part was.
            let clean = answers.iter().all(|answer| !matches!(answer, Err(Refusal::UnknownOutcome { .. })));
            return if clean { answers.into_iter().next().unwrap_or_else(|| Ok(Vec::new())) } else { Err(unknown()) };
        }
        let whole: Result<Vec<Vec<Outcome>>, Refusal> = answers.into_iter().collect();
        match whole {
            Ok(outcomes) => Ok(outcomes.concat()),
            Err(refusal) if parts == 1 => Err(refusal),
            // Some part went in.
            Err(_) => Err(unknown()),
        }
    }
}

fn answer_one(entry: Waiting, answer: WriteAnswer) -> bool {
    let mut entry = entry;
    let (closed, _) = oneshot::channel();
    // Whoever asked may be gone; then nobody needs the answer.
    std::mem::replace(&mut entry.reply, closed).send(answer).is_ok()
}

/// Cuts commands into what fits one entry each.
fn entries(commands: &[Command]) -> Vec<(usize, Vec<u8>)> {
    let mut entries: Vec<(usize, Vec<u8>)> = Vec::new();
    // One for all of them: it does not grow anew with each.
    let mut encoded = Vec::new();
    for command in commands {
        encoded.clear();
        encode_command(command, &mut encoded);
        match entries.last_mut() {
            Some((count, bytes)) if *count < ENTRY_COMMANDS_MAX && bytes.len() + encoded.len() <= ENTRY_BYTES_MAX => {
                *count += 1;
                bytes.extend_from_slice(&encoded);
            }
            _ => entries.push((1, encoded.clone())),
        }
    }
    entries
}

/// The loop that owns the queue.
pub(crate) struct Loop {
    shard: ShardId,
    group: Arc<Group>,
    receiver: mpsc::UnboundedReceiver<Waiting>,
    failover: Duration,
    /// Whether every voter must have a write before it is answered.
    all: bool,
    /// Taken from the queue, but too large for the entry before.
    carried: Option<Waiting>,
    /// Changes when those in flight must not be waited for any longer.
    abandon: watch::Sender<()>,
}

impl Loop {
    /// Runs until the queue is dropped.
    pub(crate) async fn run(mut self) {
        let mut in_flight = FuturesUnordered::new();
        let mut ticks = tokio::time::interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let room = in_flight.len() < IN_FLIGHT_MAX;
            if room && self.carried.is_some() {
                if let Some(settle) = self.propose(None).await {
                    in_flight.push(settle);
                }
                continue;
            }
            tokio::select! {
                next = self.receiver.recv(), if room => {
                    let Some(first) = next else { return };
                    if let Some(settle) = self.propose(Some(first)).await {
                        in_flight.push(settle);
                    }
                }
                Some(()) = in_flight.next() => {}
                _ = ticks.tick(), if !in_flight.is_empty() => {
                    if let Err(refusal) = self.may_propose() {
                        self.abandon.send_replace(());
                        self.refuse_waiting(&refusal);
                    }
                }
            }
        }
    }

    /// Whether this replica leads and has a majority, as far as it knows.
    fn may_propose(&self) -> Result<(), Refusal> {
        match self.group.quorum_age() {
            None => Err(Refusal::NotPrimary { shard: self.shard, primary: self.group.other_primary() }),
            Some(age) if age > self.failover => Err(Refusal::NoQuorum { shard: self.shard }),
            Some(_) => Ok(()),
        }
    }

    fn refuse_waiting(&mut self, refusal: &Refusal) {
        while let Some(entry) = self.carried.take().or_else(|| self.receiver.try_recv().ok()) {
            answer_one(entry, Err(refusal.clone()));
        }
    }

    /// Packs what waits into one entry and proposes it.
    async fn propose(&mut self, first: Option<Waiting>) -> Option<impl Future<Output = ()> + use<>> {
        let mut batch: Vec<Waiting> = Vec::new();
        let (mut commands, mut bytes) = (0, 0);
        let mut next = first.or_else(|| self.carried.take());
        while let Some(entry) = next {
            if !batch.is_empty()
                && (commands + entry.commands > ENTRY_COMMANDS_MAX || bytes + entry.encoded.len() > ENTRY_BYTES_MAX)
            {
                self.carried = Some(entry);
                break;
            }
            commands += entry.commands;
            bytes += entry.encoded.len();
            batch.push(entry);
            next = self.receiver.try_recv().ok();
        }
        if let Err(refusal) = self.may_propose() {
            batch.into_iter().for_each(|entry| _ = answer_one(entry, Err(refusal.clone())));
            return None;
        }
        self.group.counts().entry_commands.see(commands as u64);
        let packed = Packed::join(commands, batch.iter().map(|entry| entry.encoded.as_slice()));
        match self.group.propose(packed).await {
            Ok(proposed) => {
                let settle = Settle {
                    shard: self.shard,
                    group: self.group.clone(),
                    all: self.all,
                    abandoned: self.abandon.subscribe(),
                };
                Some(settle.run(proposed, batch))
            }
            Err(reason) => {
                let refusal = Refusal::OutOfService { shard: self.shard, reason };
                batch.into_iter().for_each(|entry| _ = answer_one(entry, Err(refusal.clone())));
                None
            }
        }
    }
}

/// Waits for one entry.
struct Settle {
    shard: ShardId,
    group: Arc<Group>,
    all: bool,
    abandoned: watch::Receiver<()>,
}

impl Settle {
    /// Done when Raft has decided, so that an abandoned entry still counts as in flight.
    async fn run(mut self, mut proposed: oneshot::Receiver<Proposed>, batch: Vec<Waiting>) {
        let unknown = Refusal::UnknownOutcome { shard: self.shard };
        tokio::select! {
            outcome = &mut proposed => match outcome {
                Ok(Ok(response)) => self.answer(response.log_id.index, response.data, batch).await,
                // Truncated, or never appended: openraft does not say which.
                Ok(Err(_)) | Err(_) => refuse(batch, &unknown),
            },
            _ = self.abandoned.changed() => {
                refuse(batch, &unknown);
                // Whatever it is, nobody waits for it any more; only the slot does.
                let _ = proposed.await;
            }
        }
    }

    async fn answer(&mut self, index: u64, outcomes: Vec<Outcome>, batch: Vec<Waiting>) {
        if self.all {
            tokio::select! {
                () = self.group.on_all_voters(index) => {}
                _ = self.abandoned.changed() => return refuse(batch, &Refusal::UnknownOutcome { shard: self.shard }),
            }
        }
        let mut outcomes = outcomes.into_iter();
        for entry in batch {
            let own = outcomes.by_ref().take(entry.commands).collect();
            answer_one(entry, Ok(own));
        }
    }
}

fn refuse(batch: Vec<Waiting>, refusal: &Refusal) {
    for entry in batch {
        answer_one(entry, Err(refusal.clone()));
    }
}
