//! A Quorate node: hosts replicas of shards, each a Raft log folded into a document store.

pub mod check;
pub mod dump;
pub mod http;
pub mod in_process;
mod monitor;
pub mod names;
pub mod node;
pub mod offline;
mod raft;
mod replica;
pub mod runtime;
pub mod storage;
pub mod store;
pub mod transport;
pub mod wal;
