//! Nodes of one process over a hostile network: messages late, lost, doubled, answered into nothing, and nodes cut off
//! and started again, all drawn from one seed; clients that check what they are told.
//!
//! The draws repeat with the seed; the interleaving of tasks does not, since the logs are real files with a thread
//! behind each. A failure is therefore found again by running its seed some times, not by running it once.

mod clients;
mod network;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::config::{Config, EngineKind};
use common::ids::{NodeId, ShardId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shard_node::in_process::InProcess;
use shard_node::node::{Node, Setup};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::Result;
use crate::history::Verdict;
use crate::layout::Layout;
use clients::Clients;
use network::{Network, Weather};

/// The only shard.
const SHARD: ShardId = ShardId(0);
/// How long one kind of weather lasts.
const SPELL: Duration = Duration::from_millis(700);
/// How long after the last storm all must be well.
const PATIENCE: Duration = Duration::from_secs(60);

/// The nodes that run now; clients look here whom to ask.
type Alive = Arc<Mutex<BTreeMap<NodeId, Arc<Node>>>>;

/// One run.
struct World {
    config: Arc<Config>,
    registry: Arc<InProcess>,
    network: Arc<Network>,
    alive: Alive,
    fatal: Arc<Mutex<Vec<String>>>,
    folder: TempDir,
}

/// Runs `spells` of weather drawn from `seed` over nodes and clients, then clears the sky and checks.
pub async fn run(seed: u64, spells: usize) -> Result<Verdict> {
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::start(random.random()).await?;
    let clients = Clients::start(world.alive.clone(), random.random());
    // A replica set is founded when all of it can be reached; bad weather from the beginning may last to the end.
    clients.begun(Instant::now() + PATIENCE).await?;
    for _ in 0..spells {
        world.spell(&mut random).await?;
    }
    world.network.set(Weather::calm());
    let settled = clients.finish(Instant::now() + PATIENCE).await;
    world.stop().await?;
    settled
}

impl World {
    async fn start(seed: u64) -> Result<Self> {
        let layout = Layout::three(1).engine(EngineKind::Memory);
        let mut config = layout.config(&PathBuf::from("unused"), |_| "127.0.0.1:1".to_owned());
        config.secret_file = None;
        config.storage.segment_bytes = 1 << 20;
        let registry = InProcess::new();
        let world = Self {
            config: Arc::new(config),
            network: Arc::new(Network::new(registry.clone(), seed)),
            registry,
            alive: Alive::default(),
            fatal: Arc::default(),
            folder: tempfile::tempdir()?,
        };
        for name in world.names() {
            world.start_node(&name).await?;
        }
        Ok(world)
    }

    fn names(&self) -> Vec<NodeId> {
        self.config.node.iter().map(|entry| entry.id.clone()).collect()
    }

    async fn start_node(&self, name: &NodeId) -> Result<()> {
        let fatal = self.fatal.clone();
        let node = Node::start(Setup {
            config: self.config.clone(),
            node: name.clone(),
            data: self.folder.path().to_owned(),
            peers: self.network.seen_by(name.clone()),
            fatal: Arc::new(move |reason| fatal.lock().unwrap_or_else(PoisonError::into_inner).push(reason)),
        })
        .await?;
        self.registry.add(&node);
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), node);
        Ok(())
    }

    async fn stop_node(&self, name: &NodeId) {
        let node = self.alive.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.registry.remove(name);
        if let Some(node) = node {
            node.shutdown().await;
        }
    }

    /// One spell of weather, perhaps with one node down for its length.
    async fn spell(&self, random: &mut StdRng) -> Result<()> {
        let names = self.names();
        self.network.set(Weather::drawn(random, &names));
        let down = random.random_bool(0.25).then(|| names[random.random_range(0..names.len())].clone());
        if let Some(name) = &down {
            self.stop_node(name).await;
        }
        tokio::time::sleep(SPELL).await;
        if let Some(name) = &down {
            self.start_node(name).await?;
        }
        self.well()
    }

    /// An error if a replica's core has stopped by itself.
    fn well(&self) -> Result<()> {
        let fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        if fatal.is_empty() { Ok(()) } else { Err(format!("a replica ended by itself: {fatal:?}").into()) }
    }

    async fn stop(self) -> Result<()> {
        for name in self.names() {
            self.stop_node(&name).await;
        }
        self.well()
    }
}
