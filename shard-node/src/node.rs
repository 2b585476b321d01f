//! A node: the replicas a process hosts, and the handle to them.
//!
//! Its own HTTP routes and, in the embedded mode, the router call the same methods. Other nodes reach it through a
//! [`PeerTransport`]; what they send is handed to the replica it is meant for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use common::backup::ExportRequest;
use common::change::ChangesRequest;
use common::command::Command;
use common::config::Config;
use common::ids::{ClusterId, Index, NodeId, RaftId, ShardId};
use common::metrics::{Requests, Sheet};
use common::refusal::Refusal;
use common::state::{Campaign, NodeState, Promote, ReplicaState, Role};
use common::view::{ViewAnswer, ViewRequest};
use common::wire::{ChangesAnswer, ReadAnswer, ReadRequest, WriteAnswer};
use futures::StreamExt;
use futures::future::join_all;
use tokio::task::JoinSet;

use crate::dump::{WalEntry, WalPage};
use crate::measure;
use crate::monitor::{self, Watched};
use crate::raft::frames;
use crate::raft::inbound::Refused;
use crate::raft::wire;
use crate::ready::{self, Unready};
use crate::replica::identity::Home;
use crate::replica::{Context, OpenError, Replica};
use crate::transport::{Frames, PeerTransport};

/// Ends the process or whatever stands for it; called when a replica's core has stopped by itself.
pub type Fatal = Arc<dyn Fn(String) + Send + Sync>;

/// What a node is made of.
pub struct Setup {
    /// All settings; the shards and who hosts them among them.
    pub config: Arc<Config>,
    /// Which of the configured nodes this is.
    pub node: NodeId,
    /// Folder for all nodes of this process; each has a folder of its own name in it.
    pub data: PathBuf,
    /// How to reach the other nodes.
    pub peers: Arc<dyn PeerTransport>,
    /// What to do when a replica's core stops by itself; [`exit`] for a process of its own.
    pub fatal: Fatal,
}

/// Ends the process with code 70, after a message. A shard must not be dead inside a living process.
pub fn exit() -> Fatal {
    Arc::new(|reason| {
        tracing::error!(reason, "a replica cannot go on; ending the process");
        std::process::exit(70);
    })
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No `[[node]]` has this name.
    #[error("there is no [[node]] '{0}' in the cluster file")]
    Unknown(NodeId),
    /// A replica's folder cannot be used as it is.
    #[error("shard {shard}: {reason}")]
    Replica {
        /// The shard.
        shard: ShardId,
        /// What is wrong, in plain words.
        reason: String,
    },
}

/// A shard as this node hosts it.
enum Slot {
    Open(Arc<Replica>),
    /// Damaged, and nobody else has a copy: kept as it is, serving nothing.
    Damaged(String),
}

/// See the module.
pub struct Node {
    id: NodeId,
    cluster: ClusterId,
    config: Arc<Config>,
    data: PathBuf,
    requests: Requests,
    slots: BTreeMap<ShardId, Slot>,
    /// Whether this node is being drained; not kept over a restart.
    draining: Arc<AtomicBool>,
    tasks: Mutex<JoinSet<()>>,
}

impl Node {
    /// Opens all replicas this node hosts and begins to watch over them.
    pub async fn start(setup: Setup) -> Result<Arc<Self>, Error> {
        let Setup { config, node: id, data, peers, fatal } = setup;
        let cluster = ClusterId::of(&config.name);
        if !config.node.iter().any(|entry| entry.id == id) {
            return Err(Error::Unknown(id));
        }
        let draining = Arc::new(AtomicBool::new(false));
        let context = Context { config: config.clone(), peers: peers.clone(), fatal, draining: draining.clone() };
        let mut slots = BTreeMap::new();
        for entry in config.shard.iter().filter(|entry| entry.replicas.contains(&id)) {
            let home = Home::new(&data, cluster, &id, entry.id);
            let alone = entry.replicas.len() == 1;
            let slot = open(home, &context, alone).await;
            slots.insert(entry.id, slot.map_err(|reason| Error::Replica { shard: entry.id, reason })?);
        }
        let (requests, tasks) = (Requests::default(), Mutex::default());
        let node = Arc::new(Self { id, cluster, config, data, requests, slots, draining, tasks });
        let replicas = node.replicas().cloned().collect();
        let watched = Watched { config: node.config.clone(), own: node.id.clone(), replicas };
        let watching = monitor::run(watched, peers);
        node.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(watching);
        Ok(node)
    }

    /// This node's name.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    pub(crate) fn replicas(&self) -> impl Iterator<Item = &Arc<Replica>> {
        self.slots.values().filter_map(|slot| match slot {
            Slot::Open(replica) => Some(replica),
            Slot::Damaged(_) => None,
        })
    }

    pub(crate) fn replica(&self, shard: ShardId) -> Result<&Arc<Replica>, Refusal> {
        match self.slots.get(&shard) {
            Some(Slot::Open(replica)) => Ok(replica),
            Some(Slot::Damaged(reason)) => Err(Refusal::OutOfService { shard, reason: reason.clone() }),
            None => Err(Refusal::NotHosted { shard }),
        }
    }

    /// Writes a batch: an outcome for each command, or a refusal of all.
    pub async fn write(&self, shard: ShardId, commands: Vec<Command>) -> WriteAnswer {
        self.replica(shard)?.write(&commands).await
    }

    /// Answers a batch of queries.
    pub async fn read(&self, shard: ShardId, request: ReadRequest) -> ReadAnswer {
        self.replica(shard)?.read(request).await
    }

    /// Answers with changes, after waiting for some if asked to.
    pub async fn changes(&self, shard: ShardId, request: ChangesRequest) -> ChangesAnswer {
        self.replica(shard)?.changes(request).await
    }

    /// Answers with rows of a view, after its index is brought up to date.
    pub async fn view(&self, shard: ShardId, request: ViewRequest) -> ViewAnswer {
        self.replica(shard)?.view(request).await
    }

    /// A shard's part of a backup, block by block.
    pub async fn export(&self, shard: ShardId, request: ExportRequest) -> Result<Frames, Refusal> {
        self.replica(shard)?.export(request).await
    }

    /// What the node and each of its replicas are now.
    pub fn state(&self) -> NodeState {
        let replica = |(shard, slot): (&ShardId, &Slot)| match slot {
            Slot::Open(replica) => replica.state(),
            Slot::Damaged(reason) => self.damaged(*shard, reason),
        };
        NodeState { cluster: self.cluster, node: self.id.clone(), replicas: self.slots.iter().map(replica).collect() }
    }

    /// Whether all replicas here are ready; the first that is not, and why.
    pub fn ready(&self) -> Result<(), Unready> {
        let replicas = self.state().replicas;
        replicas.iter().try_for_each(|replica| ready::check(replica, &self.config.replication))
    }

    /// Writes down what its replicas count and how they are. Looks at disks, so not for the way of a request.
    pub fn measure(&self, sheet: &mut Sheet) {
        measure::node(sheet, &self.id, &self.data);
        for (shard, slot) in &self.slots {
            match slot {
                Slot::Open(replica) => measure::replica(sheet, replica),
                Slot::Damaged(reason) => measure::state(sheet, &self.damaged(*shard, reason)),
            }
        }
    }

    /// The counts of the requests on its port.
    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    fn damaged(&self, shard: ShardId, reason: &str) -> ReplicaState {
        ReplicaState {
            healthy: false,
            reason: Some(reason.to_owned()),
            draining: self.draining.load(Ordering::Relaxed),
            ..ReplicaState::blank(self.id.clone(), shard, RaftId(0), Role::Damaged)
        }
    }

    /// Asks the replica of a shard to stand for election.
    pub async fn campaign(&self, promote: Promote) -> Campaign {
        match self.replica(promote.shard) {
            Ok(replica) => replica.campaign(&promote).await,
            Err(_) => Campaign::NotEligible,
        }
    }

    /// Begins or ends the draining of this node. While it is drained, its monitor gives what it leads to other nodes one
    /// after the other, and it stands for election only if nobody else can; it goes on following, voting and storing.
    /// Forgotten at the next start.
    pub fn drain(&self, drain: bool) -> NodeState {
        if self.draining.swap(drain, Ordering::Relaxed) != drain {
            tracing::info!(node = %self.id, drain, "asked by an admin");
        }
        self.state()
    }

    /// Committed entries of a shard from `from` on, at most `limit`, and only as many as fit an answer.
    pub async fn wal(&self, shard: ShardId, from: Index, limit: usize) -> Result<WalPage, Refusal> {
        let replica = self.replica(shard)?;
        let first = replica.state().first;
        let entries = replica.wal(from.max(first), limit).await?;
        Ok(WalPage { first, entries: entries.into_iter().map(WalEntry::from).collect() })
    }

    /// Waits until an entry at `index` or behind is committed on a shard; `false` if that will not happen here.
    pub async fn committed_past(&self, shard: ShardId, index: Index) -> bool {
        match self.replica(shard) {
            Ok(replica) => replica.group().applied_past(index).await,
            Err(_) => false,
        }
    }

    /// Gives the lead of every shard led here to another node, all at once.
    pub async fn hand_over(&self) {
        join_all(self.replicas().map(|replica| replica.hand_over(None))).await;
    }

    /// Ends all replicas. Their folders can be opened again afterwards.
    pub async fn shutdown(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        join_all(self.replicas().map(|replica| replica.shutdown())).await;
    }

    /// Takes a replication message from another node.
    pub async fn on_replicate(&self, message: Bytes) -> Result<Bytes, Undelivered> {
        let (replica, body) = self.addressee(&message)?;
        Ok(replica.group().on_message(&body).await?)
    }

    /// Takes a request for a vote from another node.
    pub async fn on_vote(&self, message: Bytes) -> Result<Bytes, Undelivered> {
        let (replica, body) = self.addressee(&message)?;
        Ok(replica.group().on_vote(&body).await?)
    }

    /// Takes a snapshot from another node; done when it is installed.
    pub async fn on_snapshot(&self, mut frames: Frames) -> Result<Bytes, Undelivered> {
        let mut start = bytes::BytesMut::new();
        let mut reader = frames::Reader::default();
        let header = loop {
            let bytes = frames.next().await.ok_or(Undelivered("the snapshot has no header".to_owned()))?;
            let bytes = bytes.map_err(|error| Undelivered(error.to_string()))?;
            start.extend_from_slice(&bytes);
            reader.push(&bytes);
            match reader.next().map_err(|error| Undelivered(error.to_string()))? {
                Some(frames::Piece::Header(header)) => break header,
                Some(_) => return Err(Undelivered("the snapshot has no header".to_owned())),
                None => {}
            }
        };
        let replica = self.replica(header.shard).map_err(|refusal| Undelivered(refusal.to_string()))?;
        Ok(replica.group().on_snapshot(&header, start.freeze(), frames).await?)
    }

    fn addressee(&self, message: &Bytes) -> Result<(&Arc<Replica>, Bytes), Undelivered> {
        let (to, body) = wire::open(message).map_err(|error| Undelivered(error.to_string()))?;
        let replica = self.replica(to.shard).map_err(|refusal| Undelivered(refusal.to_string()))?;
        if to.cluster != self.cluster || !replica.group().is(to.target) {
            return Err(Refused::Misdirected.into());
        }
        Ok((replica, body))
    }
}

/// Opens one replica. Damage moves the folder aside and makes a new replica, to be rebuilt from the others.
async fn open(home: Home, context: &Context, alone: bool) -> Result<Slot, String> {
    match Replica::open(home.clone(), context).await {
        Ok(replica) => Ok(Slot::Open(replica)),
        Err(OpenError::Refused(reason)) => Err(reason),
        Err(OpenError::Damaged(reason)) if alone => {
            tracing::error!(shard = %home.shard, reason, "damaged, and there is no other copy; not served");
            Ok(Slot::Damaged(reason))
        }
        Err(OpenError::Damaged(reason)) => {
            home.move_aside(&reason).map_err(|error| error.to_string())?;
            Replica::open(home, context).await.map(Slot::Open).map_err(|error| error.to_string())
        }
    }
}

/// Why a message from another node was not taken, in plain words.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Undelivered(String);

impl From<Refused> for Undelivered {
    fn from(refused: Refused) -> Self {
        Self(refused.to_string())
    }
}
