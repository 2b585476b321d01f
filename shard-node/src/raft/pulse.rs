//! The primary's signs of life, and its proof before a read that no later primary exists.
//!
//! Both bypass openraft's replication streams, where they would wait behind large batches and their syncs.
//!
//! Why a confirmed read is linearizable: a write that was acknowledged before the read began was acknowledged by an
//! earlier primary (then it is in our log before the first entry of our term, which we have applied), by us (then we
//! have applied it), or by a later one. A later one was elected by a majority, each of which noted its vote before
//! giving it; so no majority could then say, after the read began, that it knows of no later vote than ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use common::ids::NodeId;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::ServerState;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::raft::quorum;
use crate::raft::shared::Shared;
use crate::raft::types::{LogId, Metrics, StoredMembership, Vote};
use crate::raft::wire::{self, Answer, Message, Scope};
use crate::transport::{Lane, PeerTransport};

/// Signs of life to one replica that are not answered yet, at most; each takes a connection of its own.
const BEATS_UNDER_WAY_MAX: usize = 8;

/// A replica that takes longer to confirm a read is not waited for alone. Longer delays reads while it is stopped;
/// shorter asks more replicas than needed.
const CONFIRM_HEDGE: Duration = Duration::from_millis(5);

/// See the module.
pub(crate) struct Pulse {
    scope: Scope,
    shared: Arc<Shared>,
    peers: Arc<dyn PeerTransport>,
    metrics: watch::Receiver<Metrics>,
    /// Longest wait for one answer.
    patience: Duration,
    acks: Mutex<Acks>,
    /// Set while the primary hands over: no signs of life, so that the voters' leases run out.
    quiet: watch::Sender<bool>,
}

/// Who answered the primary, and when the message answered had been sent.
#[derive(Default)]
struct Acks {
    vote: Option<Vote>,
    /// When we began to lead under this vote: a majority voted for us then.
    since: Option<Instant>,
    at: BTreeMap<u64, Instant>,
}

/// Why a read was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unconfirmed {
    /// This replica does not lead (any more).
    NotPrimary,
    /// No majority answered in time.
    NoQuorum,
}

impl Pulse {
    pub(crate) fn new(
        scope: Scope,
        shared: Arc<Shared>,
        peers: Arc<dyn PeerTransport>,
        metrics: watch::Receiver<Metrics>,
        patience: Duration,
    ) -> Self {
        Self { scope, shared, peers, metrics, patience, acks: Mutex::default(), quiet: watch::Sender::new(false) }
    }

    /// The vote under which this replica leads, if it does.
    pub(crate) fn leading(&self) -> Option<Vote> {
        let vote = self.shared.vote()?;
        let mine = vote.committed && vote.leader_id.node_id == self.scope.replica;
        (mine && self.metrics.borrow().state == ServerState::Leader).then_some(vote)
    }

    /// How long ago a majority last answered this primary; `None` if it does not lead.
    pub(crate) fn quorum_age(&self) -> Option<Duration> {
        let vote = self.leading()?;
        let now = Instant::now();
        let mut acks = self.acks(vote, now);
        acks.at.insert(self.scope.replica, now);
        let membership = self.shared.applied().membership;
        let heard = quorum::heard_by_quorum(membership.membership().get_joint_config(), &acks.at);
        Some(now.saturating_duration_since(heard.max(acks.since)?))
    }

    fn acks(&self, vote: Vote, now: Instant) -> std::sync::MutexGuard<'_, Acks> {
        let mut acks = self.acks.lock().unwrap_or_else(PoisonError::into_inner);
        if acks.vote != Some(vote) {
            *acks = Acks { vote: Some(vote), since: Some(now), at: BTreeMap::new() };
        }
        acks
    }

    /// Stops or resumes the signs of life.
    pub(crate) fn set_quiet(&self, quiet: bool) {
        self.quiet.send_replace(quiet);
    }

    /// Sends signs of life while this replica leads. Runs until it is dropped.
    pub(crate) async fn run(&self, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut under_way = FuturesUnordered::new();
        let mut waiting: BTreeMap<u64, usize> = BTreeMap::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let Some(vote) = self.leading().filter(|_| !*self.quiet.borrow()) else { continue };
                    let age = self.quorum_age().unwrap_or_default();
                    for (id, node) in self.others() {
                        // Over a slow link several are under way: its followers hear from the primary as often as
                        // over a fast one.
                        let waiting = waiting.entry(id).or_default();
                        if *waiting < BEATS_UNDER_WAY_MAX {
                            *waiting += 1;
                            under_way.push(self.beat(id, node, vote, age));
                        }
                    }
                }
                Some((id, vote, acked)) = under_way.next() => {
                    waiting.entry(id).and_modify(|waiting| *waiting -= 1);
                    // An answer to an earlier vote of ours says nothing about this one.
                    if let Some(sent) = acked.filter(|_| self.leading() == Some(vote)) {
                        let mut acks = self.acks(vote, sent);
                        let last = acks.at.entry(id).or_insert(sent);
                        *last = sent.max(*last);
                    }
                }
            }
        }
    }

    /// All members but this one, learners too.
    fn others(&self) -> Vec<(u64, NodeId)> {
        let metrics = self.metrics.borrow();
        let nodes = metrics.membership_config.membership().nodes();
        nodes
            .filter(|(id, _)| **id != self.scope.replica)
            .filter_map(|(id, member)| Some((*id, member.node()?)))
            .collect()
    }

    /// The other voters, the one heard last first.
    fn by_freshness(&self, membership: &StoredMembership) -> Vec<(u64, NodeId)> {
        let others = membership.voter_ids().filter(|id| *id != self.scope.replica);
        let mut voters: Vec<(u64, NodeId)> =
            others.filter_map(|id| Some((id, membership.membership().get_node(&id)?.node()?))).collect();
        let acks = self.acks.lock().unwrap_or_else(PoisonError::into_inner);
        voters.sort_by_key(|(id, _)| std::cmp::Reverse(acks.at.get(id).copied()));
        voters
    }

    async fn beat(&self, id: u64, node: NodeId, vote: Vote, age: Duration) -> (u64, Vote, Option<Instant>) {
        let sent = Instant::now();
        let quorum_age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let message = Message::Beat { vote, commit: self.shared.applied().log_id, quorum_age_ms };
        let answer = self.ask(&node, wire::seal(&self.scope.of(id), &message)).await;
        (id, vote, (answer == Some(Answer::Done)).then_some(sent))
    }

    async fn ask(&self, node: &NodeId, message: Bytes) -> Option<Answer> {
        let answer = tokio::time::timeout(self.patience, self.peers.replicate(node, Lane::Pulse, message)).await;
        wire::decode(&answer.ok()?.ok()?).ok()
    }

    /// Waits until the engine has everything that was acknowledged before this call, and makes sure that nobody else
    /// leads. What is read from the engine afterwards is linearizable.
    pub(crate) async fn confirm(&self) -> Result<(), Unconfirmed> {
        let vote = self.leading().ok_or(Unconfirmed::NotPrimary)?;
        // The first entry of our term stands for all that earlier primaries acknowledged.
        let mut applied = self.shared.watch_applied();
        let ours = |log_id: Option<LogId>| log_id.is_some_and(|log_id| log_id.leader_id == vote.leader_id);
        let caught_up = applied.wait_for(|applied| ours(applied.log_id));
        let caught_up = matches!(tokio::time::timeout(self.patience, caught_up).await, Ok(Ok(_)));
        if !caught_up {
            return Err(Unconfirmed::NoQuorum);
        }
        // What is applied, not what is only proposed: the last step of a change of members is proposed only after
        // the joint one was applied, so no majority that could elect somebody else is missed.
        let membership = self.shared.applied().membership;
        let configs = membership.membership().get_joint_config();
        let mut granted = BTreeSet::from([self.scope.replica]);
        let mut voters = self.by_freshness(&membership).into_iter();
        let mut asked = FuturesUnordered::new();
        let ask = |(id, node): (u64, NodeId)| async move {
            (id, self.ask(&node, wire::seal(&self.scope.of(id), &Message::Confirm { vote })).await)
        };
        // As many as are needed, the one heard last first; whenever one fails or takes long, the next one, too.
        asked.extend(voters.by_ref().take(quorum::missing(configs, &granted)).map(ask));
        while !quorum::is_quorum(configs, &granted) {
            let answer = match voters.len() {
                0 => asked.next().await,
                _ => {
                    tokio::time::timeout(CONFIRM_HEDGE, asked.next()).await.unwrap_or(Some((self.scope.replica, None)))
                }
            };
            match answer {
                Some((id, Some(Answer::Done))) => _ = granted.insert(id),
                Some((_, Some(Answer::HigherVote(_)))) => return Err(Unconfirmed::NotPrimary),
                Some((_, Some(Answer::Conflict) | None)) => asked.extend(voters.next().map(ask)),
                // Those asked do not make up a majority of each set.
                None => match voters.next() {
                    Some(voter) => asked.push(ask(voter)),
                    None => return Err(Unconfirmed::NoQuorum),
                },
            }
        }
        // Had we given a later vote ourselves meanwhile, the answers above would not count us.
        if self.shared.vote() == Some(vote) { Ok(()) } else { Err(Unconfirmed::NotPrimary) }
    }
}
