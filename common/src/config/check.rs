//! What must hold between settings, checked before the first socket opens.

use std::collections::BTreeSet;
use std::net::{IpAddr, ToSocketAddrs};

use super::{Config, Error, Quorum};

/// How a process is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployment {
    /// Everything in one process: no nodes or shards are configured.
    Embedded,
    /// Nodes and shards come from the cluster file.
    Cluster,
}

/// Replicas a shard may have. An even number tolerates no more failures than the odd one below it, but is needed on
/// the way from one set to another.
const REPLICAS_MAX: usize = 9;

/// More threads than any machine has cores are a slip of the pen.
const WORKER_THREADS_MAX: usize = 1024;

impl Config {
    /// Checks what a single field's type cannot say. Errors name the setting and what would be right.
    pub fn check(&self, deployment: Deployment) -> Result<(), Error> {
        let result = self.check_replication().and_then(|()| self.check_limits()).and_then(|()| self.check_auth());
        let result = result.and_then(|()| self.check_replicator());
        let result = result.and_then(|()| match deployment {
            Deployment::Embedded if self.node.is_empty() && self.shard.is_empty() => Ok(()),
            Deployment::Embedded => Err("[[node]] and [[shard]] belong to a cluster: start with --cluster".to_owned()),
            Deployment::Cluster => self.check_topology(),
        });
        result.map_err(Error::Contradiction)
    }

    fn check_replication(&self) -> Result<(), String> {
        let replication = &self.replication;
        if replication.write_quorum == Quorum::One {
            return Err("replication.write_quorum: less than a majority would lose acknowledged writes".to_owned());
        }
        if replication.read_quorum == Quorum::All {
            return Err("replication.read_quorum is 'majority' or 'one'".to_owned());
        }
        let interval = replication.health_check_interval_ms;
        if !(10..=10_000).contains(&interval) {
            return Err("replication.health_check_interval_ms must be 10 to 10000".to_owned());
        }
        if replication.failover_timeout_ms < 5 * interval {
            let reason = "must be at least 5 times health_check_interval_ms, or a late heartbeat is taken for a death";
            return Err(format!("replication.failover_timeout_ms {reason}"));
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), String> {
        if !(1..=120).contains(&self.limits.json_depth_max) {
            return Err("limits.json_depth_max must be 1 to 120".to_owned());
        }
        if self.limits.queue_bytes_max < self.limits.body_bytes_max {
            return Err("limits.queue_bytes_max must not be below limits.body_bytes_max".to_owned());
        }
        if self.process.worker_threads > WORKER_THREADS_MAX {
            return Err(format!("process.worker_threads must be at most {WORKER_THREADS_MAX}"));
        }
        if !(0.0..=1.0).contains(&self.telemetry.otlp_sample_ratio) {
            return Err("telemetry.otlp_sample_ratio must be 0 to 1".to_owned());
        }
        if self.storage.segment_bytes < 1 << 16 {
            return Err("storage.segment_bytes must be at least 65536".to_owned());
        }
        Ok(())
    }

    fn check_topology(&self) -> Result<(), String> {
        if self.shard.is_empty() || self.node.is_empty() {
            return Err("a cluster needs at least one [[node]] and one [[shard]]".to_owned());
        }
        let nodes: BTreeSet<_> = self.node.iter().map(|node| &node.id).collect();
        if nodes.len() != self.node.len() {
            return Err("two [[node]]s have the same id".to_owned());
        }
        let shards: BTreeSet<_> = self.shard.iter().map(|shard| shard.id).collect();
        if shards.len() != self.shard.len() {
            return Err("two [[shard]]s have the same id".to_owned());
        }
        if shards.first().is_some_and(|first| first.0 != 0) {
            return Err("shard 0 is missing: the catalog lives there".to_owned());
        }
        for shard in &self.shard {
            let replicas: BTreeSet<_> = shard.replicas.iter().collect();
            if replicas.len() != shard.replicas.len() || !(1..=REPLICAS_MAX).contains(&replicas.len()) {
                return Err(format!("shard {}: needs 1 to {REPLICAS_MAX} different replicas", shard.id));
            }
            if let Some(unknown) = replicas.iter().find(|node| !nodes.contains(*node)) {
                return Err(format!("shard {}: there is no [[node]] '{unknown}'", shard.id));
            }
        }
        Ok(())
    }

    /// The configured address of a node.
    pub fn address_of(&self, node: &crate::ids::NodeId) -> Option<&str> {
        self.node.iter().find(|entry| &entry.id == node).map(|entry| entry.address.as_str())
    }

    /// Refuses to open anything beyond loopback without an admin (`public` port) or a cluster secret (internal port).
    pub fn check_listen(&self, address: &str, public: bool) -> Result<(), Error> {
        let guarded = if public { self.has_admin() } else { self.secret_file.is_some() };
        if guarded || is_loopback(address) {
            return Ok(());
        }
        let missing = if public { "an [admin]" } else { "a secret_file" };
        let reason = format!("{address} is not a loopback address: listening there needs {missing}");
        Err(Error::Contradiction(reason))
    }
}

/// Whether every address that `HOST:PORT` resolves to is a loopback one.
pub fn is_loopback(address: &str) -> bool {
    let Ok(addresses) = address.to_socket_addrs() else { return false };
    let mut addresses = addresses.peekable();
    addresses.peek().is_some() && addresses.all(|address| IpAddr::is_loopback(&address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{NodeEntry, ShardEntry};
    use crate::ids::{NodeId, ShardId};

    fn cluster() -> Config {
        let id = |n: u32| NodeId::parse(&format!("n{n}")).expect("valid");
        let node = (1..=3).map(|n| NodeEntry { id: id(n), address: format!("127.0.0.1:700{n}") }).collect();
        let shard = (0..2).map(|n| ShardEntry { id: ShardId(n), replicas: (1..=3).map(id).collect() }).collect();
        Config { node, shard, ..Config::default() }
    }

    fn refusal(change: impl FnOnce(&mut Config)) -> String {
        let mut config = cluster();
        change(&mut config);
        config.check(Deployment::Cluster).expect_err("refused").to_string()
    }

    #[test]
    fn a_sound_cluster_is_accepted() {
        cluster().check(Deployment::Cluster).expect("sound");
        Config::default().check(Deployment::Embedded).expect("sound");
    }

    #[test]
    fn contradictions_are_named() {
        assert!(refusal(|c| c.replication.write_quorum = Quorum::One).contains("less than a majority"));
        assert!(refusal(|c| c.replication.failover_timeout_ms = 100).contains("failover_timeout_ms"));
        assert!(refusal(|c| c.shard.truncate(0)).contains("at least one"));
        assert!(refusal(|c| c.shard[0].id = ShardId(5)).contains("shard 0"));
        assert!(refusal(|c| c.node.truncate(2)).contains("'n3'"));
        assert!(refusal(|c| c.shard[1].replicas[0] = c.shard[1].replicas[1].clone()).contains("different replicas"));
        assert!(cluster().check(Deployment::Embedded).is_err());
    }

    #[test]
    fn nothing_is_open_beyond_loopback_by_default() {
        let config = cluster();
        for open in ["127.0.0.1:1", "[::1]:1", "localhost:1"] {
            config.check_listen(open, true).expect(open);
        }
        assert!(config.check_listen("0.0.0.0:1", true).is_err());
        assert!(config.check_listen("192.0.2.1:1", false).is_err());
    }
}
