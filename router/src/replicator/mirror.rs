//! A copy of one of the catalog's databases in memory, kept up by its feed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use common::change::{Change, ChangesRequest};
use common::ids::{DbUid, DocId, Seq};
use common::refusal::Refusal;
use common::rev::Rev;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cluster::{CATALOG_SHARD, Cluster};

/// Longest wait for news in one request.
const WAIT: Duration = Duration::from_secs(5);
/// Pause after the feed broke.
const PAUSE: Duration = Duration::from_millis(200);

/// A document as it was last seen.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) rev: Rev,
    pub(super) json: Bytes,
    /// When this revision was first seen.
    pub(super) seen: Instant,
}

#[derive(Default)]
struct Known {
    docs: BTreeMap<String, Kept>,
    /// Whether all there was at the start has been read.
    whole: bool,
}

/// The copy.
pub(super) struct Mirror {
    db: DbUid,
    known: Mutex<Known>,
}

impl Mirror {
    pub(super) fn new(db: DbUid) -> Self {
        Self { db, known: Mutex::default() }
    }

    /// Everything in it; `None` until it has been read once.
    pub(super) fn all(&self) -> Option<BTreeMap<String, Kept>> {
        let known = self.known();
        known.whole.then(|| known.docs.clone())
    }

    /// One document.
    pub(super) fn get(&self, id: &str) -> Option<Kept> {
        self.known().docs.get(id).cloned()
    }

    /// Notes what this router has written itself; the feed tells it again.
    pub(super) fn wrote(&self, id: &str, rev: Rev, json: Option<Bytes>) {
        self.known().note(id, rev, json);
    }

    /// Keeps it up for ever; `news` is told of changes.
    pub(super) async fn follow(&self, cluster: &Cluster, news: &Notify) {
        let mut since = Seq(0);
        loop {
            match self.read_on(cluster, since).await {
                Ok((seq, changed)) => {
                    since = seq;
                    if changed {
                        news.notify_one();
                    }
                }
                Err(refusal) => {
                    tracing::debug!(%refusal, db = %self.db, "the feed is interrupted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn read_on(&self, cluster: &Cluster, since: Seq) -> Result<(Seq, bool), Refusal> {
        let whole = self.known().whole;
        let wait_ms = if whole { u64::try_from(WAIT.as_millis()).expect("seconds fit") } else { 0 };
        let request = ChangesRequest { wait_ms, bodies: true, ..ChangesRequest::behind(self.db, since, 1_000) };
        let page = cluster.changes(CATALOG_SHARD, request).await?;
        let mut known = self.known();
        for Change { id, leaves, deleted, json, .. } in &page.rows {
            if let Some(rev) = leaves.first() {
                known.note(id.as_str(), rev.clone(), json.clone().filter(|_| !deleted));
            }
        }
        let first = !known.whole && !page.more;
        known.whole |= first;
        Ok((page.rows.last().map_or(since, |row| row.seq), first || !page.rows.is_empty()))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn note(&mut self, id: &str, rev: Rev, json: Option<Bytes>) {
        // Design documents ask for nothing.
        if DocId::parse(id).is_ok_and(|id| id.is_design()) {
            return;
        }
        // The feed comes later than what was written here.
        if self.docs.get(id).is_some_and(|kept| kept.rev.generation > rev.generation || kept.rev == rev) {
            return;
        }
        match json {
            Some(json) => self.docs.insert(id.to_owned(), Kept { rev, json, seen: Instant::now() }),
            None => self.docs.remove(id),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_news_does_not_undo_what_was_written_here() {
        let rev = |text| Rev::parse(text).expect("valid");
        let json = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        let mut known = Known::default();
        known.note("a", rev("2-b"), json("2"));
        known.note("a", rev("1-a"), json("1"));
        assert_eq!(known.docs["a"].json, "2");
        known.note("a", rev("1-a"), None);
        assert_eq!(known.docs.len(), 1);
        known.note("a", rev("3-c"), None);
        known.note("_design/x", rev("1-a"), json("1"));
        assert!(known.docs.is_empty());
    }
}
