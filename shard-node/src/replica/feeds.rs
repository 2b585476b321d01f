//! Wakes those who wait for changes of a database.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use common::ids::DbUid;
use tokio::sync::watch;

/// See the module. Only databases somebody waits for are known.
#[derive(Default)]
pub(crate) struct Feeds {
    waiting: Mutex<HashMap<DbUid, watch::Sender<()>>>,
}

impl Feeds {
    /// Changes when the database does. Subscribe first, then look, then wait.
    pub(crate) fn subscribe(&self, db: DbUid) -> watch::Receiver<()> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(db).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    /// How many wait, or look for changes just now.
    pub(crate) fn waiting(&self) -> usize {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.values().map(watch::Sender::receiver_count).sum()
    }

    /// These databases changed; with `None` any may have.
    pub(crate) fn wake(&self, changed: Option<&[DbUid]>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(changed) = changed.filter(|_| !waiting.is_empty()) else {
            return waiting.retain(|_, sender| sender.send(()).is_ok());
        };
        for db in changed {
            if waiting.get(db).is_some_and(|sender| sender.send(()).is_err()) {
                // Nobody waits any more.
                waiting.remove(db);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_those_who_wait_for_the_database_wake() {
        let feeds = Feeds::default();
        let (mut one, two) = (feeds.subscribe(DbUid::DBS), feeds.subscribe(DbUid::USERS));
        feeds.wake(Some(&[DbUid::DBS, DbUid::SHARDS]));
        one.changed().await.expect("woken");
        assert!(!two.has_changed().expect("still there"));
        assert_eq!(feeds.waiting(), 2);
        drop(one);
        feeds.wake(Some(&[DbUid::DBS]));
        assert_eq!(feeds.waiting.lock().expect("not poisoned").len(), 1);
        feeds.wake(None);
        assert!(two.has_changed().expect("still there"));
    }
}
