//! Where passwords are hashed: on threads of their own, few at a time, and no more waiting than allowed.
//!
//! A run takes a core for its time. Whoever floods the server with logins waits behind others like them, or is turned
//! away; the requests of those who are in already go on.

use std::sync::Arc;

use common::config;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Denied;

/// Lets passwords be hashed, a few at a time.
pub(super) struct Hashing {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// The right to hash one password now.
pub(super) struct Turn {
    _held: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Hashing {
    pub(super) fn new(config: &config::Auth) -> Self {
        Self {
            running: Arc::new(Semaphore::new(config.hashes_at_once)),
            waiting: Arc::new(Semaphore::new(config.hashes_at_once + config.hashes_waiting_max)),
        }
    }

    /// Waits for its turn, or is [`Denied::Busy`] at once if too many wait.
    pub(super) async fn turn(&self) -> Result<Turn, Denied> {
        let place = self.waiting.clone().try_acquire_owned().map_err(|_| Denied::Busy)?;
        let turn = self.running.clone().acquire_owned().await.map_err(|_| Denied::Busy)?;
        Ok(Turn { _held: (place, turn) })
    }
}

impl Turn {
    /// Does `work`, which may take its time.
    pub(super) async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Denied> {
        // The places go with the work: a caller who hangs up does not stop it, and must not make room for another.
        let held = move || {
            let _turn = self;
            work()
        };
        tokio::task::spawn_blocking(held).await.map_err(|_| Denied::Busy)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn few_run_some_wait_and_the_rest_are_turned_away() {
        let config = config::Auth { hashes_at_once: 1, hashes_waiting_max: 2, ..config::Auth::default() };
        let hashing = Arc::new(Hashing::new(&config));
        let (go, gate) = mpsc::channel::<()>();
        let (done, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::new(gate)));
        let start = || {
            let (hashing, done, gate) = (hashing.clone(), done.clone(), gate.clone());
            let work = move || {
                gate.lock().expect("not poisoned").recv().expect("told to go on");
                done.fetch_add(1, Ordering::SeqCst);
            };
            tokio::spawn(async move { hashing.turn().await?.run(work).await })
        };
        let first = start();
        while hashing.running.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let (second, third) = (start(), start());
        while hashing.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hashing.turn().await.err(), Some(Denied::Busy));
        // One that waits hangs up: its place is free again. The one that runs hangs up: it still holds its place.
        third.abort();
        first.abort();
        assert!(third.await.is_err());
        while hashing.waiting.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hashing.running.available_permits(), 0);
        (0..2).for_each(|_| go.send(()).expect("waited for"));
        assert_eq!(second.await.expect("no panic"), Ok(()));
        assert_eq!(done.load(Ordering::SeqCst), 2);
    }
}
