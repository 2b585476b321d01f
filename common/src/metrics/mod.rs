//! Every metric there is, how each is counted, and how a scrape is written down.
//!
//! `list` is the one source: what is shown anywhere takes name, help and labels from it, and the table in
//! ARCHITECTURE.md is made of it. Counting is atomic additions without a lock; reading happens when somebody asks.

mod count;
mod list;
mod requests;
mod sheet;

pub use count::{Counter, Gauge, Held, Histogram, Snapshot};
pub use list::*;
pub use requests::Requests;
pub use sheet::{Format, Sheet, Value};

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// As Prometheus shows it, `_total` included.
    pub name: &'static str,
    /// What its numbers mean.
    pub kind: Kind,
    /// Which program shows it; the embedded mode shows all.
    pub on: On,
    /// What tells its rows apart.
    pub labels: &'static [&'static str],
    /// In plain words, without a full stop.
    pub help: &'static str,
}

/// What a metric's numbers mean.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Only grows, while the process lives.
    Counter,
    /// As it is now.
    Gauge,
    /// How many were how large.
    Histogram(Buckets),
}

/// How a histogram sorts what it sees.
#[derive(Debug, Clone, Copy)]
pub struct Buckets {
    /// Upper bounds, in what is counted.
    pub bounds: &'static [u64],
    /// How many of what is counted make one of what is shown: 1e9 nanoseconds make a second.
    pub scale: f64,
}

/// Which program shows a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// `quorate-router`.
    Router,
    /// `quorate-shard-node`.
    Node,
    /// Both.
    Both,
}

impl Kind {
    /// As Prometheus calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        }
    }
}

impl On {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            On::Router => "router",
            On::Node => "node",
            On::Both => "both",
        }
    }
}
