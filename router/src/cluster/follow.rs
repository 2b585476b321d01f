//! Follows one of the catalog's databases for ever, and knows how old what it has told may be.
//!
//! Whoever keeps what the catalog says drops it when it changes. A feed that breaks tells nothing, and neither does a
//! primary that was replaced and does not know it yet; so each round is confirmed by a majority of shard 0, and what
//! was not confirmed for [`FRESH_FOR`] must not decide who may come in.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::change::{Change, ChangesRequest};
use common::ids::{DbUid, Seq};
use common::query::{Answer, Consistency, Query};
use common::refusal::Refusal;
use tokio::time::Instant;

use super::system::mismatched;
use super::{CATALOG_SHARD, Cluster};

/// Longest wait for news in one request: as long as it lasts nothing confirms that there is none.
const FEED_WAIT: Duration = Duration::from_secs(5);
/// Pause after the feed broke.
const FEED_PAUSE: Duration = Duration::from_millis(200);
/// How long what was confirmed is taken for true: the longest time for which a router that is cut off from shard 0
/// lets somebody in who was shut out on another. Shorter stops users' requests sooner when shard 0 has no majority.
pub(crate) const FRESH_FOR: Duration = Duration::from_secs(30);

/// When what is known was last confirmed.
#[derive(Default)]
pub(crate) struct Freshness(Mutex<Option<Instant>>);

impl Freshness {
    /// Whether what is known may decide who comes in.
    pub(crate) fn is_fresh(&self) -> bool {
        let confirmed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        confirmed.is_some_and(|at| at.elapsed() < FRESH_FOR)
    }

    fn confirm(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}

/// Who keeps what a database of the catalog says.
pub(crate) trait Watcher: Send + Sync + 'static {
    /// Nobody has watched until now: what was kept may be old.
    fn begin(&self);
    /// These documents have changed.
    fn changed(&self, changes: &[Change]);
    /// Where it is noted that all changes until some time were told.
    fn freshness(&self) -> &Freshness;
}

/// Tells `watcher` of all changes of `db` for ever.
pub(crate) async fn follow(cluster: Cluster, db: DbUid, watcher: impl Watcher) {
    let mut position: Option<Seq> = None;
    loop {
        match news(&cluster, db, position, &watcher).await {
            Ok(seq) => position = Some(seq),
            Err(refusal) => {
                tracing::debug!(%refusal, "the catalog's feed is interrupted");
                tokio::time::sleep(FEED_PAUSE).await;
            }
        }
    }
}

/// Waits for the next piece of news. The first time only finds where the feed is.
async fn news(cluster: &Cluster, db: DbUid, position: Option<Seq>, watcher: &impl Watcher) -> Result<Seq, Refusal> {
    let asked = Instant::now();
    let Some(since) = position else {
        let (answer, _) = cluster.read(CATALOG_SHARD, Consistency::Linearizable, Query::Info { db }).await?;
        let Answer::Info(counters) = answer else { return Err(mismatched()) };
        watcher.begin();
        watcher.freshness().confirm(asked);
        return Ok(counters.seq);
    };
    let wait_ms = u64::try_from(FEED_WAIT.as_millis()).expect("seconds fit");
    let request = ChangesRequest { wait_ms, ..ChangesRequest::behind(db, since, 1_000) };
    let page = cluster.changes(CATALOG_SHARD, request).await?;
    watcher.changed(&page.rows);
    if !page.more {
        watcher.freshness().confirm(asked);
    }
    Ok(page.rows.last().map_or(since, |row| row.seq))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_not_confirmed_for_long_decides_nothing() {
        let freshness = Freshness::default();
        assert!(!freshness.is_fresh(), "nothing was confirmed yet");
        freshness.confirm(Instant::now());
        tokio::time::advance(FRESH_FOR - Duration::from_millis(1)).await;
        assert!(freshness.is_fresh());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!freshness.is_fresh());
    }
}
