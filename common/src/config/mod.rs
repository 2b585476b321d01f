//! Configuration: defaults, then file, then environment `QUORATE_…`, then flags.
//!
//! Everything is checked before the first socket opens; an unknown key is an error.

mod auth;
mod check;
mod lists;
mod load;
mod replicator;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{NodeId, ShardId};

pub use auth::{
    ARGON2_ITERATIONS_MAX, ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, Auth, Cors, JwtAlgorithm, JwtKey, SameSite,
};
pub use check::{Deployment, is_loopback};
pub use load::{ConfiguredAdmin, Error, OPERATOR_PASSWORD};
pub use replicator::Replicator;

/// All settings of a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The cluster's name. A data folder made under another name is refused.
    pub name: String,
    /// File with the secret that nodes and routers of this cluster share. Without it only loopback addresses are
    /// accepted.
    pub secret_file: Option<PathBuf>,
    /// The nodes. Empty in embedded mode.
    pub node: Vec<NodeEntry>,
    /// The shards and where their replicas are. Empty in embedded mode.
    pub shard: Vec<ShardEntry>,
    /// Replication and failover.
    pub replication: Replication,
    /// Engines and logs.
    pub storage: Storage,
    /// The server admin. Without one, only loopback addresses are accepted and everybody there may do everything.
    pub admin: Option<Admin>,
    /// Further server admins.
    pub admins: Vec<Admin>,
    /// Logins by users of `_users`.
    pub auth: Auth,
    /// Keys of tokens that are taken instead of a password.
    pub jwt: Vec<JwtKey>,
    /// What scripts of other sites may do.
    pub cors: Cors,
    /// Replications with other servers, and between databases of this one.
    pub replicator: Replicator,
    /// Bounds on what clients may send.
    pub limits: Limits,
    /// The process itself.
    pub process: Process,
    /// Logs.
    pub log: Log,
    /// Traces.
    pub telemetry: Telemetry,
}

/// One node: its identity is the id; the address is only how this process reaches it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEntry {
    /// The node's name.
    pub id: NodeId,
    /// `HOST:PORT` of its internal port, as this process reaches it.
    pub address: String,
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// Its number.
    pub id: ShardId,
    /// The nodes that host its replicas.
    pub replicas: Vec<NodeId>,
}

/// How many replicas must have a write, or must be asked for a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quorum {
    /// More than half.
    Majority,
    /// Every voter (writes only).
    All,
    /// Any one replica in sync (reads only; makes eventual reads the default).
    One,
}

/// Replication and failover.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replication {
    /// Replicas that must have a write on disk before it is acknowledged: `majority` or `all`.
    pub write_quorum: Quorum,
    /// `majority`: reads are linearizable by default. `one`: eventual by default.
    pub read_quorum: Quorum,
    /// How often nodes are asked for their state, in milliseconds. Smaller notices a death sooner and costs more.
    pub health_check_interval_ms: u64,
    /// How long a shard may be without a primary before another takes over, in milliseconds. Smaller fails over
    /// sooner and mistakes a busy machine for a dead one more often.
    pub failover_timeout_ms: u64,
    /// A replica further behind than this, in milliseconds, is reported as lagging and serves eventual reads only if no
    /// other replica can.
    pub max_replication_lag_ms: u64,
}

/// Engines and logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// The engine under each replica.
    pub engine: EngineKind,
    /// Folder for all data of a node. The flag `--data` wins over it.
    pub data: Option<PathBuf>,
    /// Size of one log segment, in bytes. Larger ones are recycled less often and take longer to scan at start.
    pub segment_bytes: u64,
    /// Log entries kept in memory for replication, in bytes a replica.
    pub log_cache_bytes: u64,
    /// Block cache of the engine, in bytes a replica.
    pub engine_cache_bytes: u64,
    /// Log kept behind what is durable elsewhere, in bytes, so that a replica back from a short absence catches up
    /// from the log and not by snapshot.
    pub log_keep_bytes: u64,
}

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// fjall 3, the default: survives power cuts by itself.
    Fjall,
    /// sled 0.34: rebuilt from our own snapshot after an unclean stop of the host.
    Sled,
    /// In memory: simulation and tests only.
    Memory,
}

/// The server admin.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Name for Basic authentication.
    pub name: String,
    /// The password, or its Argon2id hash (`$argon2id$…`); a plain one is hashed at start.
    pub password: Option<String>,
    /// File with the password or its hash.
    pub password_file: Option<PathBuf>,
}

/// Bounds on what clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest request body, in bytes; larger ones answer 413.
    pub body_bytes_max: usize,
    /// Largest attachment, in bytes; larger ones answer 413.
    pub attachment_bytes_max: u64,
    /// Deepest nesting of a document; deeper ones answer 400.
    pub json_depth_max: usize,
    /// Largest header section, in bytes.
    pub headers_bytes_max: usize,
    /// Longest wait for a request's headers, in milliseconds.
    pub header_read_timeout_ms: u64,
    /// Longest wait for a client to take more of an answer, in milliseconds; then it is cut off. A live feed goes on from
    /// its last token.
    pub send_timeout_ms: u64,
    /// Bytes that may wait for one shard; above that requests answer 429.
    pub queue_bytes_max: usize,
    /// Longest wait for a shard's answer, in milliseconds; then 503.
    pub request_timeout_ms: u64,
}

/// The process itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Process {
    /// Threads that serve requests and replicate. 0: half as many as there are cores, all of them in embedded mode.
    /// More use more cores at once, and wake each other up more often.
    pub worker_threads: usize,
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A filter as `tracing` reads it: `info`, `quorate=debug,warn` …
    pub filter: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

/// Traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// An OpenTelemetry collector that takes OTLP over HTTP, as `http://HOST:PORT`. Without one no spans are made.
    pub otlp_endpoint: Option<String>,
    /// The part of requests whose spans are sent, 0 to 1. More show more and cost more, some microseconds each.
    pub otlp_sample_ratio: f64,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "quorate".to_owned(),
            secret_file: None,
            node: Vec::new(),
            shard: Vec::new(),
            replication: Replication::default(),
            storage: Storage::default(),
            admin: None,
            admins: Vec::new(),
            auth: Auth::default(),
            jwt: Vec::new(),
            cors: Cors::default(),
            replicator: Replicator::default(),
            limits: Limits::default(),
            process: Process::default(),
            log: Log::default(),
            telemetry: Telemetry::default(),
        }
    }
}

impl Default for Replication {
    fn default() -> Self {
        Self {
            write_quorum: Quorum::Majority,
            read_quorum: Quorum::Majority,
            health_check_interval_ms: 100,
            failover_timeout_ms: 500,
            max_replication_lag_ms: 10_000,
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            engine: EngineKind::Fjall,
            data: None,
            segment_bytes: 16 << 20,
            log_cache_bytes: 8 << 20,
            engine_cache_bytes: 16 << 20,
            log_keep_bytes: 64 << 20,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 8 << 20,
            attachment_bytes_max: 1 << 30,
            json_depth_max: 64,
            headers_bytes_max: 16 << 10,
            header_read_timeout_ms: 5_000,
            send_timeout_ms: 60_000,
            queue_bytes_max: 64 << 20,
            request_timeout_ms: 5_000,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info,openraft=error,fjall=warn,lsm_tree=warn,sled=warn".to_owned(), format: LogFormat::Text }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { otlp_endpoint: None, otlp_sample_ratio: 1.0 }
    }
}

impl Process {
    /// The number of threads on a machine with `cores`.
    pub fn threads(&self, deployment: Deployment, cores: usize) -> usize {
        match (self.worker_threads, deployment) {
            (0, Deployment::Embedded) => cores,
            (0, Deployment::Cluster) => (cores / 2).max(1),
            (threads, _) => threads,
        }
    }
}

impl Replication {
    /// How often a primary tells its replicas that it lives.
    pub fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.health_check_interval_ms.div_ceil(2).max(10))
    }

    /// How long a voter that heard from a primary refuses every other candidate. Bounds the failover time from below.
    pub fn lease(&self) -> Duration {
        let probes = 2 * self.health_check_interval_ms;
        Duration::from_millis(self.failover_timeout_ms.saturating_sub(probes).max(3 * self.health_check_interval_ms))
    }
}
