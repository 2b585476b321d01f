//! Checkpoints: how far a replication is, noted at both of its ends. Pure.
//!
//! Each end keeps the sessions it knows of, newest first. The newest that both know is where to go on: whatever an end
//! was restored from, or whoever else ran the replication, everything before it has arrived. The format is CouchDB's.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::stats::Stats;

/// Sessions remembered, as CouchDB does.
const HISTORY_MAX: usize = 50;
/// How ids of replications are made, in CouchDB's count.
const VERSION: u32 = 4;

/// The document `_local/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The session that wrote it.
    #[serde(default)]
    pub session_id: String,
    /// How far that is in the source's feed.
    #[serde(default)]
    pub source_last_seq: Value,
    /// The sessions, newest first.
    #[serde(default)]
    pub history: Vec<Session>,
    /// How the id was made.
    #[serde(default)]
    pub replication_id_version: u32,
}

/// One session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its name.
    #[serde(default)]
    pub session_id: String,
    /// When it began.
    #[serde(default)]
    pub start_time: String,
    /// When it noted this.
    #[serde(default)]
    pub end_time: String,
    /// Where it began.
    #[serde(default)]
    pub start_last_seq: Value,
    /// Where it was when it noted this.
    #[serde(default)]
    pub end_last_seq: Value,
    /// Everything before this has arrived.
    #[serde(default)]
    pub recorded_seq: Value,
    /// Leaves asked about.
    #[serde(default)]
    pub missing_checked: u64,
    /// Leaves that the target did not have.
    #[serde(default)]
    pub missing_found: u64,
    /// Revisions read.
    #[serde(default)]
    pub docs_read: u64,
    /// Revisions written.
    #[serde(default)]
    pub docs_written: u64,
    /// Revisions that the target refused.
    #[serde(default)]
    pub doc_write_failures: u64,
    /// Revisions asked for many at once.
    #[serde(default)]
    pub bulk_get_docs: u64,
    /// Times that was done.
    #[serde(default)]
    pub bulk_get_attempts: u64,
}

/// Where a session begins, and what it is to remember of those before.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Start {
    /// The place; `None` for the beginning.
    pub seq: Option<Value>,
    /// The sessions up to there.
    pub history: Vec<Session>,
}

/// Where to go on with what both ends know.
pub(crate) fn common_start(source: &Checkpoint, target: &Checkpoint) -> Start {
    if !source.session_id.is_empty() && source.session_id == target.session_id {
        // A session writes at the source first, so the target's is never ahead.
        return Start { seq: place(&target.source_last_seq), history: target.history.clone() };
    }
    // The newest session of the source's that the target knows as well, as the target knows it.
    for (at, ours) in source.history.iter().enumerate() {
        let Some(theirs) = target.history.iter().find(|theirs| theirs.session_id == ours.session_id) else { continue };
        if ours.session_id.is_empty() {
            continue;
        }
        return Start { seq: place(&theirs.recorded_seq), history: source.history[at + 1..].to_vec() };
    }
    Start { seq: None, history: Vec::new() }
}

fn place(seq: &Value) -> Option<Value> {
    let nothing = seq.is_null() || seq == &Value::from(0) || seq == "0";
    (!nothing).then(|| seq.clone())
}

impl Checkpoint {
    /// What a session notes on top of what it began with.
    pub fn of(session: Session, before: &[Session]) -> Self {
        let (session_id, source_last_seq) = (session.session_id.clone(), session.recorded_seq.clone());
        let history = std::iter::once(session).chain(before.iter().cloned()).take(HISTORY_MAX).collect();
        Self { session_id, source_last_seq, history, replication_id_version: VERSION }
    }
}

impl Session {
    /// With the counts of what was done.
    pub fn counted(self, stats: &Stats) -> Self {
        Self {
            missing_checked: stats.revisions_checked,
            missing_found: stats.missing_revisions_found,
            docs_read: stats.docs_read,
            docs_written: stats.docs_written,
            doc_write_failures: stats.doc_write_failures,
            bulk_get_docs: stats.bulk_get_docs,
            bulk_get_attempts: stats.bulk_get_attempts,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn session(id: &str, seq: u64) -> Session {
        Session { session_id: id.to_owned(), recorded_seq: Value::from(seq), ..Session::default() }
    }

    fn checkpoint(sessions: &[(&str, u64)]) -> Checkpoint {
        let history: Vec<Session> = sessions.iter().map(|(id, seq)| session(id, *seq)).collect();
        let newest = history.first().cloned().unwrap_or_default();
        Checkpoint {
            session_id: newest.session_id,
            source_last_seq: newest.recorded_seq,
            history,
            replication_id_version: VERSION,
        }
    }

    fn start(source: &[(&str, u64)], target: &[(&str, u64)]) -> (u64, usize) {
        let start = common_start(&checkpoint(source), &checkpoint(target));
        (start.seq.and_then(|seq| seq.as_u64()).unwrap_or(0), start.history.len())
    }

    #[test]
    fn both_ends_decide_where_to_go_on() {
        // What nobody knows begins at the beginning.
        assert_eq!(start(&[], &[]), (0, 0));
        assert_eq!(start(&[("a", 5)], &[]), (0, 0));
        assert_eq!(start(&[("a", 5)], &[("b", 7)]), (0, 0));
        // The same session at both.
        assert_eq!(start(&[("b", 9), ("a", 5)], &[("b", 9), ("a", 5)]), (9, 2));
        // A session that could only write at the source, and one that only the target kept.
        assert_eq!(start(&[("c", 12), ("b", 9), ("a", 5)], &[("b", 9), ("a", 5)]), (9, 1));
        assert_eq!(start(&[("a", 5)], &[("b", 9), ("a", 5)]), (5, 0));
        // A target that was restored from an old copy knows an older state of a session.
        assert_eq!(start(&[("c", 12), ("b", 9)], &[("b", 7)]), (7, 0));
    }

    #[test]
    fn nothing_said_is_no_common_session() {
        assert_eq!(common_start(&Checkpoint::default(), &Checkpoint::default()).seq, None);
        let nameless = Checkpoint { history: vec![session("", 5)], ..Checkpoint::default() };
        assert_eq!(common_start(&nameless, &nameless).seq, None);
    }

    #[test]
    fn a_checkpoint_keeps_fifty_sessions_and_reads_back() {
        let before: Vec<Session> = (0..60).map(|n| session(&n.to_string(), n)).collect();
        let noted = Checkpoint::of(session("new", 70), &before);
        assert_eq!((noted.history.len(), noted.session_id.as_str()), (HISTORY_MAX, "new"));
        let text = serde_json::to_string(&noted).expect("JSON");
        assert_eq!(serde_json::from_str::<Checkpoint>(&text).expect("reads"), noted);
    }

    proptest! {
        /// Sessions go on from where both ends agree, write at the source and then, unless cut off, at the target; ends are
        /// restored from old copies. Whatever happens nothing is skipped: a session begins at or before what its target has.
        #[test]
        fn no_order_of_sessions_and_restores_skips_anything(events in prop::collection::vec((0..4u8, 1..9u64), 1..60)) {
            let (mut source, mut target) = (Checkpoint::default(), Checkpoint::default());
            let (mut has, mut copies) = (0u64, Vec::new());
            for (at, (event, by)) in events.into_iter().enumerate() {
                match event {
                    0 => copies.push((target.clone(), has)),
                    1 => if let Some((old, had)) = copies.last().cloned() { (target, has) = (old, had) },
                    _ => {
                        let begun = common_start(&source, &target);
                        let from = begun.seq.as_ref().and_then(Value::as_u64).unwrap_or(0);
                        prop_assert!(from <= has, "begins at {from}, and the target has {has}");
                        has = has.max(from + by);
                        let noted = Checkpoint::of(session(&at.to_string(), from + by), &begun.history);
                        source = noted.clone();
                        if event == 3 { target = noted }
                    }
                }
            }
        }
    }
}
