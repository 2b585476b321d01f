//! The network between the nodes of one process, and its weather.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use common::ids::NodeId;
use common::state::{Campaign, NodeState, Promote};
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shard_node::in_process::InProcess;
use shard_node::transport::{Frames, Lane, PeerError, PeerTransport};

/// What happens to messages for a while.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    /// How many of a hundred messages never arrive.
    lost: u32,
    /// How many of a hundred are answered into nothing: they arrive, the sender never hears.
    unanswered: u32,
    /// How many of a hundred arrive twice.
    doubled: u32,
    /// Longest delay of a message, each way.
    delay_max: Duration,
    /// Messages from the first to the second do not arrive.
    cut: Vec<(NodeId, NodeId)>,
}

impl Weather {
    /// Nothing goes wrong.
    pub(super) fn calm() -> Self {
        Self { lost: 0, unanswered: 0, doubled: 0, delay_max: Duration::ZERO, cut: Vec::new() }
    }

    /// Draws: calm, rain, a node cut off, or a link that carries one way only.
    pub(super) fn drawn(random: &mut StdRng, names: &[NodeId]) -> Self {
        let one = names[random.random_range(0..names.len())].clone();
        let other = names[random.random_range(0..names.len())].clone();
        let rain = Self {
            lost: random.random_range(0..20),
            unanswered: random.random_range(0..15),
            doubled: random.random_range(0..15),
            delay_max: Duration::from_millis(random.random_range(0..60)),
            cut: Vec::new(),
        };
        let apart = names.iter().filter(|name| **name != one);
        match random.random_range(0..4) {
            0 => Self::calm(),
            1 => rain,
            2 => {
                let both = |name: &NodeId| [(one.clone(), name.clone()), (name.clone(), one.clone())];
                Self { cut: apart.flat_map(both).collect(), ..Self::calm() }
            }
            _ => Self { cut: vec![(one.clone(), other)], ..rain },
        }
    }
}

/// All links.
pub(super) struct Network {
    registry: Arc<InProcess>,
    weather: Mutex<Weather>,
    random: Mutex<StdRng>,
}

/// What becomes of one message.
struct Fate {
    arrives: bool,
    answered: bool,
    doubled: bool,
    there: Duration,
    back: Duration,
}

impl Network {
    pub(super) fn new(registry: Arc<InProcess>, seed: u64) -> Self {
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        Self { registry, weather: Mutex::new(Weather::calm()), random }
    }

    pub(super) fn set(&self, weather: Weather) {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// The network as one node has it.
    pub(super) fn seen_by(self: &Arc<Self>, node: NodeId) -> Arc<dyn PeerTransport> {
        Arc::new(Side { node, network: self.clone() })
    }

    fn fate(&self, from: &NodeId, to: &NodeId) -> Fate {
        let weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let mut percent = |chance: u32| random.random_range(0..100) < chance;
        let cut = |from: &NodeId, to: &NodeId| weather.cut.iter().any(|(a, b)| a == from && b == to);
        let arrives = !percent(weather.lost) && !cut(from, to);
        let answered = !percent(weather.unanswered) && !cut(to, from);
        let doubled = percent(weather.doubled);
        let mut delay = || random.random_range(Duration::ZERO..=weather.delay_max);
        Fate { arrives, answered, doubled, there: delay(), back: delay() }
    }
}

/// One node's side of the network.
struct Side {
    node: NodeId,
    network: Arc<Network>,
}

impl Side {
    /// Lets a message meet its fate; `deliver` may be called twice.
    async fn send<T, F>(&self, to: &NodeId, deliver: impl Fn() -> F) -> Result<T, PeerError>
    where
        F: Future<Output = Result<T, PeerError>>,
    {
        let fate = self.network.fate(&self.node, to);
        let nothing = || PeerError::Broken { node: to.clone(), reason: "lost".to_owned() };
        tokio::time::sleep(fate.there).await;
        if !fate.arrives {
            return Err(nothing());
        }
        if fate.doubled {
            // What the first copy was answered is lost with it.
            drop(deliver().await);
        }
        let answer = deliver().await;
        tokio::time::sleep(fate.back).await;
        if fate.answered { answer } else { Err(nothing()) }
    }
}

impl PeerTransport for Side {
    fn replicate<'a>(&'a self, to: &'a NodeId, lane: Lane, message: Bytes) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(self.send(to, move || self.network.registry.replicate(to, lane, message.clone())))
    }

    fn vote<'a>(&'a self, to: &'a NodeId, message: Bytes) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(self.send(to, move || self.network.registry.vote(to, message.clone())))
    }

    fn snapshot<'a>(&'a self, to: &'a NodeId, frames: Frames) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(async move {
            // A stream cannot be sent twice: it arrives or not.
            let fate = self.network.fate(&self.node, to);
            if !fate.arrives {
                return Err(PeerError::Broken { node: to.clone(), reason: "lost".to_owned() });
            }
            self.network.registry.snapshot(to, frames).await
        })
    }

    fn state<'a>(&'a self, to: &'a NodeId) -> BoxFuture<'a, Result<NodeState, PeerError>> {
        Box::pin(self.send(to, move || self.network.registry.state(to)))
    }

    fn promote<'a>(&'a self, to: &'a NodeId, promote: Promote) -> BoxFuture<'a, Result<Campaign, PeerError>> {
        Box::pin(self.send(to, move || self.network.registry.promote(to, promote.clone())))
    }
}
