//! A Quorate node: hosts replicas of shards, each a Raft log folded into a document store.

pub mod check;
pub mod dump;
pub mod http;
pub mod in_process;
pub mod js;
mod measure;
mod monitor;
pub mod names;
pub mod node;
pub mod offline;
pub mod process;
mod raft;
mod ready;
mod replica;
pub mod runtime;
pub mod storage;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod wal;
