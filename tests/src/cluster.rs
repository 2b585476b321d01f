//! A cluster of real processes, and everything that can be done to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::config::Config;
use common::ids::ShardId;
use common::state::{NodeState, Role};
use futures::future::join_all;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::binaries::binary;
use crate::client::Client;
use crate::layout::Layout;
use crate::ports::Port;
use crate::process::{Process, Spec};
use crate::proxy::{Link, Proxy};
use crate::replica::{NodeClient, primary_of};
use crate::{Error, Result};

/// Longest wait for a cluster to be whole: starts of nine processes on a busy two-core machine take seconds.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at the cluster.
const LOOK: Duration = Duration::from_millis(50);
/// How much of each log a failed test shows.
const LOG_SHOWN_BYTES: u64 = 6_000;
/// Set to keep the folders of all clusters.
const KEEP: &str = "HARNESS_KEEP";

const SECRET: &str = "the-harness-shares-this-secret-with-its-cluster";

/// A cluster of real processes; dropping it kills them all.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    ports: BTreeMap<String, Port>,
    processes: BTreeMap<String, Process>,
    links: BTreeMap<(String, String), Proxy>,
    clients: BTreeMap<String, Client>,
    // Dropped last: the processes above live in it.
    folder: TempDir,
}

impl Cluster {
    /// Starts everything and waits until the cluster is healthy.
    pub async fn start(layout: Layout) -> Result<Self> {
        let mut cluster = Self::prepare(layout).await?;
        for name in cluster.names() {
            cluster.start_one(&name)?;
        }
        cluster.wait_healthy().await?;
        Ok(cluster)
    }

    /// Writes all files, starts the proxies, and leaves the processes to [`Cluster::start_one`].
    pub async fn prepare(layout: Layout) -> Result<Self> {
        let mut folder = tempfile::Builder::new().prefix("quorate-").tempdir()?;
        folder.disable_cleanup(std::env::var_os(KEEP).is_some());
        write_secret(&folder.path().join("cluster.secret"))?;
        let routers = (1..=layout.routers).map(|n| format!("r{n}"));
        let names: Vec<String> = layout.node_names().into_iter().chain(routers).collect();
        let mut ports = BTreeMap::new();
        for name in &names {
            ports.insert(name.clone(), Port::take()?);
        }
        let clients = ports.iter().map(|(name, port)| (name.clone(), Client::new(&port.address()))).collect();
        let processes = BTreeMap::new();
        let mut cluster = Self { layout, ports, processes, links: BTreeMap::new(), clients, folder };
        if cluster.layout.proxied {
            cluster.start_proxies(&names).await?;
        }
        for name in &names {
            std::fs::write(cluster.file_of(name), toml::to_string(&cluster.config_of(name))?)?;
            std::fs::create_dir_all(cluster.data_of(name))?;
        }
        Ok(cluster)
    }

    async fn start_proxies(&mut self, names: &[String]) -> Result<()> {
        for from in names {
            for to in self.layout.node_names().into_iter().filter(|to| to != from) {
                let proxy = Proxy::start(self.ports[&to].address()).await?;
                self.links.insert((from.clone(), to), proxy);
            }
        }
        Ok(())
    }

    /// The configuration of one process: how *it* reaches the nodes.
    pub fn config_of(&self, name: &str) -> Config {
        self.layout.config(&self.folder.path().join("cluster.secret"), |node| {
            match self.links.get(&(name.to_owned(), node.to_owned())) {
                Some(proxy) => proxy.address().to_owned(),
                None => self.ports[node].address(),
            }
        })
    }

    /// The cluster file of one process.
    pub fn file_of(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.toml"))
    }

    /// The data folder of a node.
    pub fn data_of(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How a process is started.
    pub fn spec_of(&self, name: &str) -> Result<Spec> {
        let text = |path: PathBuf| path.display().to_string();
        let mut args = vec!["--cluster".to_owned(), text(self.file_of(name))];
        args.extend(["--listen".to_owned(), self.address_of(name)]);
        let is_node = self.layout.node_names().iter().any(|node| node == name);
        if is_node {
            args.extend(["--node".to_owned(), name.to_owned()]);
            args.extend(["--data".to_owned(), text(self.data_of(name))]);
        }
        Ok(Spec {
            name: name.to_owned(),
            program: binary(if is_node { "quorate-shard-node" } else { "quorate-router" })?,
            args,
            env: Vec::new(),
            folder: self.folder.path().to_owned(),
            log: self.folder.path().join(format!("{name}.log")),
        })
    }

    /// Starts one process that is not running.
    pub fn start_one(&mut self, name: &str) -> Result<()> {
        let process = Process::start(self.spec_of(name)?)?;
        self.processes.insert(name.to_owned(), process);
        Ok(())
    }

    /// The names of all processes, nodes first.
    pub fn names(&self) -> Vec<String> {
        self.ports.keys().cloned().collect()
    }

    /// The shape it has.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Its folder: cluster files, logs, data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The cluster secret.
    pub fn secret(&self) -> &'static str {
        SECRET
    }

    /// `HOST:PORT` of a process, no proxy between.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn address_of(&self, name: &str) -> String {
        self.ports.get(name).unwrap_or_else(|| panic!("no process {name}")).address()
    }

    /// A client of router `r<n>`, from 1.
    pub fn router(&self, n: usize) -> Client {
        self.clients[&format!("r{n}")].clone()
    }

    /// Clients of all routers.
    pub fn routers(&self) -> Vec<Client> {
        (1..=self.layout.routers).map(|n| self.router(n)).collect()
    }

    /// A client of a node's internal port.
    pub fn node(&self, name: &str) -> NodeClient {
        NodeClient::new(name, &self.address_of(name), SECRET)
    }

    /// The process of that name.
    ///
    /// # Panics
    /// If it was never started.
    pub fn process(&mut self, name: &str) -> &mut Process {
        self.processes.get_mut(name).unwrap_or_else(|| panic!("{name} was never started"))
    }

    /// Kills one process with SIGKILL and waits for its end.
    pub fn kill(&mut self, name: &str) {
        self.process(name).kill();
    }

    /// Kills several processes at one instant.
    pub fn kill_all(&mut self, names: &[String]) {
        for name in names {
            self.process(name).kill_soon();
        }
        for name in names {
            self.process(name).kill();
        }
    }

    /// Starts a process again.
    pub fn restart(&mut self, name: &str) -> Result<()> {
        self.process(name).restart()
    }

    /// Stops a process with SIGSTOP: it keeps its connections and says nothing.
    pub fn pause(&mut self, name: &str) {
        self.process(name).signal(Signal::STOP);
    }

    /// Lets a stopped process go on.
    pub fn resume(&mut self, name: &str) {
        self.process(name).signal(Signal::CONT);
    }

    /// Empties the data folder of a node that is not running.
    pub fn wipe(&mut self, name: &str) -> Result<()> {
        let data = self.data_of(name);
        std::fs::remove_dir_all(&data)?;
        Ok(std::fs::create_dir_all(&data)?)
    }

    /// Sets both directions between two processes. Needs [`Layout::proxied`].
    ///
    /// # Panics
    /// If there is no proxy between them.
    pub fn link(&self, one: &str, other: &str, link: Link) {
        let pairs = [(one, other), (other, one)].map(|(from, to)| (from.to_owned(), to.to_owned()));
        let proxies: Vec<&Proxy> = pairs.iter().filter_map(|pair| self.links.get(pair)).collect();
        assert!(!proxies.is_empty(), "no proxy between {one} and {other}");
        for proxy in proxies {
            proxy.set(link);
        }
    }

    /// Cuts a process off from all others, or joins it again.
    pub fn isolate(&self, name: &str, link: Link) {
        for other in self.layout.node_names().iter().filter(|other| *other != name) {
            self.link(name, other, link);
        }
        for n in 1..=self.layout.routers {
            let router = format!("r{n}");
            if router != name {
                self.link(name, &router, link);
            }
        }
    }

    /// What each node that answers says of itself.
    pub async fn states(&self) -> Vec<NodeState> {
        let ask = async |name: String| self.node(&name).state().await.ok();
        join_all(self.layout.node_names().into_iter().map(ask)).await.into_iter().flatten().collect()
    }

    /// The node that leads `shard`.
    pub async fn primary_of(&self, shard: u32) -> Result<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(node) = primary_of(ShardId(shard), &self.states().await) {
                return Ok(node.to_string());
            }
            if Instant::now() >= until {
                return Err(format!("shard {shard} has no primary").into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until all nodes answer, each shard has one primary that all its replicas follow, all replicas vote, are
    /// healthy and have caught up, and all routers take requests.
    pub async fn wait_healthy(&mut self) -> Result<()> {
        self.wait_healthy_within(PATIENCE).await
    }

    /// The same, with another patience.
    pub async fn wait_healthy_within(&mut self, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        loop {
            for name in self.names() {
                if !self.process(&name).is_running() {
                    return Err(format!("{name} has ended:\n{}", self.process(&name).log_tail(LOG_SHOWN_BYTES)).into());
                }
            }
            let ill = self.illness().await;
            match ill {
                None => return Ok(()),
                Some(ill) if Instant::now() >= until => {
                    return Err(format!("not healthy after {patience:?}: {ill}\n{:#?}", self.states().await).into());
                }
                Some(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// What keeps the cluster from being healthy.
    async fn illness(&self) -> Option<String> {
        let states = self.states().await;
        if states.len() < self.layout.nodes {
            return Some(format!("{} of {} nodes answer", states.len(), self.layout.nodes));
        }
        for shard in 0..self.layout.shards {
            let shard = ShardId(u32::try_from(shard).ok()?);
            if let Some(ill) = shard_illness(shard, self.layout.replicas, &states) {
                return Some(format!("shard {shard}: {ill}"));
            }
        }
        for router in self.routers() {
            match router.patience(Duration::from_secs(2)).get("/_up").await {
                Ok(reply) if reply.status == 200 => {}
                Ok(reply) => return Some(format!("a router's /_up: {} {}", reply.status, reply.text())),
                Err(error) => return Some(format!("a router: {error}")),
            }
        }
        None
    }

    /// Waits until `done` says so, or gives up with what it last said.
    pub async fn wait_until(
        &self,
        patience: Duration,
        done: impl Fn(&[NodeState]) -> Result<(), String>,
    ) -> Result<()> {
        let until = Instant::now() + patience;
        loop {
            match done(&self.states().await) {
                Ok(()) => return Ok(()),
                Err(why) if Instant::now() >= until => return Err(Error::from(format!("after {patience:?}: {why}"))),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// The last part of every log.
    pub fn logs(&self) -> String {
        let tail = |process: &Process| format!("=== {}\n{}\n", process.name(), process.log_tail(LOG_SHOWN_BYTES));
        self.processes.values().map(tail).collect()
    }
}

fn shard_illness(shard: ShardId, replicas: usize, states: &[NodeState]) -> Option<String> {
    let all: Vec<_> = states.iter().flat_map(|state| &state.replicas).filter(|r| r.shard == shard).collect();
    if all.len() != replicas {
        return Some(format!("{} of {replicas} replicas are there", all.len()));
    }
    let primaries: Vec<_> = all.iter().filter(|replica| replica.role == Role::Primary).collect();
    let [primary] = primaries[..] else {
        return Some(format!("{} primaries", primaries.len()));
    };
    all.iter().find_map(|replica| {
        let ill = match () {
            () if !replica.healthy => format!("not healthy: {}", replica.reason.as_deref().unwrap_or("no reason")),
            () if !matches!(replica.role, Role::Primary | Role::Replica) => format!("{:?}", replica.role),
            () if replica.voters.len() != replicas || !replica.learners.is_empty() => "membership".to_owned(),
            () if replica.primary.as_ref() != Some(&primary.node) => "follows another primary".to_owned(),
            () if replica.applied.0 + 1_000 < primary.applied.0 => "behind".to_owned(),
            () => return None,
        };
        Some(format!("{}: {ill}", replica.node))
    })
}

/// The secret's file must not be readable by others, or the servers refuse it.
fn write_secret(path: &Path) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(writeln!(file, "{SECRET}")?)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}
