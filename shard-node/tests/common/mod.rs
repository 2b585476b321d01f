//! Nodes of one process for tests: started, cut off, stopped, and asked until they agree.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::command::{Address, Body, Command, Edit, EditKind, Op, Outcome};
use common::config::{Config, EngineKind, NodeEntry, ShardEntry};
use common::ids::{DbUid, DocId, NodeId, RequestId, ShardId, Slot};
use common::placement::ShardMap;
use common::query::{Answer, Consistency, Query, Revs};
use common::refusal::Refusal;
use common::rev::Rev;
use common::state::{ReplicaState, Role};
use common::wire::{ReadAnswer, ReadRequest};
use futures::future::BoxFuture;
use shard_node::in_process::InProcess;
use shard_node::node::{Node, Setup};
use shard_node::transport::{Frames, Lane, PeerError, PeerTransport};
use tempfile::TempDir;

pub(crate) const SHARD: ShardId = ShardId(0);
pub(crate) const DB: DbUid = DbUid::DBS;

/// Three nodes with one shard on each, and links that can be cut.
pub(crate) struct Cluster {
    pub(crate) config: Arc<Config>,
    pub(crate) registry: Arc<InProcess>,
    pub(crate) links: Arc<Links>,
    pub(crate) dir: TempDir,
    pub(crate) nodes: BTreeMap<NodeId, Arc<Node>>,
    pub(crate) fatal: Arc<Mutex<Vec<String>>>,
}

/// Which nodes are cut off from the others.
#[derive(Default)]
pub(crate) struct Links {
    cut: Mutex<Vec<NodeId>>,
}

/// The transport of one node, over links that can be cut.
struct Wire {
    own: NodeId,
    registry: Arc<InProcess>,
    links: Arc<Links>,
}

impl Wire {
    fn check(&self, to: &NodeId) -> Result<(), PeerError> {
        let cut = self.links.cut.lock().unwrap();
        if cut.contains(to) != cut.contains(&self.own) || (cut.contains(to) && *to != self.own) {
            return Err(PeerError::Unreachable { node: to.clone(), reason: "cut".to_owned() });
        }
        Ok(())
    }
}

impl PeerTransport for Wire {
    fn replicate<'a>(&'a self, to: &'a NodeId, lane: Lane, message: Bytes) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(async move {
            self.check(to)?;
            let answer = self.registry.replicate(to, lane, message).await;
            self.check(to)?;
            answer
        })
    }
    fn vote<'a>(&'a self, to: &'a NodeId, message: Bytes) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(async move {
            self.check(to)?;
            self.registry.vote(to, message).await
        })
    }
    fn snapshot<'a>(&'a self, to: &'a NodeId, frames: Frames) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(async move {
            self.check(to)?;
            self.registry.snapshot(to, frames).await
        })
    }
    fn state<'a>(&'a self, to: &'a NodeId) -> BoxFuture<'a, Result<common::state::NodeState, PeerError>> {
        Box::pin(async move {
            self.check(to)?;
            self.registry.state(to).await
        })
    }
    fn promote<'a>(
        &'a self,
        to: &'a NodeId,
        promote: common::state::Promote,
    ) -> BoxFuture<'a, Result<common::state::Campaign, PeerError>> {
        Box::pin(async move {
            self.check(to)?;
            self.registry.promote(to, promote).await
        })
    }
}

pub(crate) fn name(n: u32) -> NodeId {
    NodeId::parse(&format!("n{n}")).unwrap()
}

pub(crate) fn config(nodes: u32, engine: EngineKind) -> Config {
    let ids: Vec<NodeId> = (1..=nodes).map(name).collect();
    let mut config = Config { name: "test".to_owned(), ..Config::default() };
    config.node = ids.iter().map(|id| NodeEntry { id: id.clone(), address: "127.0.0.1:1".to_owned() }).collect();
    config.shard = vec![ShardEntry { id: SHARD, replicas: ids }];
    config.storage.engine = engine;
    config.storage.segment_bytes = 1 << 20;
    config
}

impl Cluster {
    pub(crate) async fn start(engine: EngineKind) -> Self {
        Self::with(config(3, engine)).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let mut cluster = Self {
            config: Arc::new(config),
            registry: InProcess::new(),
            links: Arc::default(),
            dir: tempfile::tempdir().unwrap(),
            nodes: BTreeMap::new(),
            fatal: Arc::default(),
        };
        for entry in cluster.config.clone().node.iter() {
            cluster.start_node(&entry.id).await;
        }
        cluster
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub(crate) async fn start_node(&mut self, id: &NodeId) {
        let wire = Wire { own: id.clone(), registry: self.registry.clone(), links: self.links.clone() };
        let fatal = self.fatal.clone();
        let setup = Setup {
            config: self.config.clone(),
            node: id.clone(),
            data: self.data(),
            peers: Arc::new(wire),
            fatal: Arc::new(move |reason| fatal.lock().unwrap().push(reason)),
        };
        let node = Node::start(setup).await.unwrap();
        self.registry.add(&node);
        self.nodes.insert(id.clone(), node);
    }

    pub(crate) async fn stop_node(&mut self, id: &NodeId) {
        self.registry.remove(id);
        let node = self.nodes.remove(id).unwrap();
        node.shutdown().await;
    }

    pub(crate) fn cut(&self, id: &NodeId) {
        self.links.cut.lock().unwrap().push(id.clone());
    }

    pub(crate) fn mend(&self) {
        self.links.cut.lock().unwrap().clear();
    }

    pub(crate) fn states(&self) -> Vec<ReplicaState> {
        self.nodes.values().flat_map(|node| node.state().replicas).collect()
    }

    /// Waits for a primary that leads with a majority and has its slots; its node.
    pub(crate) async fn primary(&self) -> NodeId {
        self.primary_but(None).await
    }

    pub(crate) async fn primary_but(&self, not: Option<&NodeId>) -> NodeId {
        eventually("a primary", || {
            let states = self.states();
            let leads = |state: &&ReplicaState| {
                state.role == Role::Primary && state.heard_ms.is_some_and(|ms| ms < 300) && Some(&state.node) != not
            };
            states.iter().find(leads).map(|state| state.node.clone())
        })
        .await
    }

    /// Writes to whoever leads, as a router would, until it is known what became of it.
    pub(crate) async fn put(&self, id: &str, parent: Option<Rev>, json: &str) -> Outcome {
        let command = put(id, parent, json);
        self.write(command).await
    }

    pub(crate) async fn write(&self, command: Command) -> Outcome {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let mut refusals = Vec::new();
            for node in self.nodes.values() {
                match node.write(SHARD, vec![command.clone()]).await {
                    Ok(outcomes) => match outcomes.into_iter().next().unwrap() {
                        // Slots come with the first command of the first primary.
                        Outcome::NotOwner { .. } => {}
                        outcome => return outcome,
                    },
                    Err(refusal) => refusals.push(refusal),
                }
            }
            assert!(tokio::time::Instant::now() < deadline, "nobody takes writes: {refusals:?} {:#?}", self.states());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn get(
        &self,
        node: &NodeId,
        id: &str,
        consistency: Consistency,
    ) -> Result<Option<Bytes>, Refusal> {
        let query = Query::Doc { db: DB, id: DocId::parse(id).unwrap(), revs: Revs::Winner, tree: false };
        let request = ReadRequest { consistency, last_resort: false, queries: vec![query] };
        let answer: ReadAnswer = self.nodes[node].read(SHARD, request).await;
        match answer?.answers.remove(0) {
            Answer::Doc(found) => Ok(found.map(|doc| doc.found[0].json.clone())),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until all replicas have applied the same, and that is not nothing.
    pub(crate) async fn agree(&self) {
        eventually("agreement", || {
            let states = self.states();
            let first = &states[0];
            let same = states.iter().all(|state| state.applied == first.applied && state.last == first.last);
            (same && first.applied.0 > 0).then_some(())
        })
        .await;
    }

    pub(crate) async fn stop(self) {
        for node in self.nodes.values() {
            node.shutdown().await;
        }
        assert_eq!(*self.fatal.lock().unwrap(), Vec::<String>::new());
    }
}

pub(crate) fn put(id: &str, parent: Option<Rev>, json: &str) -> Command {
    let id = DocId::parse(id).unwrap();
    let doc = Address { db: DB, slot: Slot(7), id };
    let body = Body { json: Bytes::copy_from_slice(json.as_bytes()), digest: [json.len() as u8; 16] };
    let op = Op::Edit(Edit { doc, parent, kind: EditKind::Update, body, revs_limit: 1000 });
    Command { request: RequestId(uuid::Uuid::new_v4()), retry: false, op }
}

pub(crate) fn rev(outcome: &Outcome) -> Rev {
    match outcome {
        Outcome::Written { rev, .. } => rev.clone(),
        other => panic!("not written: {other:?}"),
    }
}

pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn first_map() -> ShardMap {
    ShardMap::even(&[SHARD])
}
