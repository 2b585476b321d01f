//! What a replication has done, in CouchDB's words.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Counts, and places in the source's feed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Leaves the target was asked about.
    #[serde(default)]
    pub revisions_checked: u64,
    /// Leaves it did not have.
    #[serde(default)]
    pub missing_revisions_found: u64,
    /// Revisions read from the source.
    #[serde(default)]
    pub docs_read: u64,
    /// Revisions the target took.
    #[serde(default)]
    pub docs_written: u64,
    /// Revisions the target refused.
    #[serde(default)]
    pub doc_write_failures: u64,
    /// Times the source was asked for many revisions at once.
    #[serde(default)]
    pub bulk_get_attempts: u64,
    /// Revisions asked for in that way.
    #[serde(default)]
    pub bulk_get_docs: u64,
    /// Changes of the source that were not looked at yet; null until it said so.
    #[serde(default)]
    pub changes_pending: Option<u64>,
    /// Noted at both ends: where the replication goes on if it breaks off.
    #[serde(default)]
    pub checkpointed_source_seq: Value,
    /// How far the source's feed was read.
    #[serde(default)]
    pub source_seq: Value,
    /// Everything before this has arrived.
    #[serde(default)]
    pub through_seq: Value,
}

impl Stats {
    /// Adds the counts of a batch.
    pub fn add(&mut self, batch: &Stats) {
        self.revisions_checked += batch.revisions_checked;
        self.missing_revisions_found += batch.missing_revisions_found;
        self.docs_read += batch.docs_read;
        self.docs_written += batch.docs_written;
        self.doc_write_failures += batch.doc_write_failures;
        self.bulk_get_attempts += batch.bulk_get_attempts;
        self.bulk_get_docs += batch.bulk_get_docs;
    }
}

/// Shared by a replication and whoever looks at it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<Stats>>);

impl Progress {
    /// Goes on from what was counted before.
    pub(crate) fn from(stats: Stats) -> Self {
        Self(Arc::new(Mutex::new(stats)))
    }

    /// What was done up to now.
    pub(crate) fn look(&self) -> Stats {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes something.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
