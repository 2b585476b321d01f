//! Gets one batch answered by the right node, over refusals, lost connections and failovers.
//!
//! Waits and calls; what to do about a refusal is decided in `shard::retry`. A batch is sent again with the same
//! request ids, so nothing takes effect twice.

use std::time::Duration;

use common::change::{ChangesPage, ChangesRequest};
use common::command::{Command, Outcome};
use common::ids::{NodeId, ShardId};
use common::query::Consistency;
use common::refusal::Refusal;
use common::view::{ViewRequest, Viewed};
use common::wire::{ReadReply, ReadRequest};
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::members::{Members, Place};
use crate::shard::retry::{self, Attempt, Decision, Kind, Patience};
use crate::shard::transport::Transport;

/// A wait for changes that lasted this long before it broke had been taken up by a node that worked.
const LONG_WAIT: Duration = Duration::from_millis(500);

/// How often a long attempt looks whether its node is still there.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Something to ask a shard.
pub(super) trait Ask: Send + Sync {
    /// What comes back.
    type Answer;
    /// What kind of request it is.
    fn kind(&self) -> Kind;
    /// Sends it to one node.
    fn send<'a>(&'a self, shard: ShardId, to: &'a dyn Transport) -> BoxFuture<'a, Result<Self::Answer, Refusal>>;
    /// It may have been proposed: what is sent from now on says that it is sent again.
    fn may_be_proposed(&mut self) {}
    /// Whether a replica that is too far behind might answer after all if it were asked as a last resort.
    fn has_last_resort(&self) -> bool {
        false
    }
    /// How long the node itself may wait before it answers.
    fn wait(&self) -> Duration {
        Duration::ZERO
    }
}

impl Ask for Vec<Command> {
    type Answer = Vec<Outcome>;
    fn kind(&self) -> Kind {
        Kind::Write
    }
    fn send<'a>(&'a self, shard: ShardId, to: &'a dyn Transport) -> BoxFuture<'a, Result<Self::Answer, Refusal>> {
        to.write(shard, self)
    }
    fn may_be_proposed(&mut self) {
        self.iter_mut().for_each(|command| command.retry = true);
    }
}

impl Ask for ReadRequest {
    type Answer = ReadReply;
    fn kind(&self) -> Kind {
        Kind::Read(self.consistency)
    }
    fn send<'a>(&'a self, shard: ShardId, to: &'a dyn Transport) -> BoxFuture<'a, Result<Self::Answer, Refusal>> {
        to.read(shard, self)
    }
    fn has_last_resort(&self) -> bool {
        self.consistency == Consistency::Eventual && !self.last_resort
    }
}

impl Ask for ChangesRequest {
    type Answer = ChangesPage;
    /// Also a feed that goes on from its own position asks the primary: that is who hears of changes first.
    fn kind(&self) -> Kind {
        Kind::Read(Consistency::Linearizable)
    }
    fn send<'a>(&'a self, shard: ShardId, to: &'a dyn Transport) -> BoxFuture<'a, Result<Self::Answer, Refusal>> {
        to.changes(shard, self)
    }
    fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms)
    }
}

impl Ask for ViewRequest {
    type Answer = Viewed;
    fn kind(&self) -> Kind {
        Kind::Read(self.consistency)
    }
    fn send<'a>(&'a self, shard: ShardId, to: &'a dyn Transport) -> BoxFuture<'a, Result<Self::Answer, Refusal>> {
        to.view(shard, self)
    }
    fn has_last_resort(&self) -> bool {
        self.consistency == Consistency::Eventual && !self.last_resort
    }
    fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms)
    }
}

impl Members {
    /// Asks until there is an answer, or `patience` (counted from `since`) is at its end.
    pub(super) async fn ask<A: Ask>(
        &self,
        shard: ShardId,
        ask: &mut A,
        since: Instant,
        patience: &Patience,
    ) -> Result<A::Answer, Refusal> {
        let place = self.place(shard)?;
        let kind = ask.kind();
        let mut since = since;
        let (mut proposed, mut behind) = (false, false);
        let mut asked = self.choose(place, kind, None);
        for count in 1.. {
            let begun = Instant::now();
            let refusal = match self.attempt(place, ask, &asked, since, patience).await {
                Ok(answer) => {
                    if kind != Kind::Read(Consistency::Eventual) {
                        place.confirmed(&asked);
                    }
                    return Ok(answer);
                }
                Err(refusal) => refusal,
            };
            place.learn(&asked, &refusal);
            if ask.wait() > Duration::ZERO && begun.elapsed() >= LONG_WAIT {
                // It was a good wait until now; the trouble begins here.
                since = Instant::now();
            }
            behind |= ask.has_last_resort() && matches!(refusal, Refusal::TooFarBehind { .. });
            let primary = place.primary();
            let reachable = (kind == Kind::Read(Consistency::Eventual)).then(|| self.reachable(place));
            let attempt = Attempt {
                kind,
                shard,
                count,
                elapsed: since.elapsed(),
                proposed,
                behind,
                asked: &asked,
                primary: primary.as_ref(),
                replicas: reachable.as_deref().unwrap_or(&place.replicas),
            };
            if retry::may_be_proposed(kind, &refusal) {
                proposed = true;
                ask.may_be_proposed();
            }
            match retry::decide(&attempt, &refusal, patience) {
                Decision::AskNode(node) => asked = node,
                Decision::WaitThenAsk(pause) => {
                    self.look.notify_waiters();
                    // A timeout here is the normal end of the pause.
                    let _ = tokio::time::timeout(pause, place.news()).await;
                    asked = self.choose(place, kind, Some(&asked));
                }
                Decision::GiveUp(refusal) => return Err(refusal),
            }
        }
        unreachable!("a request gives up long before it runs out of numbers")
    }

    /// One attempt at one node, cut short when the node can no longer be the one to answer.
    async fn attempt<A: Ask>(
        &self,
        place: &Place,
        ask: &A,
        node: &NodeId,
        since: Instant,
        patience: &Patience,
    ) -> Result<A::Answer, Refusal> {
        let shard = place.shard;
        let Some(transport) = self.transport(node) else { return Err(Refusal::Unreachable(node.clone())) };
        let cut_short = || match ask.kind() {
            Kind::Write => Refusal::UnknownOutcome { shard },
            Kind::Read(_) => Refusal::Unreachable(node.clone()),
        };
        tokio::select! {
            biased;
            answer = ask.send(shard, transport.as_ref()) => answer,
            () = place.moved_from(node), if ask.kind() != Kind::Read(Consistency::Eventual) => Err(cut_short()),
            () = self.hopeless(ask.kind(), node, shard, since, ask.wait(), patience) => Err(cut_short()),
        }
    }

    /// Comes back when waiting for this node makes no sense: time is up, or no quorum was met in time and the node
    /// does not even answer probes, or answers that it has lost its majority. An eventual read, which another replica
    /// may answer as well, does not give a silent node that long.
    async fn hopeless(
        &self,
        kind: Kind,
        node: &NodeId,
        shard: ShardId,
        since: Instant,
        wait: Duration,
        patience: &Patience,
    ) {
        let eventual = kind == Kind::Read(Consistency::Eventual);
        let first = if eventual { Instant::now() + LOOK_INTERVAL } else { since + patience.quorum };
        tokio::time::sleep_until(first).await;
        let gone = || match eventual {
            true => self.is_suspect(node),
            false => self.is_cut_off(node, shard, patience.quorum / 2),
        };
        let end = since + wait + patience.request;
        while Instant::now() < end && !gone() {
            tokio::time::sleep_until(end.min(Instant::now() + LOOK_INTERVAL)).await;
        }
    }
}
