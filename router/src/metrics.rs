//! What `/_metrics` shows of a router: its requests, the feeds it sends, its shards, and in the embedded mode its nodes.

use common::metrics::{FEED_READERS, Gauge, Held, Requests, Sheet};

use crate::cluster::Cluster;
use crate::{js, process};

/// What one router's HTTP API counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests answered.
    pub requests: Requests,
    changes: Gauge,
    db_updates: Gauge,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A feed of a database is being sent, until the answer is dropped.
    pub fn reads_changes(&self) -> Held {
        self.changes.hold()
    }

    /// A feed of all databases is being sent, until the answer is dropped.
    pub fn reads_db_updates(&self) -> Held {
        self.db_updates.hold()
    }

    /// The numbers as they are now.
    pub fn sheet(&self, cluster: &Cluster) -> Sheet {
        let mut sheet = Sheet::default();
        self.requests.measure(&mut sheet);
        sheet.set(&FEED_READERS, &["_changes"], self.changes.get());
        sheet.set(&FEED_READERS, &["_db_updates"], self.db_updates.get());
        cluster.measure(&mut sheet);
        process::measure(&mut sheet);
        js::measure(&mut sheet);
        sheet
    }
}
