//! The harness: real processes on free ports, proxies between them, histories and checkers, and a load generator.
//!
//! Everything a test starts dies with it, also when the test itself is killed. Nothing here reaches into the servers:
//! they are driven over the command line, signals and HTTP, as an operator and an app would.

pub mod bench;
pub mod binaries;
pub mod client;
pub mod cluster;
pub mod embedded;
pub mod failover;
pub mod feed;
pub mod history;
pub mod layout;
pub mod lean;
pub mod load;
pub mod needs;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod replica;
pub mod scenario;
pub mod shards;
pub mod silence;
pub mod sim;
pub mod sync;

/// What goes wrong in a harness is told to a person; nobody branches on it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// A result of the harness.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Tests that start many processes take this first, so that a small machine runs one of them at a time.
pub static HEAVY: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
