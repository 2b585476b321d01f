//! One shard of three nodes that exist only here: what a router does when they refuse, vanish and hang.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use common::backup::ExportRequest;
use common::ids::{ClusterId, RaftId, RequestId, Seq, Term};
use common::query::{DbCounters, Query};
use common::rev::Rev;
use common::state::ReplicaState;
use common::wire::{ChangesAnswer, ReadAnswer, ReadReply, WriteAnswer};
use futures::StreamExt;
use futures::future::BoxFuture;
use uuid::Uuid;

use super::*;
use crate::shard::transport::ExportStream;

const SHARD: ShardId = ShardId(0);

fn id(name: &str) -> NodeId {
    NodeId::parse(name).expect("valid")
}

/// What the three nodes have in common.
#[derive(Default)]
struct World {
    primary: Option<NodeId>,
    term: u64,
    /// Refuse connections.
    dead: BTreeSet<NodeId>,
    /// Take requests and never answer.
    hung: BTreeSet<NodeId>,
    /// Further behind than an eventual read may be, by so many milliseconds.
    behind: BTreeMap<NodeId, u64>,
    /// The next write takes effect, but its answer is lost.
    lose_answer: bool,
    /// Requests that took effect, in order.
    effects: Vec<RequestId>,
    /// Whether each command that was sent said that it was a retry.
    retries: Vec<bool>,
    /// Requests are not remembered: whether a retry was done before is not known.
    forgetful: bool,
    /// Nodes that were asked, in order.
    asked: Vec<NodeId>,
}

struct Fake {
    node: NodeId,
    world: Arc<Mutex<World>>,
}

impl Fake {
    /// Passes if this node may do the primary's work.
    async fn pass(&self) -> Result<(), Refusal> {
        let (dead, hung, primary) = {
            let mut world = self.world.lock().expect("no panic");
            world.asked.push(self.node.clone());
            (world.dead.contains(&self.node), world.hung.contains(&self.node), world.primary.clone())
        };
        if dead {
            return Err(Refusal::Unreachable(self.node.clone()));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        if hung {
            std::future::pending::<()>().await;
        }
        if primary.as_ref() == Some(&self.node) { Ok(()) } else { Err(Refusal::NotPrimary { shard: SHARD, primary }) }
    }
}

impl Transport for Fake {
    fn node(&self) -> &NodeId {
        &self.node
    }

    fn write<'a>(&'a self, shard: ShardId, commands: &'a [Command]) -> BoxFuture<'a, WriteAnswer> {
        async move {
            self.pass().await?;
            let mut world = self.world.lock().expect("no panic");
            world.retries.extend(commands.iter().map(|command| command.retry));
            if world.forgetful && commands.iter().any(|command| command.retry) {
                return Ok(commands.iter().map(|_| Outcome::Forgotten).collect());
            }
            for command in commands {
                if !world.effects.contains(&command.request) {
                    world.effects.push(command.request);
                }
            }
            if std::mem::take(&mut world.lose_answer) {
                return Err(Refusal::UnknownOutcome { shard });
            }
            let rev = Rev::parse("1-a").expect("valid");
            Ok(commands.iter().map(|_| Outcome::Written { rev: rev.clone(), seq: Seq(1) }).collect())
        }
        .boxed()
    }

    fn read<'a>(&'a self, _: ShardId, request: &'a ReadRequest) -> BoxFuture<'a, ReadAnswer> {
        async move {
            let behind = match (request.consistency, self.pass().await) {
                (Consistency::Linearizable, passed) => passed.map(|()| None)?,
                (Consistency::Eventual, Err(gone @ Refusal::Unreachable(_))) => return Err(gone),
                (Consistency::Eventual, _) => self.world.lock().expect("no panic").behind.get(&self.node).copied(),
            };
            if behind.is_some() && !request.last_resort {
                return Err(Refusal::TooFarBehind { shard: SHARD });
            }
            let answers = request.queries.iter().map(|_| Answer::Info(DbCounters::default())).collect();
            Ok(ReadReply { answers, lag_ms: behind.unwrap_or(0) })
        }
        .boxed()
    }

    fn changes<'a>(&'a self, _: ShardId, request: &'a ChangesRequest) -> BoxFuture<'a, ChangesAnswer> {
        async move {
            self.pass().await?;
            tokio::time::sleep(Duration::from_millis(request.wait_ms)).await;
            self.pass().await?;
            Ok(ChangesPage { rows: Vec::new(), more: false, last_seq: Seq(0), pending: 0, dropped: false })
        }
        .boxed()
    }

    fn view<'a>(&'a self, shard: ShardId, _: &'a common::view::ViewRequest) -> BoxFuture<'a, common::view::ViewAnswer> {
        async move { Err(Refusal::NotHosted { shard }) }.boxed()
    }

    fn state(&self) -> BoxFuture<'_, Result<NodeState, Refusal>> {
        async move {
            let (dead, hung, primary, term) = {
                let world = self.world.lock().expect("no panic");
                (world.dead.contains(&self.node), world.hung.contains(&self.node), world.primary.clone(), world.term)
            };
            if dead {
                return Err(Refusal::Unreachable(self.node.clone()));
            }
            if hung {
                std::future::pending::<()>().await;
            }
            let role = if primary.as_ref() == Some(&self.node) { Role::Primary } else { Role::Replica };
            let replica = ReplicaState {
                term: Term(term),
                primary,
                heard_ms: Some(0),
                ..ReplicaState::blank(self.node.clone(), SHARD, RaftId(1), role)
            };
            Ok(NodeState { cluster: ClusterId::of("c"), node: self.node.clone(), replicas: vec![replica] })
        }
        .boxed()
    }

    fn promote<'a>(&'a self, _: &'a Promote) -> BoxFuture<'a, Result<Campaign, Refusal>> {
        async { Ok(Campaign::Started) }.boxed()
    }

    fn drain(&self, _: Drain) -> BoxFuture<'_, Result<NodeState, Refusal>> {
        self.state()
    }

    fn export<'a>(
        &'a self,
        _shard: ShardId,
        request: &'a ExportRequest,
    ) -> BoxFuture<'a, Result<ExportStream, Refusal>> {
        async move {
            self.pass().await?;
            let told = format!("{} of {}", self.node, request.backup);
            Ok(futures::stream::iter([Ok(told.into())]).boxed())
        }
        .boxed()
    }

    fn wal(&self, shard: ShardId, _: Index, _: bool) -> BoxFuture<'_, Result<WalStream, Refusal>> {
        async move { Err(Refusal::NotHosted { shard }) }.boxed()
    }
}

struct Fixture {
    cluster: Cluster,
    world: Arc<Mutex<World>>,
}

/// n1 leads.
async fn fixture() -> Fixture {
    let world = Arc::new(Mutex::new(World { primary: Some(id("n1")), term: 1, ..World::default() }));
    let nodes = ["n1", "n2", "n3"].map(id);
    let fake = |node: &NodeId| Arc::new(Fake { node: node.clone(), world: world.clone() }) as Arc<dyn Transport>;
    let shards = [ShardEntry { id: SHARD, replicas: nodes.to_vec() }];
    let cluster = Cluster::start(&Config::default(), nodes.iter().map(fake).collect(), &shards);
    tokio::time::sleep(Duration::from_millis(50)).await;
    Fixture { cluster, world }
}

fn command() -> Command {
    Command { request: RequestId(Uuid::new_v4()), retry: false, op: Op::DropDb { db: DbUid(Uuid::new_v4()) } }
}

impl Fixture {
    fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().expect("no panic"));
    }

    fn elect(&self, name: &str) {
        self.change(|world| {
            world.primary = Some(id(name));
            world.term += 1;
        });
    }

    fn spawn_write(&self) -> (RequestId, Timed) {
        let (cluster, command) = (self.cluster.clone(), command());
        let request = command.request;
        let task = tokio::spawn(async move {
            let begun = Instant::now();
            (cluster.write(SHARD, command).await, begun.elapsed())
        });
        (request, task)
    }

    fn effects(&self) -> Vec<RequestId> {
        self.world.lock().expect("no panic").effects.clone()
    }
}

use common::command::Op;

/// A write under way: what came of it, and how long it took.
type Timed = tokio::task::JoinHandle<(Result<Outcome, Refusal>, Duration)>;

#[tokio::test(start_paused = true)]
async fn a_known_primary_is_asked_at_once_and_nobody_else() {
    let fixture = fixture().await;
    let begun = Instant::now();
    fixture.cluster.write(SHARD, command()).await.expect("written");
    assert_eq!(begun.elapsed().as_millis(), 1);
    assert_eq!(fixture.world.lock().expect("no panic").asked, [id("n1")]);
}

#[tokio::test(start_paused = true)]
async fn a_write_rides_out_a_failover_and_takes_effect_once() {
    let fixture = fixture().await;
    fixture.change(|world| {
        world.dead.insert(id("n1"));
        world.primary = None;
    });
    let (request, task) = fixture.spawn_write();
    tokio::time::sleep(Duration::from_millis(700)).await;
    fixture.elect("n3");
    let (answer, elapsed) = task.await.expect("no panic");
    assert!(matches!(answer, Ok(Outcome::Written { .. })), "{answer:?}");
    assert!(elapsed < Duration::from_millis(760), "resumes at once: {elapsed:?}");
    assert_eq!(fixture.effects(), [request]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_under_the_same_request_id() {
    let fixture = fixture().await;
    fixture.change(|world| world.lose_answer = true);
    let (request, task) = fixture.spawn_write();
    assert!(matches!(task.await.expect("no panic").0, Ok(Outcome::Written { .. })));
    assert_eq!(fixture.effects(), [request], "twice sent, once done");
    assert_eq!(fixture.world.lock().expect("no panic").retries, [false, true], "and the second time it says so");
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_nobody_remembers_is_called_unknown() {
    let fixture = fixture().await;
    for many in [false, true] {
        fixture.change(|world| (world.lose_answer, world.forgetful) = (true, true));
        let unknown = Refusal::UnknownOutcome { shard: SHARD };
        match many {
            false => assert_eq!(fixture.cluster.write(SHARD, command()).await, Err(unknown)),
            true => assert_eq!(fixture.cluster.write_many(SHARD, vec![command(), command()]).await, Err(unknown)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_hangs_is_left_as_soon_as_another_one_leads() {
    let fixture = fixture().await;
    fixture.change(|world| {
        world.hung.insert(id("n1"));
    });
    let (_, task) = fixture.spawn_write();
    tokio::time::sleep(Duration::from_millis(600)).await;
    fixture.elect("n2");
    let (answer, elapsed) = task.await.expect("no panic");
    assert!(matches!(answer, Ok(Outcome::Written { .. })), "{answer:?}");
    assert!(elapsed < Duration::from_millis(800), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_primary_the_answer_is_no_quorum_within_two_seconds() {
    let fixture = fixture().await;
    fixture.change(|world| {
        world.dead.insert(id("n1"));
        world.primary = None;
    });
    let (_, task) = fixture.spawn_write();
    let begun = Instant::now();
    let read = fixture.cluster.read(SHARD, Consistency::Linearizable, Query::Info { db: DbUid::DBS }).await;
    assert_eq!(read, Err(Refusal::NoQuorum { shard: SHARD }));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let (answer, elapsed) = task.await.expect("no panic");
    assert_eq!(answer, Err(Refusal::NoQuorum { shard: SHARD }));
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    let eventual = fixture.cluster.read(SHARD, Consistency::Eventual, Query::Info { db: DbUid::DBS }).await;
    assert!(eventual.is_ok(), "whoever answers will do: {eventual:?}");
}

/// An eventual read: how old the answer may be, and how long it took.
async fn eventual(fixture: &Fixture) -> (Result<u64, Refusal>, u128) {
    let begun = Instant::now();
    let read = fixture.cluster.read(SHARD, Consistency::Eventual, Query::Info { db: DbUid::DBS }).await;
    (read.map(|(_, lag_ms)| lag_ms), begun.elapsed().as_millis())
}

#[tokio::test(start_paused = true)]
async fn an_eventual_read_is_answered_by_who_is_in_sync_and_by_others_only_if_nobody_is() {
    let fixture = fixture().await;
    fixture.change(|world| world.behind.extend([(id("n1"), 15_000), (id("n3"), 20_000)]));
    for _ in 0..6 {
        assert_eq!(eventual(&fixture).await.0, Ok(0), "n2 is in sync");
    }
    for gone in ["dead", "hung"] {
        fixture.change(|world| {
            world.primary = None;
            let gone = if gone == "dead" { &mut world.dead } else { &mut world.hung };
            gone.extend(["n2", "n3"].map(id));
        });
        for _ in 0..6 {
            let (lag_ms, took_ms) = eventual(&fixture).await;
            assert_eq!(lag_ms, Ok(15_000), "{gone}: n1 alone is there, and says how old it is");
            assert!(took_ms < 1_000, "{gone}: took {took_ms} ms");
        }
        fixture.change(|world| {
            world.dead.clear();
            world.hung.clear();
        });
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_replica_does_not_keep_an_eventual_read_for_long() {
    let fixture = fixture().await;
    fixture.change(|world| world.hung.extend(["n2", "n3"].map(id)));
    for _ in 0..6 {
        let (lag_ms, took_ms) = eventual(&fixture).await;
        assert_eq!(lag_ms, Ok(0));
        assert!(took_ms < 1_000, "took {took_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_done_is_called_unknown_when_nobody_can_tell() {
    let fixture = fixture().await;
    fixture.change(|world| world.lose_answer = true);
    let (request, task) = fixture.spawn_write();
    tokio::time::sleep(Duration::from_millis(5)).await;
    fixture.change(|world| {
        world.dead.extend(["n1", "n2", "n3"].map(id));
        world.primary = None;
    });
    let (answer, elapsed) = task.await.expect("no panic");
    assert_eq!(answer, Err(Refusal::UnknownOutcome { shard: SHARD }));
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    assert_eq!(fixture.effects(), [request]);
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_for_changes_survives_a_failover() {
    let fixture = fixture().await;
    let request =
        ChangesRequest { wait_ms: 20_000, linearizable: false, ..ChangesRequest::behind(DbUid::DBS, Seq(0), 1) };
    let cluster = fixture.cluster.clone();
    let task = tokio::spawn(async move { cluster.changes(SHARD, request).await });
    tokio::time::sleep(Duration::from_secs(10)).await;
    fixture.elect("n2");
    assert!(task.await.expect("no panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn states_name_who_does_not_answer() {
    let fixture = fixture().await;
    fixture.change(|world| {
        world.dead.insert(id("n2"));
    });
    let rows = fixture.cluster.states().await;
    let shown: Vec<(String, bool)> = rows.iter().map(|row| (row.node.to_string(), row.reachable)).collect();
    assert_eq!(shown, [("n1".to_owned(), true), ("n2".to_owned(), false), ("n3".to_owned(), true)]);
    assert!(rows[1].state.is_some(), "what it said last is kept");
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_every_task() {
    let fixture = fixture().await;
    fixture.cluster.stop().await;
    assert!(fixture.cluster.write(SHARD, command()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_backup_is_asked_of_the_primary_also_after_a_failover() {
    let fixture = fixture().await;
    let request = ExportRequest { backup: Uuid::from_u128(7), databases: Vec::new() };
    let told = async || {
        let mut stream = fixture.cluster.export(SHARD, request.clone()).await.expect("a primary");
        stream.next().await.expect("a piece").expect("whole")
    };
    assert_eq!(told().await, format!("n1 of {}", request.backup));
    fixture.change(|world| {
        world.dead.insert(id("n1"));
    });
    fixture.elect("n2");
    assert_eq!(told().await, format!("n2 of {}", request.backup));
}
