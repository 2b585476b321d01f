//! What all routers know of a replication: who runs it, how it goes. A document on shard 0.
//!
//! Written only over the revision that was read, so of two routers that want the same replication one gets it. No
//! credentials are in it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::stats::Stats;

/// Events remembered, as CouchDB does.
const HISTORY_MAX: usize = 20;
/// A run this long counts as a good one: its failure is the first again.
const HEALTHY_MS: u64 = 120_000;
/// The first pause after a failure.
const PAUSE_MS: u64 = 1_000;

/// How it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for a router that has room.
    Pending,
    /// It runs.
    Running,
    /// It failed, and is tried again after a pause.
    Crashing,
}

impl State {
    /// CouchDB's word for it.
    pub fn name(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Running => "running",
            State::Crashing => "crashing",
        }
    }
}

/// Something that happened to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// `added`, `started`, `stopped`, `crashed`.
    pub what: String,
    /// Why, if it crashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A replication that is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The document of `_replicator` that wants it; `None` if a request did.
    pub doc: Option<String>,
    /// That document's revision when it was started.
    pub doc_rev: Option<String>,
    /// In whose name.
    pub user: Option<String>,
    /// Its ends, without passwords.
    pub source: String,
    /// Its ends, without passwords.
    pub target: String,
    /// Whether it goes on for ever.
    pub continuous: bool,
    /// The router that runs it, or is to try again; `None` if it waits for one.
    pub holder: Option<Uuid>,
    /// How it goes.
    pub state: State,
    /// When it was added.
    pub added_ms: u64,
    /// Since when it has been in its state.
    pub since_ms: u64,
    /// Failures one after another.
    pub errors: u32,
    /// Not tried before this.
    pub retry_at_ms: u64,
    /// What happened, newest first.
    pub history: Vec<Event>,
    /// What was done.
    pub stats: Stats,
}

impl Record {
    /// It runs on `holder` from now on.
    pub(crate) fn started(self, holder: Uuid, doc_rev: Option<String>, now_ms: u64) -> Self {
        // Whoever has changed the document has had another try in mind.
        let errors = if doc_rev == self.doc_rev { self.errors } else { 0 };
        let holder = Some(holder);
        Self { holder, doc_rev, errors, ..self.into_state(State::Running, "started", None, now_ms) }
    }

    /// It failed, and its holder tries again after a pause.
    pub(crate) fn crashed(self, reason: String, pause_max_ms: u64, now_ms: u64) -> Self {
        let healthy = now_ms.saturating_sub(self.since_ms) >= HEALTHY_MS;
        let errors = if healthy { 1 } else { self.errors.saturating_add(1) };
        let retry_at_ms = now_ms.saturating_add(pause_ms(errors, pause_max_ms));
        Self { errors, retry_at_ms, ..self.into_state(State::Crashing, "crashed", Some(reason), now_ms) }
    }

    /// It gives way and waits for a router that has room.
    pub(crate) fn released(self, now_ms: u64) -> Self {
        Self { holder: None, ..self.into_state(State::Pending, "stopped", None, now_ms) }
    }

    /// The reason of its last failure, if it is failing.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.history.iter().find_map(|event| event.reason.as_deref()).filter(|_| self.errors > 0)
    }

    fn into_state(mut self, state: State, what: &str, reason: Option<String>, now_ms: u64) -> Self {
        self.history.insert(0, Event { at_ms: now_ms, what: what.to_owned(), reason });
        self.history.truncate(HISTORY_MAX);
        Self { state, since_ms: now_ms, ..self }
    }
}

/// The pause after so many failures: twice as long each time, up to a limit.
fn pause_ms(errors: u32, max_ms: u64) -> u64 {
    PAUSE_MS.saturating_mul(1 << errors.saturating_sub(1).min(40)).min(max_ms)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn record(doc: Option<&str>, holder: Option<Uuid>, state: State) -> Record {
        Record {
            doc: doc.map(str::to_owned),
            doc_rev: None,
            user: None,
            source: "a".to_owned(),
            target: "b".to_owned(),
            continuous: true,
            holder,
            state,
            added_ms: 0,
            since_ms: 0,
            errors: 0,
            retry_at_ms: 0,
            history: Vec::new(),
            stats: Stats::default(),
        }
    }

    #[test]
    fn pauses_grow_up_to_the_limit_and_begin_anew_after_a_good_run() {
        let pauses: Vec<u64> = (1..12).map(|errors| pause_ms(errors, 60_000)).collect();
        assert_eq!(pauses[..7], [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]);
        assert_eq!(pause_ms(u32::MAX, u64::MAX), PAUSE_MS << 40);
        let me = Uuid::from_u128(1);
        let mut job = record(Some("d"), None, State::Pending);
        for n in 1..=4u64 {
            job = job.started(me, None, n * 10).crashed(format!("no {n}"), 60_000, n * 10 + 1);
        }
        assert_eq!((job.errors, job.retry_at_ms, job.failure()), (4, 41 + 8_000, Some("no 4")));
        let fixed = job.clone().started(me, Some("2-x".to_owned()), 100);
        assert_eq!((fixed.errors, fixed.failure()), (0, None), "a changed document is a new try");
        let good = job.started(me, None, 100).crashed("late".to_owned(), 60_000, 100 + HEALTHY_MS);
        assert_eq!(good.errors, 1);
    }

    #[test]
    fn only_the_latest_events_are_remembered() {
        let mut job = record(None, None, State::Pending);
        for n in 0..50 {
            job = job.released(n);
        }
        assert_eq!((job.history.len(), job.history[0].at_ms), (HISTORY_MAX, 49));
    }
}
