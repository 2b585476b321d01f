//! How long things take in a group, and what that means for openraft's own timers.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

use crate::raft::wire::Scope;

/// Entries one replication message carries at most; its bytes are bounded by the log store.
const MESSAGE_ENTRIES_MAX: u64 = 256;

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Between two signs of life.
    pub(crate) heartbeat: Duration,
    /// How long a voter that heard a primary refuses every other candidate.
    pub(crate) lease: Duration,
}

impl Timing {
    /// Longest wait for a replica's answer. Longer than the lease, so that links as slow as that still carry a log.
    pub(super) fn patience(&self) -> Duration {
        3 * self.lease
    }

    /// Openraft's settings. It does not get to validate them: it wants heartbeats more often than elections, and ours
    /// (`pulse`) are.
    pub(super) fn config(self, scope: Scope) -> Config {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let lease = millis(self.lease).max(2);
        Config {
            cluster_name: format!("shard-{}", scope.shard),
            // The time limit of every replication message. Openraft's own heartbeats are as rare; they back up ours.
            heartbeat_interval: millis(self.patience()),
            election_timeout_min: lease - 1,
            // The lease of the voters.
            election_timeout_max: lease,
            max_payload_entries: MESSAGE_ENTRIES_MAX,
            // Campaigns come from `failover` only, which asks the others first.
            enable_elect: false,
            snapshot_policy: SnapshotPolicy::Never,
            // Purging is ours: this keeps openraft from purging when it has built a snapshot.
            max_in_snapshot_log_to_keep: u64::MAX,
            ..Config::default()
        }
    }
}
