//! Quorate's front door: HTTP API, placement, batching, health monitor, failover coordinator, embedded mode.

pub mod admin;
pub mod app;
pub mod auth;
pub mod backup;
pub mod cli;
pub mod cluster;
pub mod embedded;
pub mod feed;
pub mod http;
pub mod metrics;
pub mod ops;
pub mod replicator;
pub mod run;
pub mod serve;
pub mod shard;

/// What a router does in the same way as a node: asks how a server is, looks up where it is, logs, and shows what its
/// process uses. What an operator's commands do with a node's folder. And the sandbox for functions of design documents.
pub use shard_node::{check, js, names, offline, process, telemetry};
