//! Keeps the indexes of views up to date on replicas that do not lead, so that after a failover nobody waits for them.
//!
//! Whatever is asked of primaries is known to be of use, so the other replicas are told of it: at once, while it is
//! asked every few seconds, and a few times after that. One replica at a time works for one router, a bounded while;
//! those with more to do come round again. Nothing depends on it: a replica that was not told makes the index when it is
//! asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::ids::{DbUid, ShardId};
use common::query::Consistency;
use common::view::{Rows, Signature, ViewReply, ViewRequest};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Ops;

/// Indexes kept up to date at a time. What is asked beyond waits until one of these is asked no longer.
const INDEXES_MAX: usize = 64;
/// Between two turns of one index. Longer leaves more to do after a failover, shorter costs messages.
const INTERVAL: Duration = Duration::from_secs(2);
/// Turns of an index after it was asked: a replica may not have what the primary had, or not know how old that is.
const TURNS: u8 = 3;
/// How long turns go on for a replica that does not get to the end, once nobody asks any more. Where documents are written
/// faster than they are mapped there may be no end.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long a replica works on an index in one turn, in milliseconds: the others wait.
const TURN_MS: u64 = 500;

/// The indexes kept up to date.
#[derive(Clone, Default)]
pub struct Warming {
    state: Arc<Mutex<State>>,
    news: Arc<Notify>,
    /// Held during a turn.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct State {
    indexes: HashMap<(DbUid, Signature), Index>,
    running: bool,
}

struct Index {
    shards: Vec<ShardId>,
    request: ViewRequest,
    due: Instant,
    /// Turns that are left.
    turns: u8,
    /// When it was last asked.
    asked: Instant,
}

impl Warming {
    /// Somebody asked the primaries of these shards.
    pub(super) fn note(&self, ops: &Ops, shards: &[ShardId], request: &ViewRequest) {
        let name = (request.db, request.group.signature());
        let mut state = self.lock();
        if let Some(index) = state.indexes.get_mut(&name) {
            (index.turns, index.asked) = (TURNS, Instant::now());
            for shard in shards {
                if !index.shards.contains(shard) {
                    index.shards.push(*shard);
                }
            }
            return;
        }
        if state.indexes.len() >= INDEXES_MAX {
            return;
        }
        let rows = Rows { spans: Vec::new(), limit: 1, after: None, reducing: None, ..request.rows.clone() };
        let request = ViewRequest {
            consistency: Consistency::Eventual,
            last_resort: true,
            update: true,
            wait_ms: TURN_MS,
            rows,
            ..request.clone()
        };
        let now = Instant::now();
        state.indexes.insert(name, Index { shards: shards.to_vec(), request, due: now, turns: TURNS, asked: now });
        if !std::mem::replace(&mut state.running, true) {
            let (this, ops) = (self.clone(), ops.clone());
            ops.cluster.clone().spawn(async move { this.run(&ops).await });
        } else {
            self.news.notify_one();
        }
    }

    /// Until nothing is asked any more.
    async fn run(&self, ops: &Ops) {
        while let Some((name, due)) = self.next() {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = self.news.notified() => continue,
            }
            let _turn = self.turn.lock().await;
            let Some((shards, request)) = self.begin(name) else { continue };
            let mut more = false;
            for shard in shards {
                for answer in ops.cluster.view_elsewhere(shard, &request).await {
                    more |= answer.is_ok_and(|viewed| matches!(viewed.reply, ViewReply::Behind { .. }));
                }
            }
            if let Some(index) = self.lock().indexes.get_mut(&name) {
                let more = more && index.asked.elapsed() < PATIENCE;
                index.turns += u8::from(more);
                index.due = Instant::now() + if more { Duration::ZERO } else { INTERVAL };
            }
        }
    }

    /// Whose turn is next, and when; `None`, and the end, if there is none.
    fn next(&self) -> Option<((DbUid, Signature), Instant)> {
        let mut state = self.lock();
        let next = state.indexes.iter().min_by_key(|(_, index)| index.due).map(|(name, index)| (*name, index.due));
        state.running = next.is_some();
        next
    }

    /// What its turn is; `None`, and it is forgotten, if there is none left.
    fn begin(&self, name: (DbUid, Signature)) -> Option<(Vec<ShardId>, ViewRequest)> {
        let mut state = self.lock();
        let index = state.indexes.get_mut(&name)?;
        if let Some(left) = index.turns.checked_sub(1) {
            index.turns = left;
            return Some((index.shards.clone(), index.request.clone()));
        }
        state.indexes.remove(&name);
        None
    }

    /// Forgets the indexes of a database but these, and tells nobody anything until what this gives is dropped.
    pub(super) async fn keep(&self, db: DbUid, signatures: &[Signature]) -> tokio::sync::MutexGuard<'_, ()> {
        let still = self.turn.lock().await;
        self.lock().indexes.retain(|(of, signature), _| *of != db || signatures.contains(signature));
        still
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
