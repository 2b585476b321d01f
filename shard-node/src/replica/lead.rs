//! Elections and planned changes of the primary, as far as one replica is concerned.
//!
//! Voters refuse every candidate while they may still hear their primary, so a candidacy in the presence of one only
//! raises the term and drives it from office. Whoever is asked to stand while a primary lives refuses, or asks that one
//! to hand over if that is what was meant.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{PoisonError, Weak};
use std::time::Duration;

use common::ids::{NodeId, RaftId, Term};
use common::state::{Campaign, Peer, Promote, Role};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::raft::group;
use crate::replica::Replica;

/// Entries that a replica may be behind and still be preferred to one on a node that is being drained.
const WILLING_BEHIND_MAX: u64 = 512;

/// Hands over to whoever asked for the lead, one after the other.
pub(super) async fn hand_over_when_asked(replica: Weak<Replica>, mut asked: mpsc::Receiver<RaftId>) {
    while let Some(heir) = asked.recv().await {
        let Some(replica) = replica.upgrade() else { return };
        let heir = replica.group.status().voters.into_iter().find(|peer| peer.raft_id == heir);
        if let Some(heir) = heir {
            replica.hand_over(Some(&heir.node)).await;
        }
    }
}

/// Whether a candidacy begun in `term` may still come to something, given the last one and when it began. One that led to
/// no later term within a lease is over: Raft passes over the wish of a primary, which may have been driven from office
/// since by a vote of its own term, and nobody else may be able to win.
fn is_under_way(stood: Option<(Term, Instant)>, term: Term, now: Instant, lease: Duration) -> bool {
    stood.is_some_and(|(of, since)| of > term || (of == term && now.duration_since(since) <= lease))
}

impl Replica {
    /// Stands for election; or, while a primary lives, asks it to hand over.
    pub(crate) async fn campaign(&self, promote: &Promote) -> Campaign {
        let status = self.group.status();
        if self.group.is_primary() {
            return Campaign::AlreadyPrimary;
        }
        if status.term != promote.term {
            return Campaign::StaleTerm { term: status.term };
        }
        let votes = status.voters.iter().any(|peer| peer.raft_id == self.identity.replica);
        let stands = matches!(status.role, Role::Replica | Role::Candidate);
        // Who is asked to take over from a living primary must be willing; who is asked since nobody leads is the last
        // resort, or `failover` would have chosen another one.
        let unwilling = promote.planned && self.is_draining();
        if !votes || !stands || unwilling || self.closing.load(Ordering::Relaxed) || self.group.damage().is_some() {
            return Campaign::NotEligible;
        }
        let lease = self.config.replication.lease();
        let lives = status.heard.is_some_and(|silence| silence <= lease);
        if let Some(primary) = status.primary.filter(|_| lives) {
            if !promote.planned {
                return Campaign::NotEligible;
            }
            tracing::info!(shard = %self.shard(), primary = %primary.node, "asking the primary to hand over");
            let agreed = tokio::time::timeout(lease, self.group.ask_for_lead(&primary)).await;
            return if agreed.unwrap_or(false) { Campaign::Started } else { Campaign::NotEligible };
        }
        // Routers, monitors and whoever hands over ask at the same moment. Another candidacy in the same term would only
        // take the votes away from the one under way.
        {
            let now = Instant::now();
            let mut stood = self.stood.lock().unwrap_or_else(PoisonError::into_inner);
            if is_under_way(*stood, status.term, now, lease) {
                return Campaign::Started;
            }
            *stood = Some((status.term, now));
        }
        tracing::info!(shard = %self.shard(), term = %status.term, last = ?status.last, "standing for election");
        match self.group.elect().await {
            Ok(()) => Campaign::Started,
            Err(_) => Campaign::NotEligible,
        }
    }

    /// Whether its node is being drained.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Which other nodes are being drained: they are handed over to only if there is nobody else.
    pub(crate) fn note_drained(&self, others: BTreeSet<NodeId>) {
        *self.drained_others.lock().unwrap_or_else(PoisonError::into_inner) = others;
    }

    fn set_heir(&self, heir: Option<NodeId>) {
        *self.heir.lock().unwrap_or_else(PoisonError::into_inner) = heir;
    }

    /// Gives the lead to the most advanced other voter: takes no more writes, waits until it has everything, is quiet
    /// until the voters' leases have run out, and asks it to stand. Whatever fails, the monitor finds a primary.
    pub(crate) async fn hand_over(&self, to: Option<&NodeId>) {
        // One at a time, or each would take the other's `closing` for that of a stop and leave it so.
        let _alone = self.handing_over.lock().await;
        if !self.group.is_primary() {
            return;
        }
        let status = self.group.status();
        let others = status.voters.iter().filter(|peer| peer.raft_id != self.identity.replica);
        let wanted = others.filter(|peer| to.is_none_or(|to| *to == peer.node));
        let drained = self.drained_others.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // As `failover` chooses, so that nobody proposes another one: the most advanced, but first who is not drained.
        let advanced = |peer: &&Peer| {
            let (matched, last) = self.group.matched(peer.raft_id);
            let close = matched.is_some_and(|matched| last.saturating_sub(matched) <= WILLING_BEHIND_MAX);
            (close && !drained.contains(&peer.node), matched, Reverse(peer.node.clone()))
        };
        let Some(heir) = wanted.max_by_key(advanced).cloned() else { return };
        tracing::info!(shard = %self.shard(), to = %heir.node, "handing over");
        let stopping = self.closing.swap(true, Ordering::Relaxed);
        let lease = self.config.replication.lease();
        let caught_up = self.group.caught_up(heir.raft_id, 0);
        if tokio::time::timeout(2 * lease, caught_up).await.is_ok() {
            // Before it is quiet: who then misses a primary finds whom to ask.
            self.set_heir(Some(heir.node.clone()));
            self.group.set_quiet(true);
            // A little longer than the lease: the last sign of life may still be on its way.
            tokio::time::sleep(lease + lease / 10).await;
            let promote = Promote { shard: self.shard(), term: status.term, planned: false };
            // Without an end, an heir that went silent would keep this replica closed.
            _ = tokio::time::timeout(lease, self.group.ask_to_stand(&heir.node, promote)).await;
            let mut role = self.group.watch_role();
            let stepped_down =
                async { while self.group.is_primary() && group::AsyncChanges::changed(&mut role).await.is_ok() {} };
            if tokio::time::timeout(lease, stepped_down).await.is_err() {
                tracing::warn!(shard = %self.shard(), to = %heir.node, "nobody took over");
            }
            self.group.set_quiet(false);
            self.set_heir(None);
        }
        self.closing.store(stopping, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_stands_once_a_term_until_a_candidacy_has_led_to_nothing() {
        let (began, lease) = (Instant::now(), Duration::from_millis(300));
        let after = |ms| began + Duration::from_millis(ms);
        let stood = Some((Term(2), began));
        assert!(!is_under_way(None, Term(2), began, lease), "it never stood");
        assert!(is_under_way(stood, Term(2), after(300), lease));
        assert!(!is_under_way(stood, Term(2), after(301), lease), "it came to nothing");
        assert!(!is_under_way(stood, Term(3), after(1), lease), "there is a later term");
        assert!(is_under_way(stood, Term(1), after(900), lease), "the term is an old one");
    }
}
