//! The load generator: throughput and latency of documents over HTTP, for Quorate, CouchDB and etcd alike.

mod options;
mod report;
mod run;
mod target;
#[cfg(test)]
mod tests;

pub use options::{Kind, Op, Options};
pub use report::{Row, table};
pub use run::run;
