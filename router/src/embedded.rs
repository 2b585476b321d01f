//! The embedded mode: all nodes of a small cluster in this process.
//!
//! The same replicas, log and engine as in nine processes, only that messages between them take no sockets. How many
//! shards and replicas there are is fixed when the data folder is made and kept in it: documents are placed by it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::config::{Config, NodeEntry, ShardEntry};
use common::ids::{NodeId, ShardId};
use futures::future::{join_all, try_join_all};
use serde::{Deserialize, Serialize};
use shard_node::in_process::InProcess;
use shard_node::node::{self, Fatal, Node, Setup};

pub use shard_node::runtime::{run as on_threads, small_pages};

use crate::shard::local::LocalTransport;
use crate::shard::transport::Transport;

/// The file in the data folder that keeps the layout.
const LAYOUT_FILE: &str = "layout.json";
/// How many shards, and replicas of each, unless the command line says otherwise.
const SHARDS: u32 = 3;
const REPLICAS: u32 = 3;

/// How many shards there are and how many replicas each has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Shards.
    pub shards: u32,
    /// Replicas of each shard, and nodes: every node has a replica of every shard.
    pub replicas: u32,
}

/// Why the embedded mode did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data folder cannot be used.
    #[error("data folder {path}: {source}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder was made with another layout than asked for.
    #[error(
        "data folder {path} was made with {is}; it cannot be opened with {asked} (leave --shards and --replicas out)"
    )]
    Layout {
        /// Which.
        path: PathBuf,
        /// What it was made with.
        is: Layout,
        /// What was asked for.
        asked: Layout,
    },
    /// A node did not start.
    #[error("{path}: {source}")]
    Node {
        /// The data folder.
        path: PathBuf,
        /// What the node said.
        source: node::Error,
    },
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--shards {} --replicas {}", self.shards, self.replicas)
    }
}

impl Layout {
    /// The layout of the folder `data`. A new folder gets what is asked for, or the defaults; an old one keeps its own.
    pub fn of(data: &Path, shards: Option<u32>, replicas: Option<u32>) -> Result<Self, Error> {
        let failed = |source| Error::Folder { path: data.to_owned(), source };
        fs::create_dir_all(data).map_err(failed)?;
        let path = data.join(LAYOUT_FILE);
        match fs::read(&path) {
            Ok(text) => {
                let is: Self = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
                let asked = Self { shards: shards.unwrap_or(is.shards), replicas: replicas.unwrap_or(is.replicas) };
                if asked == is { Ok(is) } else { Err(Error::Layout { path: data.to_owned(), is, asked }) }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let layout = Self { shards: shards.unwrap_or(SHARDS), replicas: replicas.unwrap_or(REPLICAS) };
                layout.keep(data).map_err(failed)?;
                Ok(layout)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Written beside and renamed, then the folder is synced: documents must not outlive the knowledge where they are.
    fn keep(self, data: &Path) -> io::Result<()> {
        let new = data.join("layout.json.new");
        fs::write(&new, serde_json::to_vec(&self)?)?;
        fs::File::open(&new)?.sync_all()?;
        fs::rename(&new, data.join(LAYOUT_FILE))?;
        fs::File::open(data)?.sync_all()
    }

    /// `config` with the nodes and shards of this layout.
    fn fill(self, config: &Config) -> Config {
        let name = |n: u32| NodeId::parse(&format!("e{n}")).expect("a letter and a number");
        let nodes: Vec<NodeId> = (1..=self.replicas).map(name).collect();
        let node = nodes.iter().map(|id| NodeEntry { id: id.clone(), address: "in-process".to_owned() }).collect();
        let shard = (0..self.shards).map(|n| ShardEntry { id: ShardId(n), replicas: nodes.clone() }).collect();
        Config { node, shard, ..config.clone() }
    }
}

/// The nodes of this process.
pub struct Embedded {
    /// The settings they run with: the given ones, and the nodes and shards.
    pub config: Arc<Config>,
    nodes: Vec<Arc<Node>>,
}

impl Embedded {
    /// Opens or makes everything under `data`. `fatal` is called when a replica cannot go on.
    pub async fn start(config: &Config, layout: Layout, data: &Path, fatal: Fatal) -> Result<Self, Error> {
        let config = Arc::new(layout.fill(config));
        let peers = InProcess::new();
        let registry = &peers;
        // Side by side: each opens several engines, which is mostly waiting for the disk.
        let starting = config.node.iter().map(|entry| {
            let (config, peers, fatal) = (config.clone(), peers.clone(), fatal.clone());
            let setup = Setup { config, node: entry.id.clone(), data: data.to_owned(), peers, fatal };
            async {
                let node = Node::start(setup).await?;
                registry.add(&node);
                Ok(node)
            }
        });
        let failed = |source| Error::Node { path: data.to_owned(), source };
        let nodes = try_join_all(starting).await.map_err(failed)?;
        Ok(Self { config, nodes })
    }

    /// A way to each node.
    pub fn transports(&self) -> Vec<Arc<dyn Transport>> {
        let transport = |node: &Arc<Node>| Arc::new(LocalTransport::new(node.clone())) as Arc<dyn Transport>;
        self.nodes.iter().map(transport).collect()
    }

    /// Ends all nodes. There is nobody to hand over to: they all end.
    pub async fn shutdown(&self) {
        join_all(self.nodes.iter().map(|node| node.shutdown())).await;
    }
}

/// Ends the process with code 70 when a replica cannot go on, as a node's own process does.
pub fn exit_on_fatal() -> Fatal {
    node::exit()
}

#[cfg(test)]
mod tests;
