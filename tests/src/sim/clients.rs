//! Clients that write and read single documents on whichever node says it leads, and record what they are told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use common::command::{Address, Body, Command, Edit, EditKind, Op, Outcome};
use common::ids::{DbUid, DocId, RequestId, Slot};
use common::query::{Answer, Consistency, Query, Revs};
use common::refusal::Refusal;
use common::rev::Rev;
use common::state::Role;
use common::wire::ReadRequest;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shard_node::node::Node;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Alive, SHARD};
use crate::Result;
use crate::history::{History, Verdict};

const CLIENTS: usize = 6;
const KEYS_PER_CLIENT: usize = 3;
/// A client does not wait longer for an answer; what it asked may still happen.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(3);
/// A system database: its documents live on every shard map's first shard without any slots.
const DB: DbUid = DbUid::DBS;

pub(super) struct Clients {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    alive: Alive,
    history: History,
    stop: AtomicBool,
}

/// A version and the revision that carries it; version 0 is not there.
type Found = (u64, Option<Rev>);

impl Clients {
    pub(super) fn start(alive: Alive, seed: u64) -> Self {
        let shared = Arc::new(Shared { alive, history: History::default(), stop: AtomicBool::new(false) });
        let mut tasks = JoinSet::new();
        for client in 0..CLIENTS {
            let shared = shared.clone();
            let random = StdRng::seed_from_u64(seed.wrapping_add(client as u64));
            tasks.spawn(async move { shared.work(client, random).await });
        }
        Self { shared, tasks }
    }

    /// Waits for the first acknowledged write.
    pub(super) async fn begun(&self, until: Instant) -> Result<()> {
        while (0..CLIENTS).flat_map(keys).all(|key| self.shared.history.floor(&key) == 0) {
            if Instant::now() >= until {
                return Err("nothing is acknowledged although the network is calm".into());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Ends the clients, reads everything back before `until`, and compares.
    pub(super) async fn finish(mut self, until: Instant) -> Result<Verdict> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        let mut random = StdRng::seed_from_u64(0);
        let mut now = BTreeMap::new();
        for key in (0..CLIENTS).flat_map(keys) {
            let (version, _) = loop {
                if let Some(found) = self.shared.read(&key, &mut random).await {
                    break found;
                }
                if Instant::now() >= until {
                    return Err(format!("{key} cannot be read although the network is calm").into());
                }
                tokio::time::sleep(PAUSE).await;
            };
            if version > 0 {
                now.insert(key, version);
            }
        }
        Ok(self.shared.history.check(&now))
    }
}

fn keys(client: usize) -> impl Iterator<Item = String> {
    (0..KEYS_PER_CLIENT).map(move |key| format!("c{client}-k{key}"))
}

impl Shared {
    async fn work(&self, client: usize, mut random: StdRng) {
        let keys: Vec<String> = keys(client).collect();
        while !self.stop.load(Ordering::Relaxed) {
            let key = &keys[random.random_range(0..keys.len())];
            // Each write names what a linearizable read just said, so a stale read shows as a conflict too.
            if let Some((_, parent)) = self.read(key, &mut random).await {
                self.write(key, parent, &mut random).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A node: mostly one that says it leads, sometimes any, since an old primary does not know that it is one.
    fn node(&self, random: &mut StdRng) -> Option<Arc<Node>> {
        let alive: Vec<Arc<Node>> =
            self.alive.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let leads = |node: &&Arc<Node>| node.state().replicas.iter().any(|replica| replica.role == Role::Primary);
        let leading: Vec<Arc<Node>> = alive.iter().filter(leads).cloned().collect();
        let choice = if leading.is_empty() || random.random_bool(0.1) { alive } else { leading };
        (!choice.is_empty()).then(|| choice[random.random_range(0..choice.len())].clone())
    }

    async fn read(&self, key: &str, random: &mut StdRng) -> Option<Found> {
        let node = self.node(random)?;
        let id = DocId::parse(key).expect("our keys are valid");
        let query = Query::Doc { db: DB, id, revs: Revs::Winner, tree: false };
        let floor = self.history.floor(key);
        let request = ReadRequest { consistency: Consistency::Linearizable, last_resort: false, queries: vec![query] };
        let reply = tokio::time::timeout(PATIENCE, node.read(SHARD, request)).await.ok()?.ok()?;
        let found = match reply.answers.into_iter().next() {
            Some(Answer::Doc(Some(doc))) => {
                let body = doc.found.into_iter().next()?;
                let json: serde_json::Value = serde_json::from_slice(&body.json).ok()?;
                (json["v"].as_u64()?, Some(body.rev))
            }
            Some(Answer::Doc(None)) => (0, None),
            _ => return None,
        };
        self.history.observed(key, floor, found.0);
        Some(found)
    }

    async fn write(&self, key: &str, parent: Option<Rev>, random: &mut StdRng) {
        let Some(node) = self.node(random) else { return };
        let version = self.history.begin(key);
        let json = Bytes::from(format!("{{\"v\":{version}}}"));
        let mut digest = [0; 16];
        digest[..8].copy_from_slice(&version.to_be_bytes());
        let edit = Edit {
            doc: Address { db: DB, slot: Slot(0), id: DocId::parse(key).expect("our keys are valid") },
            parent,
            kind: EditKind::Update,
            body: Body { json, digest },
            revs_limit: 1000,
        };
        let request = RequestId(uuid::Uuid::from_u128(random.random()));
        let command = Command { request, retry: false, op: Op::Edit(edit) };
        match tokio::time::timeout(PATIENCE, node.write(SHARD, vec![command])).await {
            Ok(Ok(outcomes)) => match outcomes.as_slice() {
                [Outcome::Written { .. }] => self.history.acknowledged(key, version),
                [_] => self.history.failed(key, version),
                _ => self.history.unknown(key, version),
            },
            Err(_) | Ok(Err(Refusal::UnknownOutcome { .. })) => self.history.unknown(key, version),
            Ok(Err(_)) => self.history.failed(key, version),
        }
    }
}
