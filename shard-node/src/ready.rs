//! Whether a replica is ready: open, of its set, in touch with a primary, and caught up enough to take over.
//!
//! Pure. Readiness is about the replica's part, not about the disk or the process: those have their own signs.

use std::time::Duration;

use common::config::Replication;
use common::ids::ShardId;
use common::state::{ReplicaState, Role};

/// Why a node is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unready {
    /// The first shard whose replica is not.
    pub shard: ShardId,
    /// In plain words.
    pub reason: String,
}

/// Looks at what one replica says of itself.
pub(crate) fn check(replica: &ReplicaState, rules: &Replication) -> Result<(), Unready> {
    let refuse = |reason: String| Err(Unready { shard: replica.shard, reason });
    if let Some(reason) = &replica.reason {
        return refuse(reason.clone());
    }
    match replica.role {
        Role::Empty => return refuse("its replica set is not founded yet".to_owned()),
        Role::Learner => return refuse("it is being rebuilt from the others".to_owned()),
        Role::Candidate => return refuse("it stands for election".to_owned()),
        Role::Damaged => return refuse("it is damaged".to_owned()),
        Role::Primary | Role::Replica => {}
    }
    let (heard, patience) = (replica.heard_ms.map(Duration::from_millis), rules.failover_timeout_ms);
    match heard {
        None => refuse("it has not heard of a primary since it was started".to_owned()),
        Some(heard) if heard > Duration::from_millis(patience) => {
            let whom = if replica.role == Role::Primary { "a majority" } else { "its primary" };
            refuse(format!("it has not heard {whom} for {} ms", heard.as_millis()))
        }
        Some(_) if replica.lag_ms > rules.max_replication_lag_ms => {
            refuse(format!("it is {} ms behind its primary", replica.lag_ms))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use common::ids::{NodeId, RaftId};

    use super::*;

    fn said(role: Role, heard_ms: Option<u64>, lag_ms: u64) -> Result<(), String> {
        let node = NodeId::parse("n1").expect("valid");
        let blank = ReplicaState::blank(node, ShardId(3), RaftId(1), role);
        let state = ReplicaState { heard_ms, lag_ms, ..blank };
        check(&state, &Replication::default()).map_err(|unready| {
            assert_eq!(unready.shard, ShardId(3));
            unready.reason
        })
    }

    #[test]
    fn a_replica_that_follows_and_a_primary_with_its_majority_are_ready() {
        assert_eq!(said(Role::Replica, Some(20), 0), Ok(()));
        assert_eq!(said(Role::Primary, Some(20), 0), Ok(()));
        assert_eq!(said(Role::Replica, Some(20), 10_000), Ok(()), "as far behind as is allowed");
    }

    #[test]
    fn who_is_not_ready_says_why() {
        for (role, heard_ms, lag_ms, why) in [
            (Role::Empty, None, 0, "not founded"),
            (Role::Learner, Some(1), 0, "rebuilt"),
            (Role::Candidate, Some(1), 0, "election"),
            (Role::Damaged, None, 0, "damaged"),
            (Role::Replica, None, 0, "since it was started"),
            (Role::Replica, Some(501), 0, "its primary for 501 ms"),
            (Role::Primary, Some(501), 0, "a majority for 501 ms"),
            (Role::Replica, Some(1), 10_001, "10001 ms behind"),
        ] {
            let reason = said(role, heard_ms, lag_ms).expect_err("not ready");
            assert!(reason.contains(why), "{reason}");
        }
    }
}
