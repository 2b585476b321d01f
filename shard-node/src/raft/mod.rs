//! Consensus: everything that knows openraft. The rest of the node sees [`group::Group`].

// Openraft's traits fix the error type; it is built once, when a replica ends.
#![allow(clippy::result_large_err)]

pub(crate) mod committed;
pub(crate) mod counts;
pub(crate) mod frames;
pub(crate) mod group;
mod hearing;
pub(crate) mod inbound;
mod log_store;
mod members;
mod network;
pub(crate) mod pulse;
mod quorum;
mod shared;
pub(crate) mod snapshot;
mod state_machine;
mod status;
mod timing;
pub(crate) mod types;
pub(crate) mod wire;

#[cfg(test)]
mod tests;
