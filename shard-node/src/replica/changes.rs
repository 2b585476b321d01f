//! Answers requests for changes, waiting for some if asked to.

use std::sync::Arc;
use std::time::Duration;

use common::change::ChangesRequest;
use common::refusal::Refusal;
use common::wire::ChangesAnswer;
use tokio::time::Instant;

use super::Replica;
use crate::raft::group;
use crate::store;

/// Longest wait of a feed in one request.
const FEED_WAIT_MAX: Duration = Duration::from_secs(60);

impl Replica {
    pub(crate) async fn changes(&self, request: ChangesRequest) -> ChangesAnswer {
        let filter =
            store::Filter::of(&request).map_err(|reason| Refusal::OutOfService { shard: self.shard(), reason })?;
        let filter = Arc::new(filter);
        if request.linearizable {
            self.reads.confirm().await?;
        }
        let deadline = Instant::now() + Duration::from_millis(request.wait_ms).min(FEED_WAIT_MAX);
        loop {
            // Subscribed before looking, so that nothing falls between.
            let mut feed = self.feeds.subscribe(request.db);
            let (group, asked, filter) = (self.group.clone(), request.clone(), filter.clone());
            let look = move || group.read(|reader| store::filtered(reader, &asked, Option::as_ref(&filter)));
            let page = group::blocking(self.group.engine().as_ref(), look).await;
            let page = page.map_err(|error| self.broken(&error))?;
            let nothing = page.rows.is_empty() && !page.dropped && !page.more;
            if !nothing || request.descending || Instant::now() >= deadline {
                return Ok(page);
            }
            tokio::select! {
                _ = feed.changed() => {}
                () = tokio::time::sleep_until(deadline) => {}
                () = self.group.stopping() => return Ok(page),
            }
        }
    }
}
