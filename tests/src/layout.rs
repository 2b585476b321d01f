//! What a cluster looks like before it starts, and the cluster file that says so.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use common::config::{Config, EngineKind, NodeEntry, ShardEntry};
use common::ids::{NodeId, ShardId};

/// A change to the configuration before it is written.
pub type Tune = Arc<dyn Fn(&mut Config) + Send + Sync>;

/// The shape of a cluster.
#[derive(Clone)]
pub struct Layout {
    /// Nodes, named `n1`, `n2` …
    pub nodes: usize,
    /// Shards, numbered from 0.
    pub shards: usize,
    /// Replicas of each shard.
    pub replicas: usize,
    /// Routers.
    pub routers: usize,
    /// The engine of all nodes.
    pub engine: EngineKind,
    /// Whether a proxy stands between every two processes.
    pub proxied: bool,
    /// The last word on the configuration.
    pub tune: Tune,
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, shards, replicas, routers, engine, proxied, tune: _ } = self;
        write!(f, "{nodes} nodes, {shards} shards x {replicas}, {routers} routers, {engine:?}, proxied {proxied}")
    }
}

impl Layout {
    /// Three nodes, each with a replica of each of `shards` shards, and one router.
    pub fn three(shards: usize) -> Self {
        Self {
            nodes: 3,
            shards,
            replicas: 3,
            routers: 1,
            engine: EngineKind::Fjall,
            proxied: false,
            tune: Arc::new(|_| {}),
        }
    }

    /// Nine nodes, each with one replica, three shards, two routers.
    pub fn nine() -> Self {
        Self { nodes: 9, routers: 2, ..Self::three(3) }
    }

    /// With so many routers.
    pub fn routers(self, routers: usize) -> Self {
        Self { routers, ..self }
    }

    /// With a proxy between every two processes.
    pub fn proxied(self) -> Self {
        Self { proxied: true, ..self }
    }

    /// With another engine.
    pub fn engine(self, engine: EngineKind) -> Self {
        Self { engine, ..self }
    }

    /// With the configuration changed.
    pub fn tuned(self, tune: impl Fn(&mut Config) + Send + Sync + 'static) -> Self {
        Self { tune: Arc::new(tune), ..self }
    }

    /// The names of the nodes.
    pub fn node_names(&self) -> Vec<String> {
        (1..=self.nodes).map(|n| format!("n{n}")).collect()
    }

    /// The names of the nodes that host `shard`: nodes of its own while there are enough, else going round, so that
    /// the first replicas of the shards are spread.
    pub fn replicas_of(&self, shard: usize) -> Vec<String> {
        let first = if self.nodes >= self.shards * self.replicas { shard * self.replicas } else { shard };
        (0..self.replicas).map(|replica| format!("n{}", (first + replica) % self.nodes + 1)).collect()
    }

    /// The configuration of one process that reaches each node at `address_of(node)`.
    pub fn config(&self, secret_file: &Path, address_of: impl Fn(&str) -> String) -> Config {
        let node = |name: &str| NodeId::parse(name).expect("the harness makes valid names");
        let mut config = Config { name: "harness".to_owned(), ..Config::default() };
        config.secret_file = Some(secret_file.to_owned());
        config.node = self.node_names().iter().map(|n| NodeEntry { id: node(n), address: address_of(n) }).collect();
        config.shard = (0..self.shards)
            .map(|shard| ShardEntry {
                id: ShardId(u32::try_from(shard).expect("few shards")),
                replicas: self.replicas_of(shard).iter().map(|name| node(name)).collect(),
            })
            .collect();
        config.storage.engine = self.engine;
        config.log.filter = "info,openraft=warn".to_owned();
        (self.tune)(&mut config);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_nodes_have_one_replica_each_and_three_nodes_rotate() {
        assert_eq!(Layout::nine().replicas_of(1), ["n4", "n5", "n6"]);
        assert_eq!(Layout::three(3).replicas_of(2), ["n3", "n1", "n2"]);
    }

    #[test]
    fn a_written_configuration_reads_back_as_the_same() {
        let config = Layout::nine().config(Path::new("/s"), |node| format!("127.0.0.1:{}", 7000 + node.len()));
        let text = toml::to_string(&config).expect("serialises");
        assert_eq!(toml::from_str::<Config>(&text).expect("parses"), config);
    }
}
