//! The way to one shard: transports to its nodes, batching, and what to do about refusals.

pub mod batch;
mod gather;
pub mod http;
pub mod local;
pub mod retry;
pub mod transport;
