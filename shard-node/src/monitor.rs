//! Watches over the shards hosted here: asks the other nodes how they are, and takes the steps that `failover` and
//! `housekeeping` decide. Every node does this, so shards heal with no router alive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use common::command::{Command, Op};
use common::config::Config;
use common::failover::{self, Promotion, Rules, View};
use common::health::Health;
use common::ids::{NodeId, RaftId, RequestId, ShardId};
use common::placement::ShardMap;
use common::state::{NodeState, ReplicaState, Role};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::raft::group::Group;
use crate::replica::Replica;
use crate::replica::housekeeping::{self, Known, Step};
use crate::replica::marks::Marks;
use crate::store;
use crate::transport::{PeerError, PeerTransport};

/// Longest time for one step of housekeeping; then it is decided anew.
const STEP_PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts to hand over one shard of a drained node: each costs its writers a silence.
const DRAIN_PAUSE: Duration = Duration::from_secs(5);
/// Entries that the heir of a drained primary may be behind. Writes wait while it gets them; under load some are always
/// on their way.
const DRAIN_BEHIND_MAX: u64 = 512;
/// An upload that nobody names and that got nothing for this long is forgotten. Shorter cuts off slow senders of several
/// attachments, longer keeps what was broken off.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(3_600);
/// Between two looks at disks and logs.
const CHORES_INTERVAL: Duration = Duration::from_secs(1);

/// What is watched over.
pub(crate) struct Watched {
    /// The node's settings.
    pub(crate) config: Arc<Config>,
    /// Its name.
    pub(crate) own: NodeId,
    /// The replicas it hosts.
    pub(crate) replicas: Vec<Arc<Replica>>,
}

/// Watches until the task is aborted.
pub(crate) async fn run(watched: Watched, peers: Arc<dyn PeerTransport>) {
    let interval = Duration::from_millis(watched.config.replication.health_check_interval_ms);
    let mut monitor = Monitor::new(watched, peers);
    // Twice as often as nodes are asked: a campaign is repeated while the voters' leases run out.
    let mut decisions = tokio::time::interval(interval / 2);
    let mut chores = tokio::time::interval(CHORES_INTERVAL);
    decisions.set_missed_tick_behavior(MissedTickBehavior::Delay);
    chores.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked = FuturesUnordered::new();
    let mut even = false;
    loop {
        tokio::select! {
            _ = decisions.tick() => {
                even = !even;
                if even {
                    for name in monitor.next_to_ask() {
                        asked.push(ask(monitor.peers.clone(), name, interval));
                    }
                }
                monitor.act();
            }
            Some((name, answer)) = asked.next() => monitor.heard(&name, answer),
            _ = chores.tick() => monitor.chores(),
        }
    }
}

async fn ask(
    peers: Arc<dyn PeerTransport>,
    name: NodeId,
    patience: Duration,
) -> (NodeId, Option<Result<NodeState, PeerError>>) {
    let answer = tokio::time::timeout(patience, peers.state(&name)).await.ok();
    (name, answer)
}

struct Monitor {
    watched: Watched,
    peers: Arc<dyn PeerTransport>,
    start: Instant,
    others: BTreeMap<NodeId, Health>,
    /// Asked and not answered yet.
    waiting: BTreeSet<NodeId>,
    rules: Rules,
    first_map: ShardMap,
    /// Where the logs were when.
    marks: BTreeMap<ShardId, Marks>,
    /// When a hand-over of a drained node's shard began last.
    drained: BTreeMap<ShardId, Instant>,
    /// Shards with a step under way, and the steps.
    busy: BTreeMap<(ShardId, Kind), tokio::task::AbortHandle>,
    steps: JoinSet<()>,
}

/// Steps of different kinds may be under way for one shard at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Promote,
    Drain,
    Members,
    Purge,
    Sweep,
    Uploads,
}

impl Monitor {
    fn new(watched: Watched, peers: Arc<dyn PeerTransport>) -> Self {
        let (config, own) = (watched.config.clone(), &watched.own);
        let hosted = config.shard.iter().filter(|shard| shard.replicas.contains(own));
        let others: BTreeSet<&NodeId> = hosted.flat_map(|shard| &shard.replicas).filter(|id| *id != own).collect();
        // A node is asked once an interval; two answers missing is silence.
        let patience = Duration::from_millis(2 * config.replication.health_check_interval_ms);
        let mut shards: Vec<ShardId> = config.shard.iter().map(|shard| shard.id).collect();
        shards.sort_unstable();
        Self {
            peers,
            start: Instant::now(),
            others: others.into_iter().map(|id| (id.clone(), Health::new(patience))).collect(),
            waiting: BTreeSet::new(),
            rules: Rules { lease: config.replication.lease() },
            first_map: ShardMap::even(&shards),
            marks: BTreeMap::new(),
            drained: BTreeMap::new(),
            busy: BTreeMap::new(),
            steps: JoinSet::new(),
            watched,
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn next_to_ask(&mut self) -> Vec<NodeId> {
        let idle: Vec<NodeId> = self.others.keys().filter(|name| !self.waiting.contains(*name)).cloned().collect();
        self.waiting.extend(idle.iter().cloned());
        idle
    }

    fn heard(&mut self, name: &NodeId, answer: Option<Result<NodeState, PeerError>>) {
        self.waiting.remove(name);
        let now = self.now();
        let Some(health) = self.others.get_mut(name) else { return };
        match answer {
            Some(Ok(state)) => health.answered(now, state),
            Some(Err(_)) => health.failed(),
            // Silence; its patience runs out by itself.
            None => {}
        }
    }

    /// Decides for each shard, and begins what was decided.
    fn act(&mut self) {
        while self.steps.try_join_next().is_some() {}
        self.busy.retain(|_, step| !step.is_finished());
        for replica in self.watched.replicas.clone() {
            let own = replica.state();
            let views = self.views(&own);
            if let Some(promotion) = failover::decide(&views, &self.rules) {
                self.promote(&replica, promotion);
            }
            let drained = views.iter().filter(|view| view.state.draining && view.state.node != own.node);
            replica.note_drained(drained.map(|view| view.state.node.clone()).collect());
            if own.role == Role::Primary && own.draining {
                self.drain(&replica, &own, &views);
            }
            if own.role == Role::Empty || own.role == Role::Primary {
                self.keep_house(&replica, &own);
            }
        }
    }

    fn views(&self, own: &ReplicaState) -> Vec<View> {
        let now = self.now();
        let mut views = vec![View { state: own.clone(), reachable: true, age: Duration::ZERO }];
        for health in self.others.values() {
            let Some((state, age)) = health.last(now) else { continue };
            let of_shard = state.replicas.iter().find(|replica| replica.shard == own.shard);
            views.extend(of_shard.map(|state| View { state: state.clone(), reachable: !health.is_suspect(now), age }));
        }
        views
    }

    fn begin(&mut self, shard: ShardId, kind: Kind, step: impl Future<Output = ()> + Send + 'static) {
        if !self.busy.contains_key(&(shard, kind)) {
            self.busy.insert((shard, kind), self.steps.spawn(step));
        }
    }

    fn promote(&mut self, replica: &Arc<Replica>, promotion: Promotion) {
        let own = (promotion.node == self.watched.own).then(|| replica.clone());
        let peers = self.peers.clone();
        let patience = self.rules.lease;
        self.begin(promotion.promote.shard, Kind::Promote, async move {
            let Promotion { node, promote } = promotion;
            tracing::info!(shard = %promote.shard, %node, term = %promote.term, "no primary; asking to stand for election");
            if let Some(own) = own {
                own.campaign(&promote).await;
            } else if let Ok(Err(error)) = tokio::time::timeout(patience, peers.promote(&node, promote)).await {
                tracing::debug!(%error, "could not be asked");
            }
        });
    }

    /// Hands over what a drained node leads: one shard at a time, so that the silences do not add up, and only to a
    /// replica that can take over at once.
    fn drain(&mut self, replica: &Arc<Replica>, own: &ReplicaState, views: &[View]) {
        let busy = self.busy.keys().any(|(_, kind)| *kind == Kind::Drain);
        let pausing = self.drained.get(&own.shard).is_some_and(|at| at.elapsed() < DRAIN_PAUSE);
        if busy || pausing {
            return;
        }
        let Some(heir) = failover::heir(own, views, DRAIN_BEHIND_MAX) else { return };
        self.drained.insert(own.shard, Instant::now());
        let replica = replica.clone();
        self.begin(own.shard, Kind::Drain, async move { replica.hand_over(Some(&heir)).await });
    }

    fn keep_house(&mut self, replica: &Arc<Replica>, own: &ReplicaState) {
        let shard = own.shard;
        let config = self.watched.config.clone();
        let Some(entry) = config.shard.iter().find(|entry| entry.id == shard) else { return };
        let now = self.now();
        let fresh = self.others.values().filter(|health| !health.is_suspect(now));
        let of_shard = |state: &NodeState| state.replicas.iter().find(|replica| replica.shard == shard).cloned();
        let others: Vec<ReplicaState> =
            fresh.filter_map(|health| health.last(now)).filter_map(|(state, _)| of_shard(state)).collect();
        let group = replica.group().clone();
        let has_slots = own.role != Role::Primary || has_slots(&group);
        let missing = |id: RaftId| {
            let (matched, last) = group.matched(id);
            matched.map(|matched| last.saturating_sub(matched))
        };
        let known = Known { own, configured: &entry.replicas, others: &others, has_slots, missing: &missing };
        let Some(step) = housekeeping::decide(&known) else { return };
        let adopt = Op::AdoptSlots { version: self.first_map.version, slots: self.first_map.slots_of(shard) };
        let replica = replica.clone();
        self.begin(shard, Kind::Members, async move {
            let taken = tokio::time::timeout(STEP_PATIENCE, take(&replica, &step, adopt)).await;
            match taken.unwrap_or_else(|_| Err("it took too long".to_owned())) {
                Ok(()) => tracing::info!(%shard, ?step, "done"),
                Err(reason) => tracing::warn!(%shard, ?step, reason, "not done; it is decided anew"),
            }
        });
    }

    /// What needs no other node.
    fn chores(&mut self) {
        for replica in self.watched.replicas.clone() {
            replica.check_room();
            let shard = replica.shard();
            let purging = replica.clone();
            self.begin(shard, Kind::Purge, async move {
                if let Err(reason) = purging.purge().await {
                    tracing::warn!(%shard, reason, "the log was not purged");
                }
            });
            let state = replica.state();
            let old = self.marks.entry(shard).or_default().note(self.start.elapsed(), state.applied, UPLOAD_PATIENCE);
            if let Some(before) = old.filter(|_| state.role == Role::Primary) {
                let forgetting = replica.clone();
                self.begin(shard, Kind::Uploads, async move {
                    if let Err(reason) = forgetting.forget_uploads(before).await {
                        tracing::warn!(%shard, reason, "uploads that were broken off were not forgotten");
                    }
                });
            }
            self.begin(shard, Kind::Sweep, async move {
                if let Err(error) = replica.sweep().await {
                    tracing::warn!(%shard, %error, "what dropped databases left was not cleared away");
                }
                if let Err(error) = replica.sweep_views().await {
                    tracing::warn!(%shard, %error, "what was left of indexes of views was not cleared away");
                }
            });
        }
    }
}

fn has_slots(group: &Group) -> bool {
    // If it cannot be read, adopting slots would not help.
    group.read(|reader| store::apply::slots(reader).map_or(true, |slots| slots.version > 0))
}

async fn take(replica: &Replica, step: &Step, adopt: Op) -> Result<(), String> {
    let group = replica.group();
    match step {
        Step::Found(members) => group.initialize(members).await,
        Step::AdoptSlots => {
            // The same command from two primaries in a row does no harm: the second finds the map known.
            let request = RequestId::from_key("slots", &replica.shard().to_string());
            let adopted = replica.write(&[Command { request, retry: false, op: adopt }]).await;
            adopted.map(drop).map_err(|refusal| refusal.to_string())
        }
        Step::AddLearner(peer) => group.add_learner(peer).await,
        Step::RemoveLearner(id) => group.remove_learner(*id).await,
        Step::ChangeVoters(voters) => group.change_voters(voters.clone()).await,
    }
}
