//! Writers and readers that go on through faults and record what they were told.
//!
//! Each writer has keys of its own and writes them in turn, each time naming the revision it replaces. After anything
//! but success it reads the key until it knows where it stands. Clients may be patient: then a request that did not
//! succeed is sent again, a write under the same key, and counts as one request whatever became of its single attempts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Result;
use crate::client::{Client, Failure, Reply};
use crate::history::{History, Verdict};

/// After an error: long enough to spare the machine, short against any failover.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);
/// How long a key may stay unreadable before the load gives up: no fault that a test makes lasts so long.
const READ_PATIENCE: Duration = Duration::from_secs(90);

/// One thing that happened to a writer, or to a reader.
#[derive(Debug, Clone)]
pub struct Event {
    /// When, since the load started.
    pub at: Duration,
    /// Which group of keys it concerns (the shard, where keys are grouped so).
    pub group: usize,
    /// What was wrong; `None` for an acknowledged write, or an answered read.
    pub error: Option<String>,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The database; must exist.
    pub db: String,
    /// The keys of each writer, and the group they are counted under.
    pub writers: Vec<(usize, Vec<String>)>,
    /// Readers, which check that reads are never stale.
    pub readers: usize,
    /// Pause between two requests of one writer or reader.
    pub pause: Duration,
    /// How long after its first attempt a request that did not succeed is sent again; zero for never.
    pub retry: Duration,
}

impl Options {
    /// So many writers with so many keys each, in one group, with one reader for each four writers.
    pub fn simple(db: &str, writers: usize, keys: usize) -> Self {
        let keys_of = |writer| (0..keys).map(|key| format!("w{writer}-k{key}")).collect();
        Self {
            db: db.to_owned(),
            writers: (0..writers).map(|writer| (0, keys_of(writer))).collect(),
            readers: writers.div_ceil(4),
            pause: Duration::from_millis(2),
            retry: Duration::ZERO,
        }
    }
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<Result<()>>,
}

#[derive(Debug)]
struct Shared {
    clients: Vec<Client>,
    options: Options,
    /// Sets this load's writes apart from those of others under the same keys.
    run: Uuid,
    started: Instant,
    stop: AtomicBool,
    turn: AtomicUsize,
    writes: Mutex<Vec<Event>>,
    reads: Mutex<Vec<Event>>,
    repeated: AtomicUsize,
    history: History,
}

/// Where a writer stands with one key.
#[derive(Debug, Default)]
struct Standing {
    rev: Option<String>,
    unsure: bool,
}

impl Load {
    /// Starts writers and readers over these routers, in turn.
    pub fn start(clients: Vec<Client>, options: Options) -> Self {
        let shared = Arc::new(Shared {
            clients,
            run: Uuid::new_v4(),
            started: Instant::now(),
            stop: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
            writes: Mutex::default(),
            reads: Mutex::default(),
            repeated: AtomicUsize::new(0),
            history: History::default(),
            options,
        });
        let mut tasks = JoinSet::new();
        for writer in 0..shared.options.writers.len() {
            let shared = shared.clone();
            tasks.spawn(async move { shared.write(writer).await });
        }
        for reader in 0..shared.options.readers {
            let shared = shared.clone();
            tasks.spawn(async move { shared.read(reader).await });
        }
        Self { shared, tasks }
    }

    /// Time since the start, on the clock of the events.
    pub fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// What happened to writers so far, in order of time.
    pub fn writes(&self) -> Vec<Event> {
        sorted(&self.shared.writes)
    }

    /// What happened to readers so far, in order of time.
    pub fn reads(&self) -> Vec<Event> {
        sorted(&self.shared.reads)
    }

    /// How many attempts were made beyond the first of each request.
    pub fn repeated(&self) -> usize {
        self.shared.repeated.load(Ordering::Relaxed)
    }

    /// Acknowledged writes so far.
    pub fn acknowledged(&self) -> usize {
        self.shared.writes.lock().expect("no holder panics").iter().filter(|event| event.error.is_none()).count()
    }

    /// Waits until so many more writes are acknowledged, in `group` if one is named.
    pub async fn progress(&self, more: usize, group: Option<usize>, patience: Duration) -> Result<()> {
        let count = || {
            let writes = self.shared.writes.lock().expect("no holder panics");
            writes.iter().filter(|e| e.error.is_none() && group.is_none_or(|group| e.group == group)).count()
        };
        let wanted = count() + more;
        let until = Instant::now() + patience;
        while count() < wanted {
            if Instant::now() >= until {
                let recent: Vec<Event> =
                    self.writes().into_iter().rev().filter(|e| e.error.is_some()).take(5).collect();
                return Err(format!("no {more} more writes in {patience:?}; last errors: {recent:#?}").into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Ends all writers and readers, reads everything back, and compares.
    pub async fn finish(mut self) -> Result<Verdict> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        let mut now = BTreeMap::new();
        for key in self.shared.options.writers.iter().flat_map(|(_, keys)| keys) {
            let (version, _) = self.shared.look(key).await?;
            if version > 0 {
                now.insert(key.clone(), version);
            }
        }
        Ok(self.shared.history.check(&now))
    }
}

fn sorted(events: &Mutex<Vec<Event>>) -> Vec<Event> {
    let mut events = events.lock().expect("no holder panics").clone();
    events.sort_by_key(|event| event.at);
    events
}

impl Shared {
    fn going_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn note(&self, events: &Mutex<Vec<Event>>, group: usize, error: Option<String>) {
        let event = Event { at: self.started.elapsed(), group, error };
        events.lock().expect("no holder panics").push(event);
    }

    /// Makes attempts until one is answered with anything that stays as it is, or the clients' patience is over.
    /// Whether any attempt may have had an effect comes with the last answer.
    async fn patiently(&self, method: Method, path: &str, headers: Headers<'_>, body: Bytes) -> (Attempt, bool) {
        let until = Instant::now() + self.options.retry;
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut effect = false;
        for attempt in 0.. {
            // Each attempt goes to the next router, so that one that is gone costs one attempt.
            let client = &self.clients[(first + attempt) % self.clients.len()];
            let answer = client.send(method.clone(), path, headers, body.clone()).await;
            effect |= !had_no_effect(&answer);
            if !may_pass(&answer) || Instant::now() >= until {
                return (answer, effect);
            }
            self.repeated.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
        }
        unreachable!("a client's patience is over long before it runs out of numbers")
    }

    async fn write(&self, writer: usize) -> Result<()> {
        let (group, keys) = &self.options.writers[writer];
        let mut standings: BTreeMap<&str, Standing> = BTreeMap::new();
        for key in keys.iter().cycle() {
            if !self.going_on() {
                return Ok(());
            }
            let standing = standings.entry(key).or_default();
            if standing.unsure {
                let (_, rev) = self.look(key).await?;
                *standing = Standing { rev, unsure: false };
            }
            self.write_once(*group, key, standing).await;
            tokio::time::sleep(self.options.pause).await;
        }
        Ok(())
    }

    async fn write_once(&self, group: usize, key: &str, standing: &mut Standing) {
        let version = self.history.begin(key);
        let mut body = json!({ "v": version, "pad": "x".repeat(100) });
        if let Some(rev) = &standing.rev {
            body["_rev"] = json!(rev);
        }
        let path = format!("/{}/{key}", self.options.db);
        let request = format!("{}-{key}-{version}", self.run);
        let headers = [("content-type", "application/json"), ("idempotency-key", request.as_str())];
        let (answer, effect) = self.patiently(Method::PUT, &path, &headers, body.to_string().into()).await;
        match &answer {
            Ok(reply) if reply.status == StatusCode::CREATED => {
                standing.rev = Some(reply.field("rev"));
                self.history.acknowledged(key, version);
                return self.note(&self.writes, group, None);
            }
            _ if effect => self.history.unknown(key, version),
            _ => self.history.failed(key, version),
        }
        standing.unsure = true;
        self.note(&self.writes, group, Some(told(&answer)));
        tokio::time::sleep(PAUSE_AFTER_ERROR).await;
    }

    async fn read(&self, reader: usize) -> Result<()> {
        let groups: BTreeSet<usize> = self.options.writers.iter().map(|(group, _)| *group).collect();
        // With enough readers each keeps to one group, so that one that waits for a group leaves the others alone.
        let own = groups.iter().nth(reader % groups.len().max(1)).filter(|_| self.options.readers >= groups.len());
        let mut all = Vec::new();
        for (group, keys) in self.options.writers.iter().filter(|(group, _)| own.is_none_or(|own| own == group)) {
            all.extend(keys.iter().map(|key| (*group, key)));
        }
        for (group, key) in all.iter().copied().cycle().skip(reader * 7) {
            if !self.going_on() {
                break;
            }
            let found = self.read_once(key).await;
            self.note(&self.reads, group, found.err());
            tokio::time::sleep(self.options.pause).await;
        }
        Ok(())
    }

    /// One linearizable read, recorded; what was wrong when there was no answer.
    async fn read_once(&self, key: &str) -> Result<(u64, Option<String>), String> {
        let floor = self.history.floor(key);
        let path = format!("/{}/{key}", self.options.db);
        let (answer, _) = self.patiently(Method::GET, &path, &[], Bytes::new()).await;
        let found = match &answer {
            Ok(reply) if reply.status == StatusCode::OK => {
                let json: Value = reply.json();
                let version = json["v"].as_u64().ok_or_else(|| told(&answer))?;
                (version, json["_rev"].as_str().map(str::to_owned))
            }
            Ok(reply) if reply.status == StatusCode::NOT_FOUND => (0, None),
            _ => return Err(told(&answer)),
        };
        self.history.observed(key, floor, found.0);
        Ok(found)
    }

    /// Reads a key until there is an answer: its version (0: not there) and revision.
    async fn look(&self, key: &str) -> Result<(u64, Option<String>)> {
        let until = Instant::now() + READ_PATIENCE;
        loop {
            match self.read_once(key).await {
                Ok(found) => return Ok(found),
                Err(why) if Instant::now() >= until => {
                    return Err(format!("{key} could not be read for {READ_PATIENCE:?}: {why}").into());
                }
                Err(_) => {}
            }
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
        }
    }
}

/// A request's headers.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// What became of one attempt.
type Attempt = Result<Reply, Failure>;

/// An answer, for a person.
fn told(answer: &Attempt) -> String {
    match answer {
        Ok(reply) => format!("{} {}", reply.status, reply.text()),
        Err(failure) => failure.to_string(),
    }
}

/// Whether the same request may fare better in a moment.
fn may_pass(answer: &Attempt) -> bool {
    match answer {
        Err(_) => true,
        Ok(reply) => reply.status.is_server_error() || reply.status == StatusCode::TOO_MANY_REQUESTS,
    }
}

/// Whether an answer promises that the write has had and will have no effect.
pub fn had_no_effect(answer: &Attempt) -> bool {
    match answer {
        Err(Failure::NotSent(_)) => true,
        Err(Failure::Unknown(_)) => false,
        Ok(reply) => {
            let refused = reply.status.is_client_error() || matches!(reply.status.as_u16(), 503 | 507);
            refused && reply.field("error") != "unknown_outcome"
        }
    }
}
