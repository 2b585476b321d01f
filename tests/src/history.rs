//! What clients did and were told, and whether what is there now agrees.
//!
//! Each key has one writer that numbers its writes from 1, so a value names the write that made it. A write whose
//! outcome the client does not know stays unknown: it may be there or not, and both are right. A failed one may not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard};

/// What became of a write, as its client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pending,
    Acknowledged,
    Failed,
    Unknown,
}

#[derive(Debug, Default)]
struct Key {
    writes: BTreeMap<u64, Fate>,
    /// Versions that reads have answered.
    seen: BTreeSet<u64>,
}

/// A record of writes and reads, shared by all clients of a test.
#[derive(Debug, Default)]
pub struct History {
    keys: Mutex<BTreeMap<String, Key>>,
    stale: Mutex<Vec<String>>,
}

/// What the record says of the final state.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Writes answered with success.
    pub acknowledged: usize,
    /// Writes answered with an error that promises no effect.
    pub failed: usize,
    /// Writes whose outcome the client does not know.
    pub unknown: usize,
    /// Keys with an acknowledged write that are not there at all.
    pub not_found: Vec<String>,
    /// Keys whose version is older than one that was acknowledged.
    pub lost: Vec<String>,
    /// Failed writes that took effect, and versions nobody wrote.
    pub ghosts: Vec<String>,
    /// Reads older than a write acknowledged, or a read answered, before they began.
    pub stale: Vec<String>,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        [&self.not_found, &self.lost, &self.ghosts, &self.stale].iter().all(|list| list.is_empty())
    }

    /// An error that tells everything unless every promise was kept.
    pub fn clean(self) -> crate::Result<Self> {
        if self.is_clean() { Ok(self) } else { Err(format!("{self:#?}").into()) }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, failed, unknown, not_found, lost, ghosts, stale } = self;
        write!(f, "acknowledged {acknowledged}, failed {failed}, unknown {unknown}, lost {}, ", lost.len())?;
        write!(f, "not found {}, ghosts {}, stale reads {}", not_found.len(), ghosts.len(), stale.len())
    }
}

impl History {
    fn keys(&self) -> MutexGuard<'_, BTreeMap<String, Key>> {
        self.keys.lock().expect("no holder panics")
    }

    /// A write is about to be sent; returns its version, one above the key's last.
    pub fn begin(&self, key: &str) -> u64 {
        let mut keys = self.keys();
        let writes = &mut keys.entry(key.to_owned()).or_default().writes;
        let version = writes.last_key_value().map_or(1, |(last, _)| last + 1);
        writes.insert(version, Fate::Pending);
        version
    }

    fn settle(&self, key: &str, version: u64, fate: Fate) {
        self.keys().entry(key.to_owned()).or_default().writes.insert(version, fate);
    }

    /// The write was answered with success.
    pub fn acknowledged(&self, key: &str, version: u64) {
        self.settle(key, version, Fate::Acknowledged);
    }

    /// The write was answered with an error that promises no effect.
    pub fn failed(&self, key: &str, version: u64) {
        self.settle(key, version, Fate::Failed);
    }

    /// Nobody knows.
    pub fn unknown(&self, key: &str, version: u64) {
        self.settle(key, version, Fate::Unknown);
    }

    /// The oldest version that a read beginning now may answer; 0 when the key may be missing.
    pub fn floor(&self, key: &str) -> u64 {
        let keys = self.keys();
        let Some(key) = keys.get(key) else { return 0 };
        let acknowledged = key.writes.iter().rev().find(|(_, fate)| **fate == Fate::Acknowledged);
        acknowledged.map_or(0, |(version, _)| *version).max(key.seen.last().copied().unwrap_or(0))
    }

    /// A linearizable read that began when the floor was `floor` answered `version` (0: not found).
    pub fn observed(&self, key: &str, floor: u64, version: u64) {
        if version > 0 {
            self.keys().entry(key.to_owned()).or_default().seen.insert(version);
        }
        if version < floor {
            self.stale
                .lock()
                .expect("no holder panics")
                .push(format!("{key}: read {version}, expected at least {floor}"));
        }
    }

    /// Compares with what is there now: the version of each key that is there.
    pub fn check(&self, now: &BTreeMap<String, u64>) -> Verdict {
        let keys = self.keys();
        let mut verdict = Verdict { stale: self.stale.lock().expect("no holder panics").clone(), ..Verdict::default() };
        for (name, key) in keys.iter() {
            let count = |fate| key.writes.values().filter(|f| **f == fate).count();
            verdict.acknowledged += count(Fate::Acknowledged);
            verdict.failed += count(Fate::Failed);
            verdict.unknown += count(Fate::Unknown) + count(Fate::Pending);
            let last =
                key.writes.iter().rev().find(|(_, fate)| **fate == Fate::Acknowledged).map(|(version, _)| *version);
            let there = now.get(name).copied();
            match (last, there) {
                (Some(last), None) => verdict.not_found.push(format!("{name}: {last} was acknowledged")),
                (Some(last), Some(there)) if there < last => {
                    verdict.lost.push(format!("{name}: {last} was acknowledged, {there} is there"));
                }
                _ => {}
            }
            let fate = |version: u64| key.writes.get(&version).copied();
            for version in key.seen.iter().copied().chain(there) {
                match fate(version) {
                    Some(Fate::Failed) => verdict.ghosts.push(format!("{name}: {version} failed, but was seen")),
                    None => verdict.ghosts.push(format!("{name}: {version} was never written")),
                    Some(_) => {}
                }
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(version: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([("k".to_owned(), version)])
    }

    fn history() -> History {
        let history = History::default();
        assert_eq!(history.begin("k"), 1);
        history.acknowledged("k", 1);
        assert_eq!(history.begin("k"), 2);
        history.unknown("k", 2);
        assert_eq!(history.begin("k"), 3);
        history.failed("k", 3);
        history
    }

    #[test]
    fn an_unknown_write_may_be_there_or_not() {
        assert!(history().check(&there(1)).is_clean());
        assert!(history().check(&there(2)).is_clean());
    }

    #[test]
    fn a_lost_a_missing_and_a_ghost_write_are_found() {
        assert_eq!(history().check(&BTreeMap::new()).not_found.len(), 1);
        assert_eq!(history().check(&there(3)).ghosts.len(), 1);
        assert_eq!(history().check(&there(9)).ghosts.len(), 1);
        let history = history();
        history.acknowledged("k", 2);
        assert_eq!(history.check(&there(1)).lost.len(), 1);
    }

    #[test]
    fn a_read_older_than_an_acknowledged_write_or_an_earlier_read_is_stale() {
        let history = history();
        assert_eq!(history.floor("k"), 1);
        history.observed("k", history.floor("k"), 2);
        assert_eq!(history.floor("k"), 2);
        history.observed("k", history.floor("k"), 1);
        assert_eq!(history.check(&there(2)).stale.len(), 1);
    }
}
