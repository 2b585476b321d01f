//! Quorate's data: what the crates say to each other, and the pure rules they share.
//!
//! No sockets, no runtime, no clock, no randomness: everything here is a value or a function of values.

pub mod attachment;
pub mod backup;
pub mod change;
pub mod command;
pub mod config;
pub mod document;
pub mod edit;
pub mod failover;
pub mod health;
pub mod ids;
pub mod mango;
pub mod metrics;
pub mod partition;
pub mod placement;
pub mod query;
pub mod refusal;
pub mod rev;
pub mod rev_tree;
pub mod secret;
pub mod state;
pub mod validation;
pub mod view;
pub mod wire;
